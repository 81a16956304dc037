"""Prepare the runs of a session that assign values to its variables and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import SelectionError, TargetError
from tfpersist.formats import variant_tensor
from tfpersist.matching.plans.entry import Entry
from tfpersist.tf.internals import saveables
from tfpersist.tf.internals.session import kept_callable
from tfpersist.tf.run.aligned import LEAST_ALIGNMENT, address_of, aligned_copy
from tfpersist.tf.targets import graph_state
from tfpersist.tf.targets.graph_state import Write

_Value = tuple[Entry, "np.ndarray[Any, Any]"]
WritesOf = Callable[[Entry], Sequence[Write]]


@attrs.define(eq=False)
class AssignmentRun:
    """One run of a session that assigns some values.

    Args:
        ops: the operations to run.
        feeds: the tensors to feed, and their values.
    """

    ops: list[Any] = attrs.field(factory=list)
    feeds: list[tuple[Any, np.ndarray[Any, Any]]] = attrs.field(factory=list)
    _fed: set[int] = attrs.field(factory=set, init=False)
    # Whether TensorFlow can take all values without a conversion.
    _as_they_are: bool = attrs.field(default=True, init=False)

    def can_feed(self, write: Write) -> bool:
        """Return whether none of the tensors of a write is fed yet."""
        return self._fed.isdisjoint(id(tensor) for tensor in write.feeds)

    def add(self, write: Write, values: Sequence[np.ndarray[Any, Any]]) -> None:
        """Add a write and the values for its tensors."""
        self.ops.append(write.op)
        self.feeds.extend(zip(write.feeds, values, strict=True))
        self._fed.update(id(tensor) for tensor in write.feeds)
        self._as_they_are = self._as_they_are and all(map(_is_as_stored, values, write.dtypes))

    def carry_out(self, session: Any) -> None:
        """Run the operations, in this thread where that is possible."""
        if self._as_they_are:
            feeds = [tensor.name for tensor, _ in self.feeds]
            function = kept_callable(session, (), feeds, [op.name for op in self.ops])
            if function is not None:
                function(*(value for _, value in self.feeds))
                return
        session.run(self.ops, dict(self.feeds))


@attrs.frozen
class _Assignment:
    """The writes that can assign a value, and what to feed to any one of them."""

    writes: Sequence[Write]
    values: tuple[np.ndarray[Any, Any], ...]


def _is_as_stored(value: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> bool:
    return value.dtype == dtype and dtype.kind != "O" and value.flags.c_contiguous


def assignment_runs(
    values: Sequence[_Value], writes_of: WritesOf = graph_state.writes_of
) -> list[AssignmentRun]:
    """Return the runs that assign values by operations that the graph has; as a rule one run.

    Args:
        values: variables, and keys and values of tables, with their new values.
        writes_of: returns the operations that assign an entry.

    Raises:
        SelectionError: only the keys or only the values of a table are by_name.
        TargetError: no operation of the graph assigns a value of this shape.
    """
    assignments: list[_Assignment] = []
    tables: dict[int, list[_Value]] = {}
    objects: dict[int, list[_Value]] = {}
    for entry, value in values:
        if graph_state.is_table(entry):
            exported: Any = entry.handle
            tables.setdefault(id(exported.op), []).append((entry, value))
        elif saveables.is_saveable(entry):
            objects.setdefault(id(entry.ref), []).append((entry, value))
        else:
            assignments.append(_assignment(entry, writes_of(entry), (value,)))
    for pairs in objects.values():
        assignments.append(_of_saveable(pairs, writes_of))
    for pairs in tables.values():
        ordered = sorted(pairs, key=_output_index)
        if len(ordered) < 2:
            raise SelectionError(
                f"the table of {ordered[0][0].name!r} needs both its keys and its values",
                advice="Select the table object, or both names.",
            )
        table, writes = ordered[0][0], writes_of(ordered[0][0])
        assignments.append(_assignment(table, writes, tuple(value for _, value in ordered)))
    return _in_runs(assignments)


def _of_saveable(pairs: Sequence[_Value], writes_of: WritesOf) -> _Assignment:
    """Return the assignment of all tensors of a saveable object."""
    saveable: Any = pairs[0][0].ref
    by_name = {entry.name: (entry, value) for entry, value in pairs}
    lacking = [spec.name for spec in saveable.specs if spec.name not in by_name]
    if lacking:
        raise SelectionError(
            f"{pairs[0][0].name!r} is restored together with {lacking[0]!r}, which is not selected",
            advice="Select the saveable object, or all of its names.",
        )
    feeds = []
    for entry, value in (by_name[spec.name] for spec in saveable.specs):
        if saveables.is_position(entry):
            feeds.append(np.array(variant_tensor.to_proto(value), object))
        else:
            feeds.append(_to_feed(value, entry))
    return _Assignment(writes_of(pairs[0][0]), tuple(feeds))


def _output_index(pair: _Value) -> int:
    exported: Any = pair[0].handle
    return int(exported.value_index)


def _assignment(
    entry: Entry, writes: Sequence[Write], values: tuple[np.ndarray[Any, Any], ...]
) -> _Assignment:
    if not writes:
        table = graph_state.is_table(entry)
        raise TargetError(
            f"the graph has no operation that {'fills' if table else 'assigns'} {entry.name!r}",
            advice="Create a tf.compat.v1.train.Saver() when you build the graph: it adds the"
            " operation that fills the table."
            if table
            else "Build the graph with the variable's initializer, or leave it out with only().",
        )
    fitting = [write for write in writes if _fits(write, values)]
    if not fitting:
        raise TargetError(
            f"no operation of the graph assigns a value of this shape to {entry.name!r}",
            expected=" or ".join(str(write.feeds[0].shape) for write in writes),
            found=values[0].shape,
            advice="Create a tf.compat.v1.train.Saver() when you build the graph: its operations"
            " assign values of any shape.",
        )
    return _Assignment(
        fitting, tuple(_in_own_memory(_to_feed(value, entry), entry) for value in values)
    )


def _fits(write: Write, values: Sequence[np.ndarray[Any, Any]]) -> bool:
    return all(
        shape is None
        or (
            len(shape) == value.ndim
            and all(size in (None, actual) for size, actual in zip(shape, value.shape, strict=True))
        )
        for shape, value in zip(write.shapes, values, strict=True)
    )


def _in_runs(assignments: Sequence[_Assignment]) -> list[AssignmentRun]:
    # A tensor takes one value in a run. Variables that share their initial value and have no other
    # assignment need a run each.
    runs: list[AssignmentRun] = []
    for assignment in assignments:
        run, write = next(
            ((run, write) for run in runs for write in assignment.writes if run.can_feed(write)),
            (AssignmentRun(), assignment.writes[0]),
        )
        if not run.ops:
            runs.append(run)
        run.add(write, assignment.values)
    return runs


def _to_feed(value: np.ndarray[Any, Any], entry: Entry) -> np.ndarray[Any, Any]:
    if entry.spec.dtype.startswith(("qint", "quint")):
        import tensorflow as tf

        stored: np.dtype[Any] = np.dtype(tf.dtypes.as_dtype(entry.spec.dtype).as_numpy_dtype)
        return value.view(stored)
    return value


def _in_own_memory(value: np.ndarray[Any, Any], entry: Entry) -> np.ndarray[Any, Any]:
    # A resource variable takes over the memory of an aligned feed, which must not be that of the
    # mapped file. TensorFlow copies a feed that is not aligned.
    variable: Any = entry.handle
    if value.dtype.kind == "O" or getattr(variable, "type", "") != "VarHandleOp":
        return value
    if address_of(value) % LEAST_ALIGNMENT and value.flags.c_contiguous:
        return value
    return aligned_copy(value)
