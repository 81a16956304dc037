"""What is frozen is run where it is to be used; see elsewhere.py."""

import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "freezing")]
pytest.register_assert_rewrite("elsewhere", "models")
