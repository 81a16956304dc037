"""Test which variables of a target a plan means."""

from __future__ import annotations

import pytest

from tfpersist.errors import SelectionError
from tfpersist.formats.tensors import Slice, TensorSpec
from tfpersist.matching.choices.by_plan import as_said, keys_of
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.plan import Pair, Plan
from tfpersist.matching.recipes.recipe import Recipe

SPEC = TensorSpec("float32", (2,))
END = "/.ATTRIBUTES/VARIABLE_VALUE"
W, B = object(), object()
ENTRIES = [
    Entry(f"layers/0/w{END}", "net/w", SPEC, W, aliases=("layers/0/w",)),
    Entry(f"layers/0/b{END}", "net/b", SPEC, B, aliases=("layers/0/b",), alternatives=("x",)),
    Entry("p", "p/0", SPEC, part=Slice("p", (4,), (0,), (2,))),
    Entry("p", "p/1", SPEC, part=Slice("p", (4,), (2,), (2,))),
]
SPECS = {f"old{END}": SPEC, "q": TensorSpec("float32", (4,))}


def said(*pairs):
    return as_said(Plan(pairs), ENTRIES, SPECS)


def test_a_pair_decides_and_the_others_stay():
    w, b, *parts = said(Pair("net/w", "old", reason="as you said"))
    assert (w.key, w.reason, w.said, w.kept) == (f"old{END}", "as you said", True, False)
    assert b is ENTRIES[1]
    assert parts == ENTRIES[2:]


def test_a_pair_that_decides_nothing_changes_nothing():
    assert said(Pair("net/b", alternatives=("y",)))[1] is ENTRIES[1]


def test_a_path_counts_more_than_a_name_that_keras_gave():
    entries = [
        Entry("0", "dense_1/w", SPEC, aliases=("layers/0/w",)),
        Entry("1", "dense_2/w", SPEC, aliases=("layers/1/w",)),
    ]
    plan = Plan(
        (Pair("dense/w", "a", path="layers/0/w"), Pair("dense_1/w", "b", path="layers/1/w"))
    )
    assert [entry.key for entry in as_said(plan, entries, {})] == ["a", "b"]


def test_a_given_name_that_contradicts_its_path_is_refused():
    with pytest.raises(SelectionError, match="two variables"):
        said(Pair("net/w", "old", path="layers/0/b"))


def test_parts_of_a_variable_are_meant_together():
    parts = said(Pair("p", "q"))[2:]
    assert [(part.key, part.part.full_name) for part in parts] == [("q", "q")] * 2


def test_a_recipe_and_what_stays():
    recipe = Recipe(("q",))
    w, b, *_ = said(Pair("net/w", recipe=recipe), Pair("layers/0/b", keep=True))
    assert (w.recipe, w.key, w.said) == (recipe, "q", True)
    assert (b.kept, b.alternatives) == (True, ())


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ([Pair("net/x", "old")], "does not have: 'net/x'. Did you mean"),
        ([Pair("net/w", "old"), Pair("layers/0/w", "q")], "two pairs for 'net/w'"),
    ],
)
def test_a_plan_for_another_target(pairs, problem):
    with pytest.raises(SelectionError, match=problem):
        said(*pairs)


def test_one_name_of_several_variables_needs_a_path():
    entries = [Entry(str(n), "w", SPEC, aliases=(f"layers/{n}/w",)) for n in range(2)]
    with pytest.raises(SelectionError, match=r"path: layers/0/w or layers/1/w"):
        as_said(Plan((Pair("w", "q"),)), entries, SPECS)


def test_keys_are_given_to_variables_that_exist():
    plan = Plan((Pair("net/w", "old"), Pair("later/w", "q"), Pair("net/b", keep=True)))
    assert keys_of(plan, ENTRIES, SPECS) == {id(W): f"old{END}"}
