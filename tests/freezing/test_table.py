"""Every case of "What can be frozen", with tfpersist and with TensorFlow's own freezers.

    python tests/freezing/test_table.py

records the outcomes of TensorFlow's freezers, and writes the page in docs/.
"""

from __future__ import annotations

import pathlib
import re
import sys
import tempfile

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parent))

import judgement
import rows
from casebook import CASES


@pytest.mark.parametrize("name", list(CASES))
def test_frozen_equals_live_in_a_fresh_process_or_is_refused(verdicts, name):
    verdict = verdicts[name]
    error = judgement.failure(verdict)
    if verdict.case.expected is None:
        assert error is not None, "this case must be refused"
        assert error.advice
        for pattern in verdict.case.refused:
            assert re.search(pattern, str(error)), str(error)
        return
    if error is not None:
        raise error
    assert verdict.problem is None
    expected = verdict.case.expected
    assert len(verdict.ours) == 2 * len(expected)
    for value, wanted in zip(verdict.ours, [*expected, *expected], strict=True):
        assert judgement.same(value, wanted), (value, wanted)
    for value, wanted in zip(verdict.ours, expected, strict=False):
        assert judgement.same(value, wanted, exactly=True), (value, wanted)


@pytest.mark.parametrize("name", list(CASES))
def test_tensorflow_does_what_the_table_says(verdicts, name):
    verdict = verdicts[name]
    assert verdict.theirs == rows.recorded()[name], verdict.details


def test_every_case_is_in_one_row():
    known = [name for row in rows.ROWS for name in row.names(CASES)]
    assert sorted(known) == sorted(CASES)
    assert all(row.names(CASES) for row in rows.ROWS)


def test_a_row_says_refused_where_its_cases_are(verdicts):
    for row in rows.ROWS:
        for name in row.names(CASES):
            refused = verdicts[name].case.expected is None
            assert refused == row.ours.startswith(rows.REFUSED), name


def test_the_page_shows_the_table():
    assert rows.PAGE.read_text("utf-8") == rows.page()


if __name__ == "__main__":
    import tensorflow as tf

    found = judgement.judge_all(pathlib.Path(tempfile.mkdtemp()))
    rows.record({name: verdict.theirs for name, verdict in found.items()}, tf.__version__)
