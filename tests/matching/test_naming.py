"""Slots and prefixes in the names of variables, and keys without the end of an object's key."""

from __future__ import annotations

import pytest

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.naming import advice_for, completed, slot_of, splits, whole

FLOAT = TensorSpec("float32", (2,))
NAMES = ["conv1/kernel", "conv1/bias", "conv2/kernel", "conv2/bias", "head"]
END = "/.ATTRIBUTES/VARIABLE_VALUE"


def specs(*names, spec=FLOAT):
    return dict.fromkeys(names, spec)


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


def test_advice_on_prefixes():
    missing = [(f"model/{name}", FLOAT, None) for name in NAMES]
    assert '.rename({"": "model/"}) finds 5 of the 5' in advice_for(missing, specs(*NAMES), NAMES)
    old = [f"old/{name}" for name in NAMES]
    assert '.rename({"old/": "model/"}) finds 5' in advice_for(missing, specs(*old), old)
    other = specs(*NAMES, spec=TensorSpec("float32", (9,)))
    assert advice_for(missing, other, NAMES) == ""
    assert advice_for([("a/b", FLOAT, None)], specs("c/d"), ["c/d"]) == ""
    slots = [("w/Adam", FLOAT, "Adam")]
    assert "other variables" in advice_for(slots, specs("w"), [])
    assert advice_for([], {}, []) == ""


def test_the_shorter_of_two_prefixes_that_find_as_many_is_advised():
    missing = [(f"a/b/{name}", FLOAT, None) for name in NAMES]
    keys = [f"x/b/{name}" for name in NAMES]
    assert '.rename({"x/": "a/"}) finds 5' in advice_for(missing, specs(*keys), keys)


def test_a_prefix_that_finds_less_than_half_is_not_advised():
    missing = [(f"new/{name}", FLOAT, None) for name in NAMES]
    keys = [f"old/{name}" for name in NAMES[:2]]
    assert advice_for(missing, specs(*keys), keys) == ""
    keys = [f"old/{name}" for name in NAMES[:3]]
    assert "finds 3 of the 5" in advice_for(missing, specs(*keys), keys)


def test_a_single_variable_gives_advice_only_if_a_prefix_is_all_that_differs():
    assert "finds 1 of the 1" in advice_for([("net/w", FLOAT, None)], specs("w"), ["w"])
    assert advice_for([("net/w", FLOAT, None)], specs("old/w"), ["old/w"]) == ""


def test_an_ending_that_many_keys_have_gives_no_advice():
    missing = [("net/w", FLOAT, None), ("net/b", FLOAT, None)]
    for count, advised in ((50, True), (51, False)):
        keys = [f"{number}/{name}" for number in range(count) for name in "wb"]
        assert bool(advice_for(missing, specs(*keys), keys)) is advised


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
