"""The fuzzing that runs for hours (`nox -s fuzz`) works, and finds nothing at once."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

RUN = pathlib.Path(__file__).resolve().parents[2] / "fuzz" / "run.py"


def run(*arguments):
    command = [sys.executable, str(RUN), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_some_inputs_of_every_format(tmp_path):
    done = run("--inputs", 20, "--results", tmp_path / "counts.json")
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["inputs"] == 20 * len(counts["formats"])
    for name, count in counts["formats"].items():
        assert count["accepted"], f"not even a whole file of {name} is read"
        assert count["accepted"] + sum(count["refused"].values()) == 20
    assert not counts["formats"]["v1"]["failures"]


def test_so_many_inputs_in_all():
    done = run("--only", "state", "v1", "--total", 21)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "22 inputs, 0 failures"


def test_an_input_can_be_had_again():
    first, second = (run("--only", "state", "--first", 7, "--inputs", 3) for _ in range(2))
    assert "3 inputs" in first.stdout
    assert [line.split()[:4] for line in first.stdout.splitlines()] == [
        line.split()[:4] for line in second.stdout.splitlines()
    ]


def test_some_nodes_with_random_attrs():
    command = [sys.executable, str(RUN.with_name("ops.py")), "--inputs", "200"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "200 inputs, 0 failures"
