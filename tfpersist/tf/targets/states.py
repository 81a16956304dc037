"""Export and assign the state of objects that are no variables: tables, iterators, Python state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfpersist.errors import RestoreError, SaveError, TFPersistError
from tfpersist.matching.plans.entry import Entry
from tfpersist.tf.internals import data_functions, eager, trackables
from tfpersist.tf.run.translate import translated

# What an object of Python state calls its state.
PYTHON_STATE = "py_state"
_LEAVE_OUT = "Leave it out with only()"


def export(entries: Sequence[Entry]) -> Iterator[np.ndarray[Any, Any]]:
    """Yield one tensor of the state of an object for each entry; each object is asked once.

    Args:
        entries: the object in `ref`, its state in `handle`.

    Raises:
        SaveError: the state of an object cannot be exported.
    """
    exported: dict[int, Mapping[str, np.ndarray[Any, Any]]] = {}
    for entry in entries:
        if id(entry.ref) not in exported:
            exported[id(entry.ref)] = _export_one(entry)
        state: Any = entry.handle
        yield exported[id(entry.ref)][state.local]


def _export_one(entry: Entry) -> Mapping[str, np.ndarray[Any, Any]]:
    state: Any = entry.handle
    if state.local == PYTHON_STATE:
        return {PYTHON_STATE: python_state(entry.ref)}
    is_iterator = trackables.is_iterator(entry.ref)
    if is_iterator and (op := data_functions.stateful_op(entry.ref)):
        raise _without_position(entry, f"{op} is stateful")
    try:
        with translated(SaveError):
            tensors = trackables.export(entry.ref)
            return {local: eager.view(tensor) for local, tensor in tensors.items()}
    except SaveError as error:
        if not is_iterator:
            raise
        raise _without_position(entry, error.problem) from error


def _without_position(entry: Entry, why: str) -> SaveError:
    return SaveError(
        f"TensorFlow cannot save the position of this tf.data iterator: {why}",
        where=entry.name,
        advice="Leave it out with only(), or build its dataset without random ops, generators"
        " and Python functions inside of map().",
    )


def python_state(thing: Any) -> np.ndarray[Any, Any]:
    """Return the state of a `tf.train.experimental.PythonState`, a scalar of bytes."""
    array = np.empty((), object)
    array[()] = trackables.serialized(thing)
    return array


# The path of an object, the object, and its state by the object's own names.
State = tuple[str, Any, Mapping[str, Any]]


def assign(states: Collection[State]) -> None:
    """Assign states to objects.

    Args:
        states: the objects and their states.

    Raises:
        RestoreError: an object refuses its state; objects of Python state and iterators have their
            old states again, and no other object has been changed.
    """
    # These may refuse, so they come first, and all of them are undone together.
    python = [state for state in states if PYTHON_STATE in state[2]]
    iterators = [state for state in states if trackables.is_iterator(state[1])]
    undo: list[Callable[[], object]] = []
    try:
        for path, thing, tensors in python:
            _assign_python(path, thing, tensors[PYTHON_STATE], undo)
        for path, thing, tensors in iterators:
            _assign_iterator(path, thing, tensors, undo)
    except RestoreError:
        for work in reversed(undo):
            work()
        raise
    first = {id(thing) for _, thing, _ in (*python, *iterators)}
    for _, thing, tensors in states:
        if id(thing) not in first:
            trackables.restore_states(thing, tensors)


def _assign_python(path: str, thing: Any, value: bytes, undo: list[Callable[[], object]]) -> None:
    before = trackables.serialized(thing)
    try:
        thing.deserialize(value)
    except TFPersistError:
        raise
    except Exception as error:
        raise RestoreError(
            f"a {type(thing).__name__} refuses its state: {error}",
            where=path,
            advice=f"{_LEAVE_OUT}, or make its deserialize() accept this state.",
        ) from error
    undo.append(lambda: thing.deserialize(before))


def _assign_iterator(
    path: str, thing: Any, tensors: Mapping[str, Any], undo: list[Callable[[], object]]
) -> None:
    try:
        with translated(RestoreError):
            before = trackables.export(thing)
            # TensorFlow changes an iterator that refuses a position too.
            undo.append(lambda: trackables.restore_states(thing, before))
            trackables.restore_states(thing, tensors)
    except RestoreError as error:
        raise RestoreError(
            f"a tf.data iterator refuses its position: {error.problem}",
            where=path,
            advice=f"{_LEAVE_OUT}, or build its dataset as it was built for the save.",
        ) from error
