"""Leaves that people gave one name, and orders that a file without names does not decide."""

from __future__ import annotations

import pytest
from leaves import leaf, leaves

from tfpersist.matching.pairing import kinship
from tfpersist.matching.sides.facts import Side


def kins(live, saved):
    return kinship.kins(Side(live), Side(saved))


def test_names_that_end_one_another_are_of_one_kin():
    mine, theirs = kins(leaves("up/down", "item/down", "x"), leaves("down", "y/x", "z"))
    assert mine[0] == mine[1] == theirs[0]
    assert mine[2] == theirs[1] != mine[0]
    assert 2 not in theirs


def test_what_has_no_name_of_its_own_has_no_kin():
    unnamed = leaf(0, "net", is_named=False)
    assert kins([unnamed], leaves("net")) == ({}, {})
    assert kins([leaf(0, "parts", "#1")], [leaf(0, "parts", "#1")]) == ({}, {})
    inside = leaf(0, "parts", "#1", "query")
    assert kins([inside], [leaf(0, "parts", "#2", "query")]) == ({0: 0}, {0: 0})


@pytest.mark.parametrize(
    ("live", "saved", "hides"),
    [
        (["left", "right"], ["", ""], True),
        (["block_1", "block_2"], ["", ""], False),
        (["block_2", "block_1"], ["", ""], True),
        (["left", "right"], ["a", "b"], False),
        (["left/q", "left/k", "right/q", "right/k"], ["q", "k", "q", "k"], True),
        (["q", "k", "q", "k"], ["q", "k", "q", "k"], False),
    ],
)
def test_only_names_that_count_tell_an_order_that_a_file_hides(live, saved, hides):
    listed = leaves(*saved, listed=True)
    assert kinship.hides_names(leaves(*live), listed) is hides
    assert not kinship.hides_names(leaves(*live), leaves(*saved))


def test_an_attribute_that_both_sides_have_is_known():
    live = Side([leaf(0, "up"), leaf(1, "rise"), leaf(2, "parts", "#1")], objects=True)
    saved = Side([leaf(0, "net", "up"), leaf(1, "down")], objects=True)
    assert kinship.attributes(live, saved) == ({0: "up"}, {0: "up"})
    assert kinship.attributes(live, Side(saved.leaves)) == ({}, {})
    cells = Side([leaf(0, "up", "cell"), leaf(1, "new", "cell")], objects=True)
    assert kinship.attributes(cells, saved) == ({0: "up"}, {0: "up"})
    placed = Side([leaf(0, "up", tail=()), leaf(1, "up", "cell", tail=("cell",))], objects=True)
    assert kinship.attributes(placed, saved) == ({}, {})


def test_automatic_names_that_are_joined_tell_no_order():
    listed = [leaf(at, "net", listed=True, joined=f"dense_{at}") for at in range(2)]
    assert kinship.hides_names(leaves("left", "right"), listed)


def test_the_groups_that_both_sides_have_are_known_by_the_names_that_people_gave():
    def side(*chains, **facts):
        paths = [tuple(chain.split("/")) for chain in chains]
        called = [leaf(at, *path, called=path, **facts) for at, path in enumerate(paths)]
        return Side(called, objects=True)

    live = side("up", "head/up", "dense_1/0/head/up", "new/up")
    saved = side("head/down", "dense_1/0/down", "old/down")
    assert kinship.groups(live, saved) == ({1: ("head",), 2: ("head",)}, {0: ("head",)})
    assert kinship.groups(live, Side(saved.leaves)) == ({}, {})
    assert kinship.groups(live, side("head/down", listed=True)) == ({}, {})
