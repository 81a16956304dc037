"""A session becomes a graph with values that are fetched when they are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import FreezeError, TFPersistError
from tfpersist.formats.graphdef import split
from tfpersist.formats.tensors import Payload, TensorSpec, payload_of
from tfpersist.graph.structure.lowered import Lowered, Origin
from tfpersist.graph.structure.names import producer
from tfpersist.matching.plan import Entry
from tfpersist.tf.targets import graph_state, session

# Each fetch costs a session's start-up, so variables up to this many bytes are fetched together,
_SMALL = 1 << 20
# until they are this many.
_GROUP = 16 << 20


def lower_session(target: session.SessionTarget, shaped: Sequence[str] | None = None) -> Lowered:
    """Lower a session; nothing is added to its graph.

    Args:
        target: the session.
        shaped: names of the tensors whose shapes are wanted; None for all, which takes as long as
            all the rest.

    Returns:
        Its graph and the values of its variables, which are read where the graph reads them.
    """
    import tensorflow as tf

    definition = target.graph.as_graph_def(add_shapes=shaped is None)
    graph = split(memoryview(definition.SerializeToString()))
    for name in {producer(text) for text in shaped or ()} & graph.nodes.keys():
        shapes = graph.nodes[name].attr["_output_shapes"].list.shape
        for output in target.graph.get_operation_by_name(name).outputs:
            shapes.add().ParseFromString(output.shape.as_proto().SerializeToString())
    entries = [e for e in graph_state.entries_of(target.graph) if not graph_state.is_table(e)]
    reads: dict[tuple[str, str], Any] = {}
    for entry in entries:
        read = graph_state.read_of(entry)
        if read is not None:
            reads.setdefault(_shared(entry), read)
    found = {e.name: (e, reads[_shared(e)]) for e in entries if _shared(e) in reads}
    problems = {
        entry.name: "the graph reads this variable nowhere, so its value is unknown"
        for entry in entries
        if entry.name not in found
    }
    tables = {
        str(op.inputs[0].op.name): partial(_exported, target, tuple(op.outputs))
        for op in target.graph.get_operations()
        if op.type in graph_state.EXPORT_OPS
    }
    values = _Values(target, found)
    origin = Origin(tensorflow=tf.__version__)
    return Lowered(
        graph,
        values,
        problems=problems,
        live=True,
        tables=tables,
        origin=origin,
        run=target.run,
    )


def _exported(
    target: session.SessionTarget, tensors: tuple[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    keys, values = target.value_of(list(tensors))
    return np.asarray(keys), np.asarray(values)


def _shared(entry: Entry) -> tuple[str, str]:
    """Tell which variable a node stands for: several handles may share one."""
    operation: Any = entry.handle
    if operation.type != "VarHandleOp":
        return "", operation.name
    shared = operation.get_attr("shared_name").decode()
    return operation.get_attr("container").decode(), shared or operation.name


@attrs.define(eq=False)
class _Values(Mapping[str, Payload]):
    """Payloads by name of the variable; those that were looked up are fetched in groups."""

    target: session.SessionTarget
    known: Mapping[str, tuple[Entry, Any]]
    wanted: dict[str, int] = attrs.field(factory=dict)
    fetched: dict[str, np.ndarray[Any, Any]] = attrs.field(factory=dict)

    def __getitem__(self, name: str) -> Payload:
        spec = self.known[name][0].spec
        if spec.elements is None:
            return payload_of(self._load(name), spec.dtype)
        self.wanted[name] = spec.nbytes or 0
        return Payload(spec, lambda: self._load(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)

    def _load(self, name: str) -> np.ndarray[Any, Any]:
        if name not in self.fetched:
            # One variable without a value fails its whole group, perhaps not this one.
            self.fetched = self._fetch(self._group(name)) or self._fetch([name]) or {}
        if name not in self.fetched:
            raise uninitialized(name)
        return self._checked(name, self.fetched.pop(name))

    def _fetch(self, names: list[str]) -> dict[str, np.ndarray[Any, Any]] | None:
        """Fetch some variables; None where one of them has no value."""
        import tensorflow as tf

        try:
            values = self.target.value_of([self.known[name][1] for name in names])
        except TFPersistError as error:
            if isinstance(error.__cause__, tf.errors.FailedPreconditionError):
                return None
            raise
        return {
            name: as_array(value, self.known[name][0].spec.dtype)
            for name, value in zip(names, values, strict=True)
        }

    def _group(self, name: str) -> list[str]:
        """Name what is fetched with a variable: the small ones that are wanted after it."""
        if self.wanted.get(name, _GROUP) > _SMALL:
            return [name]
        names = list(self.wanted)
        group, total = [name], 0
        for other in names[names.index(name) + 1 :]:
            total += self.wanted[other]
            if total > _GROUP:
                break
            if self.wanted[other] <= _SMALL:
                group.append(other)
        return group

    def _checked(self, name: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        declared = self.known[name][0].spec
        if not declared.accepts(TensorSpec(declared.dtype, array.shape)):
            raise FreezeError(
                "the value does not fit the variable",
                where=f"variable {name}",
                expected=declared,
                found=f"{declared.dtype}{list(array.shape)}",
                advice="Restore a checkpoint of the same shapes.",
            )
        return array


def uninitialized(name: str) -> FreezeError:
    """Make the error for a variable without a value."""
    return FreezeError(
        "the variable has no value yet",
        where=f"variable {name}",
        advice="Run its initializer or restore a checkpoint first.",
    )


def as_array(value: Any, dtype: str) -> np.ndarray[Any, Any]:
    """Give what TensorFlow fetched as an array of plain elements.

    Args:
        value: an array, or a scalar.
        dtype: TensorFlow's name of its type.
    """
    if dtype == "string":
        array = np.empty(np.shape(value), object)
        array[...] = value
        return array
    array = np.ascontiguousarray(value).reshape(np.shape(value))
    return array.view(array.dtype[0]) if array.dtype.names else array
