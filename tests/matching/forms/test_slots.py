"""The slots of an optimizer follow their variables, in the form that these are made in."""

from __future__ import annotations

import pytest

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.forms.slots import kinds_by_names, with_slots
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.fit import Assignment, Fit, Missing
from tfpersist.matching.recipes.recipe import Recipe
from tfpersist.matching.recipes.recipe_steps import AddToBlock, Slice, Sum, Transpose

VARIABLE, STEPS = object(), TensorSpec("int64", ())
SHIFT = AddToBlock(0, 2, 1, 1.0)


def spec(*shape):
    return TensorSpec("float32", shape)


def missing(name, wanted, slot, variable=VARIABLE):
    owner = 0 if variable is None else id(variable)
    return Missing(name, Entry(name, name, wanted, object(), kept_for=(slot, owner)))


def fitted(saved, *states, recipe=None, certain=True, wanted=None):
    """Return a fit of "w" and of states, by the name of each."""
    entry = Entry("w", "w", wanted or spec(2, 3), VARIABLE, recipe=recipe)
    if certain:
        fit = Fit((Assignment("w", entry),), states, unexpected=tuple(saved))
    else:
        proposed = Entry("w", "w", entry.spec, VARIABLE, proposal=("w", "words"), recipe=recipe)
        fit = Fit((), (Missing("w", proposed), *states), unexpected=tuple(saved))
    fit = with_slots(fit, Saved(saved))
    return fit, {one.entry.name: one for one in (*fit.assignments, *fit.missing, *fit.kept)}


ADAM = {"w": spec(2, 3), "w/Adam": spec(2, 3), "w/Adam_1": spec(2, 3), "global_step": STEPS}
STATES = (
    missing("m", spec(2, 3), "adam/m"),
    missing("v", spec(2, 3), "adam/v"),
    missing("t", STEPS, "iterations", None),
    missing("rate", spec(), "learning_rate", None),
)


def test_slots_of_names_are_carried_out_with_their_variables():
    fit, found = fitted(ADAM, *STATES)
    assert {name: found[name].key for name in "mvt"} == {
        "m": "w/Adam",
        "v": "w/Adam_1",
        "t": "global_step",
    }
    assert all(isinstance(found[name], Assignment) for name in "mvt")
    assert found["rate"] in fit.kept
    assert fit.fits
    assert fit.advice == ""
    assert fit.unexpected == ("w",)


def test_slots_of_proposed_variables_are_proposed():
    fit, found = fitted(ADAM, *STATES, certain=False)
    assert {name: found[name].entry.proposal[0] for name in "mvt"} == {
        "m": "w/Adam",
        "v": "w/Adam_1",
        "t": "global_step",
    }
    assert not fit.assignments
    assert "3 states of the optimizer would follow their variables" in fit.advice


@pytest.mark.parametrize(
    "saved",
    [
        {"w": spec(2, 3), "opt/w/Adam": spec(2, 3), "opt/w/Adam_1": spec(2, 3)},
        {"w": spec(2, 3), "w/adam_m": spec(2, 3), "w/adam_v": spec(2, 3)},
    ],
)
def test_slots_may_lie_in_the_scope_of_an_optimizer_or_be_those_of_bert(saved):
    _, found = fitted(saved, *STATES)
    assert [found[name].key for name in "mv"] == [key for key in saved if key != "w"]
    # Nothing says how many steps were done.
    assert isinstance(found["t"], Missing)


def test_slots_are_made_as_their_variables_are():
    recipe = Recipe(("w",), (Transpose((1, 0)), Slice(0, 0, 2), SHIFT))
    state = missing("m", spec(2, 2), "adam/m")
    _, found = fitted(ADAM, state, recipe=recipe, wanted=spec(2, 2))
    assert str(found["m"].entry.recipe) == (
        "w/Adam: transpose(axes=[1, 0]), slice(axis=0, start=0, stop=2)"
    )


@pytest.mark.parametrize(
    ("slots", "slot", "step", "reason"),
    [
        (("Adam", "Adam_1"), "adam/m", Sum(0), "sum of two"),
        (("Ftrl", "Ftrl_1"), "ftrl/linear", SHIFT, "Ftrl computes a variable"),
    ],
)
def test_a_state_that_says_nothing_of_the_variable_is_refused(slots, slot, step, reason):
    saved = {"w": spec(2, 3), **{f"w/{name}": spec(2, 3) for name in slots}}
    wanted = spec(3) if isinstance(step, Sum) else spec(2, 3)
    state = missing("m", wanted, slot)
    fit, found = fitted(saved, state, recipe=Recipe(("w",), (step,)), wanted=wanted)
    assert isinstance(found["m"], Missing)
    assert found["m"].entry.recipe is None
    assert reason in found["m"].entry.reason
    assert reason in fit.advice


@pytest.mark.parametrize(
    ("further", "slot"),
    [
        ({"w/Adam_2": spec(2, 3)}, "adam/m"),
        ({"w/adam_m": spec(2, 3)}, "adam/m"),
        ({}, "adamax/m"),
        ({}, "average"),
    ],
)
def test_what_may_be_the_slot_of_another_optimizer_is_not_taken(further, slot):
    fit, found = fitted({**ADAM, **further}, missing("m", spec(2, 3), slot))
    assert isinstance(found["m"], Missing)
    assert found["m"].entry.proposal is None
    assert "no such state" not in fit.advice


def test_a_slot_of_another_shape_is_not_taken():
    _, found = fitted({**ADAM, "w/Adam": spec(2, 4)}, missing("m", spec(2, 3), "adam/m"))
    assert isinstance(found["m"], Missing)


def test_kinds_are_known_by_the_names_of_slots():
    assert kinds_by_names(["w", "w/Ftrl", "w/Ftrl_1", "v/RMSProp"]) == {"ftrl", "rmsprop"}
    assert kinds_by_names(["w", "w/Momentum", "adam"]) == frozenset()
