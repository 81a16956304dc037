"""Run frozen files in the runtimes that will use them; see elsewhere.py."""

import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "freezing"), str(HERE.parent.parent / "tools")]
pytest.register_assert_rewrite("elsewhere", "models", "table")


@pytest.fixture(scope="session")
def cases():
    """Return the models to freeze, by name."""
    import sweep

    return sweep.build()
