"""Tests of matching.positions."""

from __future__ import annotations

import attrs
import pytest

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.sides import positions
from tfpersist.matching.sides.facts import Leaf, Member, Side

BLOCKS = ("blocks",)
ONE = Leaf(
    0,
    {"kernel": Member("k", TensorSpec("float32", ()))},
    (*BLOCKS, "#0"),
    (*BLOCKS, "#0"),
    lists=((BLOCKS, 0),),
)


def side(*names):
    return Side([], items={BLOCKS: dict(enumerate(names))})


@pytest.mark.parametrize(
    ("mine", "theirs", "disputed", "displaced"),
    [
        (["a", "b"], ["", ""], False, False),
        (["a", "b"], ["", "", ""], False, True),
        (["", ""], ["", "", ""], False, True),
        (["a", "b_1", ""], ["", ""], False, True),
        (["l_1"], ["", ""], True, True),
        (["l_0", "l_1"], ["", "", ""], False, False),
        (["l_1", "l_2"], ["", "", ""], True, True),
        (["l_1", "l_2"], ["", ""], False, False),
        (["l_1", "l_0"], ["", ""], True, False),
        (["l_0", "l_2"], ["", ""], True, False),
        (["l_0", "new"], ["", "", ""], False, True),
        (["l_0", "new", "l_1"], ["", ""], True, True),
        (["", ""], ["", ""], False, False),
        (["l_1", "l_0"], ["l_1", "l_0"], False, False),
    ],
)
def test_a_position_counts_unless_names_or_lengths_say_otherwise(mine, theirs, disputed, displaced):
    assert positions.disputed(side(*mine), side(*theirs))(ONE) is disputed
    assert positions.displaced(side(*mine), side(*theirs))(ONE) is displaced


def test_a_list_below_an_attribute_is_still_the_same_list():
    inside = attrs.evolve(ONE, lists=((("net", *BLOCKS), 0),))
    live = Side([], items={("net", *BLOCKS): {0: "", 1: ""}})
    assert positions.displaced(live, side("", "", ""))(inside)
    assert not positions.displaced(live, side("", ""))(inside)
    two = Side([], items={("a", *BLOCKS): {0: "", 1: "", 2: ""}, ("b", *BLOCKS): {0: ""}})
    assert not positions.displaced(side("", ""), two)(ONE)


def test_a_list_in_something_else_is_the_only_one_that_ends_alike():
    inside = attrs.evolve(ONE, lists=((("net", *BLOCKS), 0),))
    live = Side([], items={("net", *BLOCKS): {0: "", 1: ""}})
    one, other = ({("block_1", *BLOCKS): {0: "", 1: "", 2: ""}}, {("rest", *BLOCKS): {0: ""}})
    assert positions.displaced(live, Side([], items=one))(inside)
    assert not positions.displaced(live, Side([], items=one | other))(inside)
    both = {**live.items, ("more", *BLOCKS): {0: "", 1: ""}}
    assert not positions.displaced(Side([], items=both), Side([], items=one))(inside)


def test_an_item_of_a_list_is_called_by_its_name_and_what_is_inside_by_attributes():
    inside = attrs.evolve(ONE, held=("blocks", "#1", "table", "up"), lists=((BLOCKS, 1),))
    assert positions.by_items(side("", "stem"))(inside) == ("blocks", "stem", "table", "up")
    assert positions.by_items(side("stem", ""))(inside) == ()
    nested = attrs.evolve(
        ONE, held=("blocks", "#0", "#1"), lists=((BLOCKS, 0), ((*BLOCKS, "#0"), 1))
    )
    both = Side([], items={BLOCKS: {0: ""}, (*BLOCKS, "#0"): {1: "stem"}})
    assert positions.by_items(both)(nested) == ("blocks", "stem")
