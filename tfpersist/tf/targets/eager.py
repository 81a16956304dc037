"""Eager variables: read all of them at once, and give them values that are theirs alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tfpersist.errors import SaveError
from tfpersist.matching.plan import Entry
from tfpersist.tf.internals import eager, replicas
from tfpersist.tf.run.aligned import ALIGNMENT, LEAST_ALIGNMENT

# Smaller values than this are copied next to each other into pieces of memory of this size.
_SMALL = 16 << 10
_PIECE = 256 << 10
# From how many variables on those of one type, of a kind that numpy itself has, go together.
_MANY, _PLAIN = 2_000, "biufc"
# Copies of large values are made side by side; more of them wait for memory.
_THREADS = 2


def read(entries: Sequence[Entry]) -> list[np.ndarray[Any, Any]]:
    """Read variables without copying them; what is read does not change with them.

    Args:
        entries: eager variables, each in `handle`.

    Raises:
        SaveError: some have no value yet; all of them are named.
    """
    variables: list[Any] = [entry.handle for entry in entries]
    together = eager.read_together(variables)
    each = (_read_one(variable) for variable in variables)
    read: Sequence[np.ndarray[Any, Any] | None] = list(each) if together is None else together
    values, empty = [], []
    for entry, variable, value in zip(entries, variables, read, strict=True):
        # A variable that was made without a value may also read as an empty tensor.
        if value is None or (value.shape != entry.spec.shape and not variable.is_initialized()):
            empty.append(entry.name)
        else:
            values.append(value)
    if empty:
        raise SaveError(
            f"{len(empty)} variables have no value yet: {', '.join(empty)}",
            advice="Assign them first, or leave them out with only().",
        )
    return values


def _read_one(variable: Any) -> np.ndarray[Any, Any] | None:
    import tensorflow as tf

    replica = replicas.primary(variable)
    try:
        if replicas.is_read_as_one(variable):
            tensor = replicas.read(variable)
        else:
            tensor = tf.raw_ops.ReadVariableOp(resource=replica.handle, dtype=replica.dtype)
    except tf.errors.FailedPreconditionError:
        return None
    return eager.view(tensor)


def converted(pairs: Sequence[tuple[Entry, np.ndarray[Any, Any]]]) -> dict[int, Any]:
    """Convert the values that TensorFlow cannot take as they are, which may fail.

    Returns:
        Tensors, by the position of their pair.
    """
    return {
        at: tensor(entry.spec.dtype, value)
        for at, (entry, value) in enumerate(pairs)
        if entry.spec.dtype == "string" or entry.spec.dtype.startswith(("qint", "quint"))
    }


def assign(
    pairs: Sequence[tuple[Entry, np.ndarray[Any, Any]]], converted: Mapping[int, Any]
) -> None:
    """Give eager variables their values, of which each gets a copy of its own.

    Variables' old values are freed before the next are copied, so that memory does not grow.

    Args:
        pairs: the variables, each in `handle`, and what they are to hold.
        converted: what `converted` has made of them.
    """
    room, large = _Room(), list[tuple[Any, Any]]()
    waiting: dict[Any, list[tuple[Any, Any]]] = {}
    for at, (entry, whole) in enumerate(pairs):
        for variable, value in replicas.shares(entry.handle, whole):
            if at in converted:
                _assign_one((variable.handle, converted[at]))
            elif value.nbytes > _SMALL:
                large.append((variable.handle, value))
            elif len(pairs) < _MANY or value.dtype.kind not in _PLAIN:
                _assign_one((variable.handle, room.copy(value)))
            else:
                alike = waiting.setdefault(value.dtype, [])
                alike.append((variable.handle, room.copy(value)))
                if len(alike) == eager.GROUP:
                    _assign_alike(waiting.pop(value.dtype))
    for alike in waiting.values():
        deque(map(_assign_one, alike), 0)
    # What a variable frees has room for the next only if that is no larger.
    large.sort(key=lambda pair: -pair[1].nbytes)
    with ThreadPoolExecutor(_THREADS) as threads:
        deque(threads.map(_assign_copy, large), 0)


def _assign_one(pair: tuple[Any, Any]) -> None:
    import tensorflow as tf

    tf.raw_ops.AssignVariableOp(resource=pair[0], value=pair[1])


def _assign_alike(pairs: Sequence[tuple[Any, Any]]) -> None:
    handles, values = zip(*pairs, strict=True)
    if not eager.assign_together(handles, values):
        deque(map(_assign_one, pairs), 0)


def _assign_copy(pair: tuple[Any, Any]) -> None:
    import tensorflow as tf

    handle, value = pair
    # TensorFlow itself copies what lies elsewhere.
    if value.__array_interface__["data"][0] % LEAST_ALIGNMENT == 0:
        value = tf.raw_ops.DeepCopy(x=value)
    _assign_one((handle, value))


def tensor(dtype: str, value: np.ndarray[Any, Any]) -> Any:
    """Make a tensor of TensorFlow's type `dtype` that shares no memory with `value`."""
    import tensorflow as tf

    if dtype.startswith(("qint", "quint")):
        return tf.bitcast(tf.constant(value), tf.dtypes.as_dtype(dtype))
    if dtype == "string":
        return tf.constant(value.reshape(-1).tolist(), tf.string, shape=value.shape)
    return tf.constant(value, tf.dtypes.as_dtype(dtype))


class _Room:
    """Makes copies of small values that TensorFlow takes over without copying them again."""

    def __init__(self) -> None:
        self._piece: np.ndarray[Any, Any] = np.empty(0, np.uint8)
        self._at = 0

    def copy(self, value: np.ndarray[Any, Any]) -> Any:
        if self._at + value.nbytes > self._piece.size:
            room = np.empty(_PIECE + ALIGNMENT, np.uint8)
            start = -room.ctypes.data % ALIGNMENT
            self._piece, self._at = room[start : start + _PIECE], 0
        copy: np.ndarray[Any, Any] = np.ndarray(
            value.shape, value.dtype, self._piece.data, self._at
        )
        copy[...] = value
        self._at += value.nbytes + -value.nbytes % ALIGNMENT
        return copy
