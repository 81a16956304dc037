"""Freeze every case with tfpersist and with both freezers of TensorFlow, and judge the results."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
pytest.register_assert_rewrite("casebook", "judgement")


@pytest.fixture(scope="session")
def verdicts(tmp_path_factory):
    """Return {name of a case: its verdict}."""
    import judgement

    return judgement.judge_all(tmp_path_factory.mktemp("cases"))
