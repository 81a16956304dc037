"""Read eager variables all at once, and assign values that share no memory with others."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tfpersist.errors import SaveError, counted
from tfpersist.formats import variant_tensor
from tfpersist.matching.plans.entry import Entry
from tfpersist.tf.internals import dtensors, eager, replicas
from tfpersist.tf.run.aligned import ALIGNMENT, LEAST_ALIGNMENT

# Smaller values than this are copied next to each other into pieces of memory of this size.
_SMALL = 16 << 10
_PIECE = 256 << 10
# From this many variables on, those of one data type are assigned in groups,
_MANY = 2_000
# if the data type is one of numpy's own.
_PLAIN_KINDS = frozenset("biufc")
# The threads that copy large values. More threads would only wait for memory.
_THREADS = 2


def read(entries: Sequence[Entry]) -> list[np.ndarray[Any, Any]]:
    """Return the values of variables, not copied; they do not change when the variables do.

    Args:
        entries: eager variables, each in `handle`.

    Raises:
        SaveError: some have no value yet; the message names all of them.
    """
    variables: list[Any] = [entry.handle for entry in entries]
    together: Sequence[np.ndarray[Any, Any] | None] | None = eager.read_together(variables)
    if together is None:
        together = [_read_one(variable) for variable in variables]
    values, empty = [], []
    for entry, variable, value in zip(entries, variables, together, strict=True):
        # A variable without a value may also read as an empty tensor.
        if value is None or (value.shape != entry.spec.shape and not variable.is_initialized()):
            empty.append(entry.name)
        else:
            values.append(value)
    if empty:
        raise SaveError(
            f"{counted(len(empty), 'variable has', 'variables have')} no value yet:"
            f" {', '.join(empty)}",
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
    """Convert the values that TensorFlow does not accept as they are; this may fail.

    Args:
        pairs: the variables, and their new values.

    Returns:
        Tensors, by the position of their pair.
    """
    tensors = {
        position: tensor(entry.spec.dtype, value)
        for position, (entry, value) in enumerate(pairs)
        if entry.spec.dtype == "string" or entry.spec.dtype.startswith(("qint", "quint"))
    }
    for position, (entry, value) in enumerate(pairs):
        if dtensors.is_dtensor(entry.handle):
            tensors[position] = dtensors.laid_out(entry.handle, tensors.get(position, value))
    return tensors


def assign(
    pairs: Sequence[tuple[Entry, np.ndarray[Any, Any]]], converted: Mapping[int, Any]
) -> None:
    """Assign values to eager variables; each gets a copy of its own.

    The old value of a variable is freed before the next value is copied, so that memory does not
    grow.

    Args:
        pairs: the variables, each in `handle`, and their new values.
        converted: the result of `converted`.
    """
    copies, large = _SmallCopies(), list[tuple[Any, Any]]()
    groups: dict[Any, list[tuple[Any, Any]]] = {}
    for position, (entry, whole) in enumerate(pairs):
        for variable, value in replicas.shares(entry.handle, whole):
            if position in converted:
                _assign_one((variable.handle, converted[position]))
            elif value.nbytes > _SMALL:
                large.append((variable.handle, value))
            elif len(pairs) < _MANY or value.dtype.kind not in _PLAIN_KINDS:
                _assign_one((variable.handle, copies.copy(value)))
            else:
                group = groups.setdefault(value.dtype, [])
                group.append((variable.handle, copies.copy(value)))
                if len(group) == eager.GROUP:
                    _assign_group(groups.pop(value.dtype))
    for group in groups.values():
        deque(map(_assign_one, group), 0)
    # The memory that a variable frees is enough for the next one only if that is not larger.
    large.sort(key=lambda pair: -pair[1].nbytes)
    with ThreadPoolExecutor(_THREADS) as threads:
        deque(threads.map(_assign_copy, large), 0)


def _assign_one(pair: tuple[Any, Any]) -> None:
    import tensorflow as tf

    tf.raw_ops.AssignVariableOp(resource=pair[0], value=pair[1])


def _assign_group(pairs: Sequence[tuple[Any, Any]]) -> None:
    handles, values = zip(*pairs, strict=True)
    if not eager.assign_together(handles, values):
        deque(map(_assign_one, pairs), 0)


def _assign_copy(pair: tuple[Any, Any]) -> None:
    import tensorflow as tf

    handle, value = pair
    # TensorFlow copies a value at any other address itself.
    if value.__array_interface__["data"][0] % LEAST_ALIGNMENT == 0:
        value = tf.raw_ops.DeepCopy(x=value)
    _assign_one((handle, value))


def tensor(dtype: str, value: np.ndarray[Any, Any]) -> Any:
    """Return a tensor that shares no memory with an array.

    Args:
        dtype: TensorFlow's name of the data type.
        value: the elements.
    """
    import tensorflow as tf

    if dtype.startswith(("qint", "quint")):
        return tf.bitcast(tf.constant(value), tf.dtypes.as_dtype(dtype))
    if dtype == "string":
        return tf.constant(value.reshape(-1).tolist(), tf.string, shape=value.shape)
    if dtype == "variant":
        return tf.io.parse_tensor(variant_tensor.to_proto(value), tf.variant)
    return tf.constant(value, tf.dtypes.as_dtype(dtype))


class _SmallCopies:
    """Copies small values to addresses that TensorFlow takes over without a further copy."""

    def __init__(self) -> None:
        self._piece: np.ndarray[Any, Any] = np.empty(0, np.uint8)
        self._offset = 0

    def copy(self, value: np.ndarray[Any, Any]) -> Any:
        if self._offset + value.nbytes > self._piece.size:
            memory = np.empty(_PIECE + ALIGNMENT, np.uint8)
            start = -memory.ctypes.data % ALIGNMENT
            self._piece, self._offset = memory[start : start + _PIECE], 0
        copy: np.ndarray[Any, Any] = np.ndarray(
            value.shape, value.dtype, self._piece.data, self._offset
        )
        copy[...] = value
        self._offset += value.nbytes + -value.nbytes % ALIGNMENT
        return copy
