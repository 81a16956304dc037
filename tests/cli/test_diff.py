"""The exact output of `tfpersist diff`."""

from __future__ import annotations

from tfpersist import cli


def test_diff_of_a_checkpoint_and_itself_is_empty(runs, capsys):
    assert cli.main(["diff", f"{runs}/model.ckpt-1", f"{runs}/model.ckpt-1"]) == 0
    assert capsys.readouterr().out == "2 tensors are equal\n"


def test_diff_names_what_changed(runs, capsys):
    assert cli.main(["diff", f"{runs}/model.ckpt-1", f"{runs}/model.ckpt-2"]) == 1
    assert capsys.readouterr().out == (
        "1 tensor is equal, 1 changed\n  ~ conv/kernel  by up to 2\n"
    )
