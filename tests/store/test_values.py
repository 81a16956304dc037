"""The values that a fit makes of the tensors of a checkpoint."""

from __future__ import annotations

import numpy as np

import tfpersist as tfp
from tfpersist.formats.tensors import Slice, TensorSpec
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.fit import Assignment, Fit, Mismatch, Missing, Remapped
from tfpersist.matching.plans.remap import row_map
from tfpersist.matching.recipes.recipe import Recipe
from tfpersist.matching.recipes.recipe_steps import Cast, Concat
from tfpersist.store.values import Values, read_values

SPEC = TensorSpec("float32", (4,))


def entry(name, **more):
    return Entry(name, name, SPEC, **more)


def read(fit, tensors):
    store = tfp.ModelStore("memory://values")
    return read_values(store.save(tensors, step=1), fit)


def test_whole_tensors_parts_and_recipes_are_values():
    part = Slice("w", (4,), (1,), (2,))
    both = Recipe(("w", "v"), (Concat(0), Cast("float16")))
    fit = Fit(
        (
            Assignment("w", entry("a")),
            Assignment("w", entry("b", part=part)),
            Assignment("w", entry("c", recipe=both)),
        ),
        missing=(Missing("x", entry("x")),),
    )
    values = read(fit, {"w": np.float32([1, 2, 3, 4]), "v": np.float32([1e9])})
    assert {one.name: value.tolist() for one, value in values.whole} == {
        "a": [1, 2, 3, 4],
        "b": [2, 3],
        "c": [1, 2, 3, 4, np.inf],
    }
    assert [(loss.variable, loss.overflows) for loss in values.losses] == [("c", 1)]
    assert values.partial == []


def test_what_is_filled_in_part_waits_for_the_present_value():
    found = TensorSpec("float32", (2,))
    both = Recipe(("w", "w"), (Concat(0),))
    fit = Fit(
        (),
        sliced=(
            Mismatch("w", entry("a"), found),
            Mismatch("w", entry("b", recipe=both, said=True), found),
        ),
        remapped=(Remapped("w", entry("c"), found, row_map("c", {1: 0})),),
    )
    values = read(fit, {"w": np.float32([1, 2])})
    present = np.float32([7, 7, 7, 7, 7])
    assert {one.name: filled(present).tolist() for one, filled in values.partial} == {
        "a": [1, 2, 7, 7, 7],
        "b": [1, 2, 1, 2, 7],
        "c": [2, 7, 7, 7, 7],
    }
    assert (values.whole, values.losses) == ([], ())


def test_there_are_no_values_by_default():
    assert (Values().whole, Values().partial, Values().losses) == ((), (), ())
