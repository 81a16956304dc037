"""Tensors that are cast for their variables."""

from __future__ import annotations

import numpy as np
import pytest

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.choices.casting import as_cast, made_with_loss, with_casts
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.fit import Fit, Mismatch
from tfpersist.matching.recipes.recipe import Recipe
from tfpersist.matching.recipes.recipe_steps import Cast, Slice


def fit_of(found, wanted, **entry):
    one = Entry("w", "net/w", TensorSpec(*wanted), **entry)
    return Fit((), mismatched=(Mismatch("w", one, TensorSpec(*found), averaged=True),))


@pytest.mark.parametrize("wanted", [("float32", (2,)), ("bfloat16", (None,)), ("float16", None)])
def test_float_types_of_one_shape_are_cast(wanted):
    fit = with_casts(fit_of(("float64", (2,)), wanted))
    (one,) = fit.assignments
    assert (fit.fits, one.averaged, one.key) == (True, True, "w")
    assert one.entry.recipe == Recipe(("w",), (Cast(wanted[0]),))


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (("float64", (2,)), ("float32", (3,))),
        (("float32", (2,)), ("float32", (3,))),
        (("int32", (2,)), ("float32", (2,))),
        (("float32", (2,)), ("int32", (2,))),
        (("string", ()), ("float32", ())),
    ],
)
def test_nothing_else_is(found, wanted):
    fit = fit_of(found, wanted)
    assert with_casts(fit) == fit


def test_what_a_recipe_makes_is_cast_after_it():
    first = Recipe(("k",), (Slice(0, 1),))
    fit = with_casts(fit_of(("float32", (2,)), ("float16", (2,)), recipe=first, said=True))
    assert fit.assignments[0].entry.recipe == Recipe(("k",), (Slice(0, 1), Cast("float16")))


def test_specs_are_cast_only_to_one_type():
    specs = {"w": TensorSpec("float32", (2,)), "n": TensorSpec("int64", ())}
    half, single = TensorSpec("float16", ()), TensorSpec("float32", ())
    assert as_cast(specs, [half, specs["n"]]) == {**specs, "w": TensorSpec("float16", (2,))}
    assert as_cast(specs, [half, single]) is specs
    assert as_cast(specs, [specs["n"]]) is specs


def test_a_loss_is_that_of_the_last_step():
    tensor = np.float32([1e9, 0.5])
    value, loss = made_with_loss("w", Recipe(("k",), (Slice(0, 0, 1), Cast("float16"))), [tensor])
    assert (value.tolist(), loss.variable, loss.overflows) == ([np.inf], "w", 1)
    value, loss = made_with_loss("w", Recipe(("k",), (Cast("float16"), Slice(0, 1))), [tensor])
    assert (value.tolist(), loss) == ([0.5], None)
    assert made_with_loss("w", Recipe(("k",)), [tensor])[1] is None
