"""Rows of a tensor in other rows of a variable."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tfpersist.errors import SelectionError
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.plans.remap import row_map

WORDS = st.lists(st.text(max_size=2), max_size=8, unique=True)


@given(WORDS, WORDS)
def test_each_word_takes_its_row_along_and_other_rows_stay(old_words, new_words):
    tensor = np.arange(10.0, 10.0 + len(old_words))
    present = -np.arange(1.0, 1.0 + len(new_words))
    kept = present.copy()
    rows = row_map("w", (old_words, new_words))
    rows.check(*(TensorSpec("float64", (len(words),)) for words in (new_words, old_words)))
    value = rows.apply(present, tensor)
    for at, word in enumerate(new_words):
        known = word in old_words
        assert value[at] == (tensor[old_words.index(word)] if known else kept[at])
    np.testing.assert_array_equal(present, kept)


def test_numbers_say_it_too():
    rows = row_map("w", {np.int64(1): 0, 0: 3})
    value = rows.apply(np.zeros((4, 2)), np.arange(4.0).reshape(2, 2))
    assert value.tolist() == [[2, 3], [0, 0], [0, 0], [0, 1]]
    assert (rows.old_size, rows.new_size) == (2, 4)


def test_no_row_at_all_changes_nothing():
    rows = row_map("w", {})
    rows.check(TensorSpec("float32", (2,)), TensorSpec("float32", (0,)))
    assert rows.apply(np.ones(2), np.zeros(0)).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (3, r"w: rows= has a value of another kind; expected \{old row: new row\}, or a pair"),
        ((["a"],), "another kind"),
        (("ab", ["a"]), "another kind.*got 'ab'"),
        ((["a"], 3), "another kind.*got 3"),
        ({0: "a"}, "a wrong row; expected an int, 0 or more, got 'a'"),
        ({-1: 0}, "a wrong row.*got -1"),
        ({True: 0}, "a wrong row.*got True"),
        ({0: 1.0}, "a wrong row.*got 1.0"),
        ({0: 2, 1: 2}, "two old rows become one new row; expected one each, got 2"),
        ((["a", "a"], []), "a word is in a list twice; expected each word once, got 'a'"),
        (([], ["b", "b"]), "twice.*got 'b'"),
        (([[]], []), "a wrong word; expected a str, got a list"),
    ],
)
def test_what_says_no_rows_is_refused(rows, words):
    with pytest.raises(SelectionError, match=words):
        row_map("w", rows)


@pytest.mark.parametrize(
    ("wanted", "found", "words"),
    [
        ((5, 2), (1, 2), "w: the tensor has fewer rows than rows= says; expected at least 2 rows"),
        ((3, 2), (2, 2), "the variable has fewer rows than rows= says; expected at least 4 rows"),
        ((5, 2), (2, 3), r"its rows differ from those of the tensor; expected float32\[5,2\]"),
        ((5, 2), (2,), "its rows differ"),
        ((), (), "its rows differ"),
    ],
)
def test_rows_that_are_not_there_are_refused(wanted, found, words):
    rows = row_map("w", {0: 3, 1: 0})
    with pytest.raises(SelectionError, match=words):
        rows.check(TensorSpec("float32", wanted), TensorSpec("float32", found))


def test_rows_of_another_type_are_refused():
    with pytest.raises(SelectionError, match="its rows differ"):
        row_map("w", {}).check(TensorSpec("float32", (2,)), TensorSpec("float64", (2,)))
