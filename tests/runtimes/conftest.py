"""What is frozen is run where it is to be used; see elsewhere.py."""

import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "freezing"), str(HERE.parent.parent / "tools")]
pytest.register_assert_rewrite("elsewhere", "models")


@pytest.fixture(scope="session")
def cases():
    """Give what can be frozen, by name."""
    import sweep

    return sweep.build()
