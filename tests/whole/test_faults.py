"""Nothing is lost if a system call fails or the process is killed: a part of `nox -s faults`."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

RUN = pathlib.Path(__file__).resolve().parents[2] / "fuzz" / "faults.py"
KINDS = {
    "save": ("save", "first save", "scratch save", "background"),
    "incremental": ("incremental", "both", "overwrite incrementally"),
    "removal": ("retention", "prune", "quarantine"),
    "rest": ("overwrite", "after a crash", "restore"),
}

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not (shutil.which("cc") or shutil.which("gcc")),
    reason="calls are made to fail by a library that is compiled for Linux",
)


def run(tmp_path, *arguments):
    results = tmp_path / "counts.json"
    command = [sys.executable, str(RUN), *map(str, arguments), "--results", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(results.read_text())


@pytest.mark.parametrize("kinds", KINDS)
def test_killed_at_system_calls(tmp_path, kinds):
    counts = run(tmp_path, "--kills", 40, "--only", *KINDS[kinds])
    assert counts.keys() == set(KINDS[kinds])
    for name, count in counts.items():
        assert not count["failures"], name
        # What a dead process left decides how many calls there are.
        assert count["killed"] >= (24 if name == "after a crash" else 38), (name, count["killed"])


@pytest.mark.parametrize("kinds", KINDS)
def test_errors_at_system_calls(tmp_path, kinds):
    counts = run(tmp_path, "--most", 40, "--only", *KINDS[kinds])
    for name, count in counts.items():
        assert not count["failures"], name
        assert count["runs"] == 40
        assert count["killed"] == 0
        assert sum(count["refused"].values()) + count["went_well"] == 40
        assert count["refused"].keys() <= {"StorageError", "CorruptionError"}


def test_a_session_that_is_saved(tmp_path):
    killed = run(tmp_path, "--session", "--kills", 15)["session"]
    assert killed["killed"] == 15
    refused = run(tmp_path, "--session", "--most", 15, "--errors", "ENOSPC")["session"]
    assert not refused["failures"]
    assert refused["refused"].get("StorageError", 0) > 0
