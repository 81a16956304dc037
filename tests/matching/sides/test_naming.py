"""Slots and prefixes in the names of variables, and keys without the end of an object's key."""

from __future__ import annotations

import pytest

from tfpersist.matching.sides.naming import completed, slot_of, splits, whole

END = "/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("w", None),
        ("w/Adam", "Adam"),
        ("w/Adam_1", "Adam_1"),
        ("opt/w/Momentum", "Momentum"),
        ("w/ExponentialMovingAverage", "ExponentialMovingAverage"),
        ("training/beta1_power", "beta1_power"),
        ("nobody/Adam", None),
        ("w/v", "v"),
        ("a/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE", "m"),
    ],
)
def test_optimizer_slots_are_known_by_name(name, expected):
    assert slot_of(name, {"w", "x/w"}) == expected


def test_splits_are_at_the_parts_of_a_key():
    assert list(splits("a")) == [("", "a")]
    assert list(splits("a/b/")) == [("", "a/b/"), ("a/", "b/")]


def test_the_end_of_an_objects_key_is_added_where_only_that_is_known():
    assert completed("net/w", f"v{END}", {f"net/w{END}"}) == f"net/w{END}"
    assert completed("net/w", f"v{END}", {"net/w", f"net/w{END}"}) == "net/w"
    assert completed("net/w", f"v{END}", set()) == "net/w"
    assert completed("net/w", "v", {f"net/w{END}"}) == "net/w"


def test_a_key_that_has_its_end_stays():
    for key in (f"net/w{END}", "w/.ATTRIBUTES/OTHER"):
        assert whole(key, f"v{END}") == key
    assert whole("v", "v") == "v"
    assert whole("w", "v") == "w"
