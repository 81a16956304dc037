"""Export and assign the state of objects that are not variables: tables, Python state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tfpersist.errors import RestoreError, UnsupportedError
from tfpersist.matching.plans.entry import Entry
from tfpersist.tf.internals import eager, trackables


def export(entry: Entry) -> np.ndarray[Any, Any]:
    """Return one tensor of the state of an object.

    Args:
        entry: the object in `ref`, its state in `handle`.

    Raises:
        UnsupportedError: the state cannot leave TensorFlow.
    """
    if entry.spec.dtype == "variant":
        raise UnsupportedError(
            "the state of a tf.data iterator cannot be saved outside of TensorFlow",
            where=entry.name,
            advice="Save a tf.train.Checkpoint without it, or leave it out with only().",
        )
    state: Any = entry.handle
    if state.local == "py_state":
        return _string_scalar(trackables.serialized(entry.ref))
    return eager.view(trackables.export(entry.ref)[state.local])


def _string_scalar(value: bytes) -> np.ndarray[Any, Any]:
    array = np.empty((), object)
    array[()] = value
    return array


def assign(states: Iterable[tuple[Any, Mapping[str, Any]]]) -> None:
    """Assign states to objects.

    Args:
        states: each object, and its state by the object's own names.

    Raises:
        RestoreError: an object refuses its state; objects of Python state have their old states
            again, and no other object has been changed.
    """
    python = [(thing, tensors["py_state"]) for thing, tensors in states if "py_state" in tensors]
    # Code of the user may refuse, so it runs first, and all of it is undone together.
    before = [(thing, trackables.serialized(thing)) for thing, _ in python]
    for position, (thing, value) in enumerate(python):
        try:
            thing.deserialize(value)
        except Exception as error:
            for earlier, state in before[:position]:
                earlier.deserialize(state)
            raise RestoreError(
                f"a {type(thing).__name__} refuses its state: {error}",
                advice="Leave it out with only(), or make its deserialize() accept this state.",
            ) from error
    for thing, tensors in states:
        if "py_state" not in tensors:
            trackables.restore_states(thing, tensors)
