"""Objects that are no variables and have a state of their own: tables, Python state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tfpersist.errors import RestoreError, UnsupportedError
from tfpersist.matching.plan import Entry
from tfpersist.tf.internals import eager, trackables


def export(entry: Entry) -> np.ndarray[Any, Any]:
    """Give one tensor of the state of an object.

    Raises:
        UnsupportedError: its state has no form outside of TensorFlow.
    """
    if entry.spec.dtype == "variant":
        raise UnsupportedError(
            "the state of a tf.data iterator has no form outside of TensorFlow",
            where=entry.name,
            advice="Save a Checkpoint without it, or leave it out with only().",
        )
    state: Any = entry.handle
    if state.local == "py_state":
        return _text(trackables.serialized(entry.ref))
    return eager.view(trackables.export(entry.ref)[state.local])


def _text(value: bytes) -> np.ndarray[Any, Any]:
    texts = np.empty((), object)
    texts[()] = value
    return texts


def assign(states: Iterable[tuple[Any, Mapping[str, Any]]]) -> None:
    """Give objects their states, by the objects' own names.

    Raises:
        RestoreError: an object refuses; those before it have been taken back.
    """
    python = [(thing, given["py_state"]) for thing, given in states if "py_state" in given]
    # The user's own code may refuse, so it goes first, and is taken back as a whole.
    before = [(thing, trackables.serialized(thing)) for thing, _ in python]
    for at, (thing, value) in enumerate(python):
        try:
            thing.deserialize(value)
        except Exception as error:
            for earlier, state in before[:at]:
                earlier.deserialize(state)
            raise RestoreError(
                f"a {type(thing).__name__} refuses the state it is given: {error}",
                advice="Leave it out with only(), or make its deserialize() accept this state.",
            ) from error
    for thing, given in states:
        if "py_state" not in given:
            trackables.restore_states(thing, given)
