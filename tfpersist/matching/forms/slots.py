"""Pair the slots of an optimizer as the variables that they are kept for. Pure.

A variable that is made by a recipe takes its slots with it: they are made in the same way of the
slots of its tensors. The slots of TensorFlow 1 are known by their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import attrs

from tfpersist.errors import SelectionError, counted
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.choices.suggestions import ONLY_SLOTS
from tfpersist.matching.pairing.optimizers import OUTER
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.plans.fit import Assignment, Fit, Mismatch, Missing
from tfpersist.matching.recipes.recipe import Recipe
from tfpersist.matching.recipes.recipe_steps import AddToBlock, Sum
from tfpersist.matching.sides import eras

# The slots of TensorFlow 1 that hold the same as those of Keras, by what `eras.LISTS` calls them.
# Those of MomentumOptimizer do not: they lack the learning rate. Sources: the optimizers in
# tensorflow/python/training, and bert/optimization.py.
TF1_SLOTS: Mapping[str, str] = {
    **dict.fromkeys(("Adam", "adam_m"), "adam/m"),
    **dict.fromkeys(("Adam_1", "adam_v"), "adam/v"),
    "RMSProp": "rmsprop/rms",
    "RMSProp_1": "rmsprop/momentum",
    "Adagrad": "adagrad/accumulator",
    "Adadelta": "adadelta/accum_grad",
    "Adadelta_1": "adadelta/accum_var",
    "Ftrl": "ftrl/accumulator",
    "Ftrl_1": "ftrl/linear",
}
# With such a slot a variable has two optimizers of a kind, or one of another form, such as a
# centered RMSProp. Nothing tells then which slot is which.
_FURTHER = ("Adam_2", "RMSProp_2", "Adagrad_1", "Adadelta_2", "Ftrl_2")
_STEPS = "global_step"
_REASON = "same slot of the same variable"
_COUNTED = "the steps that TensorFlow 1 counted"
_NO_STATE = "the checkpoint has no such state of this optimizer"
_CONFIGURED = "a number of the configuration, which the saved optimizer kept in no variable"
_UNSCALED = "the saved optimizer had no such state of loss scaling"
_MOMENTUM = "the one of MomentumOptimizer in TensorFlow 1 lacks the learning rate"

_AnyMissing = TypeVar("_AnyMissing", bound=Missing | Mismatch)


def kinds_by_names(keys: Iterable[str]) -> frozenset[str]:
    """Return the kinds of the optimizers of TensorFlow 1 that keys of a checkpoint tell of.

    Args:
        keys: the keys.

    Returns:
        Kinds as in `eras.KINDS`.

    Example:
        >>> kinds_by_names(["w", "w/Adam", "w/Adam_1"])
        frozenset({'adam'})
    """
    slots = (TF1_SLOTS.get(key.rpartition("/")[2]) for key in keys)
    return frozenset(slot.partition("/")[0] for slot in slots if slot)


def with_slots(fit: Fit, saved: Saved) -> Fit:
    """Return a fit in which missing states of an optimizer follow their variables.

    Args:
        fit: the fit of the variables. The entries of states say what they are kept for.
        saved: the checkpoint.

    Returns:
        A changed copy; the same fit if nothing follows.
    """
    if saved.message is None:
        fit = attrs.evolve(fit, kept=tuple(_explained(one, saved.specs) for one in fit.kept))
    elif fit.missing and len(saved.objects.states) == 1:
        fit = _with_own_numbers(fit, {slot for slot, _ in saved.objects.states[0].states})
    waiting = [one for one in fit.missing if one.entry.kept_for is not None]
    if not waiting:
        return fit
    slots = _by_names(saved.specs) if saved.message is None else _of_objects(saved)
    sources = dict(_sources(fit))
    found: dict[int, Missing | Assignment] = {}
    for one in waiting:
        slot, variable = one.entry.kept_for or ("", 0)
        if variable in sources:
            followed = _followed(one, slot, sources[variable], slots, saved.specs)
            if followed is not None:
                found[id(one)] = followed
    kept: list[Missing] = []
    if saved.message is None and found:
        certain = any(isinstance(one, Assignment) for one in found.values())
        for one in waiting:
            if one.entry.kept_for == ("iterations", 0):
                found |= _steps(one, saved.specs, certain=certain)
            elif one.entry.kept_for == ("learning_rate", 0):
                # TensorFlow 1 has it in no variable.
                kept.append(one)
    done = [one for one in found.values() if isinstance(one, Assignment)]
    left: list[Missing] = []
    for one in fit.missing:
        follower = found.get(id(one), one)
        if isinstance(follower, Missing) and one not in kept:
            left.append(_explained(follower, saved.specs) if saved.message is None else follower)
    used = {key for one in done for key in (one.key, *_keys(one.entry.recipe))}
    lines = [line for line in fit.advice.splitlines() if left and line != ONLY_SLOTS]
    return attrs.evolve(
        fit,
        assignments=(*fit.assignments, *done),
        missing=tuple(left),
        kept=(*fit.kept, *kept),
        unexpected=tuple(key for key in fit.unexpected if key not in used),
        advice="\n".join([*lines, *_advice(found.values())]),
    )


def _explained(one: _AnyMissing, specs: Mapping[str, TensorSpec]) -> _AnyMissing:
    """Return a state that gets no value with the reason."""
    if one.entry.kept_for is None or one.entry.reason:
        return one
    has_momentum = any(key.endswith("/Momentum") for key in specs)
    reason = f"{_NO_STATE}; {_MOMENTUM}" if has_momentum else _NO_STATE
    return attrs.evolve(one, entry=attrs.evolve(one.entry, reason=reason))


def _with_own_numbers(fit: Fit, there: set[str]) -> Fit:
    """Return a fit that keeps what an optimizer has, and what the saved one had no need of."""
    kept = []
    for one in fit.missing:
        slot, variable = one.entry.kept_for or ("", 0)
        if slot in there or variable:
            continue
        if slot in eras.NUMBERS:
            reason = _CONFIGURED
        elif slot.startswith(OUTER) or slot in eras.LOSS_SCALE.values():
            reason = _UNSCALED
        else:
            continue
        kept.append(attrs.evolve(one, entry=attrs.evolve(one.entry, reason=reason)))
    keys = {one.key for one in kept}
    missing = tuple(one for one in fit.missing if one.key not in keys)
    return attrs.evolve(fit, missing=missing, kept=(*fit.kept, *kept)) if kept else fit


@attrs.frozen
class _Source:
    """Where a variable gets its value from, and whether that is carried out or proposed."""

    recipe: Recipe
    certain: bool


def _sources(fit: Fit) -> Iterable[tuple[int, _Source]]:
    """Yield what each variable gets, by its identity."""
    ones: list[Assignment | Missing | Mismatch] = [
        *fit.assignments,
        *fit.missing,
        *fit.mismatched,
    ]
    for one in ones:
        entry, certain = one.entry, isinstance(one, Assignment)
        if entry.recipe is not None:
            yield id(entry.ref), _Source(entry.recipe, certain)
        elif certain:
            yield id(entry.ref), _Source(Recipe((one.key,)), certain)
        elif isinstance(one, Missing) and entry.proposal is not None:
            yield id(entry.ref), _Source(Recipe((entry.proposal[0],)), certain)


def _followed(
    one: Missing,
    slot: str,
    source: _Source,
    slots: Mapping[tuple[str, str], str],
    specs: Mapping[str, TensorSpec],
) -> Missing | Assignment | None:
    """Return a slot with its tensors; None if the checkpoint does not have them."""
    keys = tuple(slots.get((slot, key), "") for key in source.recipe.keys)
    if not all(keys):
        return None
    steps = source.recipe.steps
    refused = ""
    if any(isinstance(step, Sum) for step in steps):
        refused = "a variable is the sum of two, whose states say nothing of the sum's"
    elif slot.startswith("ftrl/") and any(isinstance(step, AddToBlock) for step in steps):
        refused = "Ftrl computes a variable from its state, and this one got a forget bias"
    if refused:
        return attrs.evolve(one, entry=attrs.evolve(one.entry, reason=refused, conflict=refused))
    # What is added to a variable once changes no other optimizer's state.
    steps = tuple(step for step in steps if not isinstance(step, AddToBlock))
    recipe = Recipe(keys, steps)
    try:
        if not one.entry.wanted.accepts(recipe.spec_of(specs)):
            return None
    except SelectionError:
        return None
    entry = attrs.evolve(one.entry, reason=_REASON, proposal=None, alternatives=(), conflict="")
    if steps:
        entry = attrs.evolve(entry, recipe=recipe)
    elif not source.certain:
        entry = attrs.evolve(entry, proposal=(keys[0], _REASON))
    return Assignment(keys[0], entry) if source.certain else attrs.evolve(one, entry=entry)


def _steps(
    one: Missing, specs: Mapping[str, TensorSpec], *, certain: bool
) -> dict[int, Missing | Assignment]:
    """Return the number of steps that an optimizer has done, if the checkpoint has it."""
    spec = specs.get(_STEPS)
    if spec is None or not one.entry.wanted.accepts(spec):
        return {}
    entry = attrs.evolve(one.entry, reason=_COUNTED)
    if certain:
        return {id(one): Assignment(_STEPS, entry)}
    proposal = (_STEPS, _COUNTED)
    return {id(one): attrs.evolve(one, entry=attrs.evolve(entry, proposal=proposal))}


def _by_names(specs: Mapping[str, TensorSpec]) -> dict[tuple[str, str], str]:
    """Return the keys of the slots of TensorFlow 1, by slot and by the key of their variable."""
    found: dict[tuple[str, str], list[str]] = {}
    for key in specs:
        owner, _, last = key.rpartition("/")
        slot = TF1_SLOTS.get(last)
        # The slot of "w" that was created under the scope of an optimizer is "opt/w/Adam".
        while slot and owner and owner not in specs:
            owner = owner.partition("/")[2]
        if slot and owner:
            found.setdefault((slot, owner), []).append(key)
    return {
        (slot, owner): keys[0]
        for (slot, owner), keys in found.items()
        if len(keys) == 1 and not any(f"{owner}/{name}" in specs for name in _FURTHER)
    }


def _of_objects(saved: Saved) -> dict[tuple[str, str], str]:
    """Return the keys of the slots of the one optimizer of an object graph."""
    if len(saved.objects.states) != 1:
        return {}
    return {
        (slot, saved.key_of(variable)): saved.key_of(state)
        for (slot, variable), state in saved.objects.states[0].states.items()
        if variable >= 0
    }


def _keys(recipe: Recipe | None) -> tuple[str, ...]:
    return recipe.keys if recipe is not None else ()


def _advice(found: Iterable[Missing | Assignment]) -> Iterable[str]:
    waiting = [one.entry for one in found if isinstance(one, Missing)]
    refused = [entry for entry in waiting if entry.conflict]
    if len(waiting) > len(refused):
        number = counted(len(waiting) - len(refused), "state")
        yield f"{number} of the optimizer would follow their variables, as the plan shows."
    for reason in dict.fromkeys(entry.reason for entry in refused):
        yield f"Not made: states of the optimizer; {reason}."
