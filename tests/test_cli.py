"""The exact output of each verb, without TensorFlow."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib

import numpy as np
import pytest

import tfpersist
from tfpersist import cli


@pytest.fixture
def runs(tmp_path):
    """Make a folder with two checkpoints, and give its path."""
    store = tfpersist.ModelStore(tmp_path)
    values = {"conv/kernel": np.ones((2, 3), np.float32), "step": np.int64(1)}
    store.save(values, step=1, metrics={"accuracy": 0.5})
    store.save({**values, "conv/kernel": values["conv/kernel"] * 3}, step=2)
    return str(tmp_path)


def test_inspect_lists_the_newest_checkpoint_of_a_directory(runs, capsys):
    assert cli.main(["inspect", runs]) == 0
    assert capsys.readouterr().out == (
        f"{runs}/model.ckpt-2\n  conv/kernel  float32[2,3]\n  step         int64[]\n"
    )


def test_inspect_shows_metrics(runs, capsys):
    assert cli.main(["inspect", f"{runs}/model.ckpt-1.index"]) == 0
    assert capsys.readouterr().out == (
        f"{runs}/model.ckpt-1\n  accuracy = 0.5\n"
        "  conv/kernel  float32[2,3]\n  step         int64[]\n"
    )


def test_verify_passes_a_sound_checkpoint(runs, capsys):
    assert cli.main(["verify", f"{runs}/model.ckpt-2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{runs}/model.ckpt-2: ok; 2 tensors are sound (")
    assert cli.main(["verify", runs]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith(f"{runs}: 2 checkpoints, ok (")
    assert rows == [f"  ok  model.ckpt-{step}  2 tensors are sound" for step in (1, 2)]


def test_verify_looks_at_every_checkpoint_of_a_directory(runs, capsys):
    tfpersist.ModelStore(runs, name="other").save({"v": np.zeros(3)})
    pathlib.Path(runs, "model.ckpt-1.index").write_bytes(b"")
    pathlib.Path(runs, "model.ckpt-2.data-00000-of-00001").unlink()
    assert cli.main(["verify", runs]) == 1
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith(f"{runs}: 2 of 3 checkpoints are DAMAGED (")
    assert sorted(row.split()[:2] for row in rows) == [
        ["DAMAGED", "model.ckpt-1"],
        ["DAMAGED", "model.ckpt-2"],
        ["ok", "other"],
    ]
    assert any("this data file of the checkpoint is missing" in row for row in rows)
    assert cli.main(["verify", f"{runs}/nothing"]) == 2


def test_verify_finds_damage(runs, capsys):
    shard = pathlib.Path(runs, "model.ckpt-2.data-00000-of-00001")
    data = bytearray(shard.read_bytes())
    data[3] ^= 1
    shard.write_bytes(data)
    assert cli.main(["verify", f"{runs}/model.ckpt-2"]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{runs}/model.ckpt-2: DAMAGED, 1 flaw; 1 tensors are sound (")
    assert "conv/kernel" in out


def test_diff_of_a_checkpoint_and_itself_is_empty(runs, capsys):
    assert cli.main(["diff", f"{runs}/model.ckpt-1", f"{runs}/model.ckpt-1"]) == 0
    assert capsys.readouterr().out == "2 tensors are equal\n"


def test_diff_names_what_changed(runs, capsys):
    assert cli.main(["diff", f"{runs}/model.ckpt-1", f"{runs}/model.ckpt-2"]) == 1
    assert capsys.readouterr().out == (
        "1 tensors are equal, 1 changed\n  ~ conv/kernel  by up to 2\n"
    )


def test_an_error_goes_to_stderr(runs, capsys):
    assert cli.main(["inspect", f"{runs}/none"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tfpersist: ")
    assert captured.err.count("\n") == 1


def test_freeze_writes_a_graph(corpus, tmp_path, capsys):
    source = corpus / "made-by-tf" / "1.15.5" / "plain_v2.ckpt"
    target = tmp_path / "plain.pb"
    assert cli.main(["freeze", str(source), str(target), "output"]) == 0
    frozen = capsys.readouterr().out
    assert cli.main(["inspect", str(target)]) == 0
    assert capsys.readouterr().out == frozen
    assert frozen.splitlines()[0] == str(target)
    assert "output:0" in frozen


def test_the_command_needs_no_tensorflow(fresh, runs):
    out = fresh(
        """
        import sys
        from tfpersist import cli
        code = cli.main(["inspect", sys.argv[1]])
        print(code, "tensorflow" in sys.modules)
        """,
        runs,
    )
    assert out.splitlines()[-1] == "0 False"


@pytest.mark.skipif("TFPERSIST_INSTALLED" not in os.environ, reason="only for the built wheel")
def test_the_command_is_installed():
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="tfpersist")
    assert entry.load() is cli.main
