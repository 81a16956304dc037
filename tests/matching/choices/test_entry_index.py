"""Choices of a user: names before patterns, objects by identity, and nothing else."""

from __future__ import annotations

import pytest

from tfpersist.errors import SelectionError
from tfpersist.formats.tensors import Slice, TensorSpec
from tfpersist.matching.choices.entry_index import EntryIndex
from tfpersist.matching.plans.entry import Entry

SPEC = TensorSpec("float32", (2,))


class Thing:
    """An object that is equal to every other of its kind, as numpy scalars may be."""

    def __init__(self, variables=None):
        if variables is not None:
            self.variables = variables

    def __eq__(self, other):
        return True

    __hash__ = object.__hash__


W, B, TABLE = Thing(), Thing(), Thing()
ENTRIES = [
    Entry("net/w", "w", SPEC, W, aliases=("path/w",)),
    Entry("net/b", "b", SPEC, B, handle=TABLE),
    Entry("p", "p/0", SPEC, part=Slice("p", (4,), (0,), (2,))),
    Entry("p", "p/1", SPEC, part=Slice("p", (4,), (2,), (2,))),
    Entry("n", "w*", SPEC),
]


@pytest.fixture
def index():
    return EntryIndex(ENTRIES)


@pytest.mark.parametrize(
    ("choice", "positions"),
    [
        ("w", [0]),
        ("w:0", [0]),
        ("net/w", [0]),
        ("path/w", [0]),
        ("w*", [4]),
        ("net/*", [0, 1]),
        ("[wb]", [0, 1]),
        ("p/?", [2, 3]),
        ("p", [2, 3]),
        (W, [0]),
        (TABLE, [1]),
        ([B, W], [1, 0]),
        (Thing([B]), [1]),
    ],
)
def test_what_a_choice_means(index, choice, positions):
    assert index.matching(choice, "only()") == positions


@pytest.mark.parametrize("choice", ["W", "net", "", Thing(), Thing([Thing()]), [], None, b"w", 3])
def test_what_means_nothing(index, choice):
    with pytest.raises(SelectionError, match=r"^only\(\) (finds no variable|got) "):
        index.matching(choice, "only()")


def test_one_variable_may_have_several_parts(index):
    assert index.one("p", "rename()") == [2, 3]
    with pytest.raises(SelectionError, match="gives one key to 2 variables: net/b, net/w"):
        index.one("net/*", "rename()")
