"""Facts on the optimizers of a Keras target, for a restore."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs

from tfpersist.matching.forms.slots import kinds_by_names
from tfpersist.matching.keras_files.config import snake
from tfpersist.matching.pairing.optimizers import OptimizerState
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.sides import eras
from tfpersist.tf.internals import replicas, trackables
from tfpersist.tf.internals.keras import build_optimizer, is_optimizer_built
from tfpersist.tf.internals.live import LiveGraph
from tfpersist.tf.targets import keras_kinds


def kind_of(optimizer: object) -> str:
    """Return which optimizers mean the same by their slots, as in `eras.KINDS`.

    An optimizer that wraps another, such as for loss scaling, is of the kind of the other.
    """
    inner = getattr(optimizer, "inner_optimizer", None)
    if inner is not None:
        return kind_of(inner)
    name = type(optimizer).__name__
    return eras.KINDS.get(snake(name), name)


def unused(live: LiveGraph) -> set[int]:
    """Return the identities of what optimizers hold that have trained nothing yet.

    Args:
        live: the objects of the target.
    """
    found: set[int] = set()
    for number in _unbuilt(live):
        found |= {id(live.objects[node]) for node in live.graph.below(number)}
    return found


def build_by_names(
    live: LiveGraph, keys: Iterable[str], trained_with: Callable[[object], list[Any]]
) -> bool:
    """Build the optimizers whose slots TensorFlow 1 has saved, as the keys tell.

    Args:
        live: the objects of the target.
        keys: the keys of the checkpoint, which are names.
        trained_with: returns the variables that an optimizer trains; none if that is not known.

    Returns:
        Whether an optimizer was built.
    """
    unbuilt = [
        (live.objects[number], variables)
        for number in _unbuilt(live)
        if (variables := trained_with(live.objects[number]))
    ]
    kinds = kinds_by_names(keys) if unbuilt else frozenset()
    wanted = [pair for pair in unbuilt if kind_of(pair[0]) in kinds]
    for optimizer, variables in wanted:
        with replicas.scope_of(map(trackables.variable_in, variables)):
            build_optimizer(optimizer, variables)
    return bool(wanted)


def with_owners(
    entries: Sequence[Entry], things: Sequence[object], states: Sequence[OptimizerState]
) -> list[Entry]:
    """Return entries that say which state of an optimizer they are, and of which variable.

    Args:
        entries: the entries.
        things: the objects of the target.
        states: the states of its optimizers. Of several none is told.
    """
    if len(states) != 1:
        return [*entries]
    owners = {
        id(things[state]): (slot, id(things[variable]) if variable >= 0 else 0)
        for (slot, variable), state in states[0].states.items()
    }
    return [
        attrs.evolve(entry, kept_for=owners[id(entry.ref)]) if id(entry.ref) in owners else entry
        for entry in entries
    ]


def _unbuilt(live: LiveGraph) -> list[int]:
    """Return the numbers of the optimizers that have no variables yet."""
    kinds = keras_kinds.optimizers()
    return [
        number
        for number, thing in enumerate(live.objects)
        if isinstance(thing, kinds) and not is_optimizer_built(thing)
    ]
