"""The examples run to their end, and the frozen model is right as often as the live one."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("name", ["digits.py", "digits_keras.py"])
def test_frozen_averages_are_as_accurate_as_restored_ones(name, tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, tmp_path / "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *epochs, restored, frozen = re.findall(r"accuracy (0\.\d{4})", done.stdout)
    assert len(epochs) == 5
    assert restored == frozen
    assert float(frozen) > 0.9
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoints",
        "digits.pb",
    ]
