"""The command as a whole: errors, and no TensorFlow."""

from __future__ import annotations

import importlib.metadata
import os

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist import cli


def test_an_error_goes_to_stderr(tmp_path, capsys):
    assert cli.main(["inspect", f"{tmp_path}/none"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tfpersist: ")
    assert captured.err.count("\n") == 1


def test_the_command_needs_no_tensorflow(fresh, tmp_path):
    tfp.ModelStore(tmp_path).save({"v": np.ones(3)})
    out = fresh(
        """
        import sys
        from tfpersist import cli
        code = cli.main(["inspect", sys.argv[1]])
        print(code, "tensorflow" in sys.modules)
        """,
        tmp_path,
    )
    assert out.splitlines()[-1] == "0 False"


@pytest.mark.skipif("TFPERSIST_INSTALLED" not in os.environ, reason="only for the built wheel")
def test_the_command_is_installed():
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="tfpersist")
    assert entry.load() is cli.main


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["inspect"], ["freeze", "a", "b"]])
def test_wrong_arguments_show_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: tfpersist")
