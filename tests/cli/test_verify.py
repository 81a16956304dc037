"""The exact output of `tfpersist verify`."""

from __future__ import annotations

import pathlib

import numpy as np

import tfpersist
from tfpersist import cli


def test_verify_passes_a_sound_checkpoint(runs, capsys):
    assert cli.main(["verify", f"{runs}/model.ckpt-2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{runs}/model.ckpt-2: ok; 2 tensors are intact (")
    assert cli.main(["verify", runs]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith(f"{runs}: 2 checkpoints, ok (")
    assert rows == [f"  ok  model.ckpt-{step}  2 tensors are intact" for step in (1, 2)]


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
    assert out.startswith(f"{runs}/model.ckpt-2: DAMAGED, 1 flaw; 1 tensor is intact (")
    assert "conv/kernel" in out
