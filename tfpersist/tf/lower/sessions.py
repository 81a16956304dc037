"""Lower a session: its graph, with values that are fetched when they are needed."""

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
from tfpersist.matching.plans.entry import Entry
from tfpersist.tf.lower.values import as_array, uninitialized
from tfpersist.tf.targets import graph_state
from tfpersist.tf.targets.session import SessionTarget

# Each run of a session has a fixed cost, so variables of up to this many bytes are fetched in
# groups
_SMALL = 1 << 20
# that have up to this many bytes.
_GROUP = 16 << 20


def lower_session(target: SessionTarget, shaped: Sequence[str] | None = None) -> Lowered:
    """Lower a session; nothing is added to its graph.

    Args:
        target: the session.
        shaped: names of the tensors whose shapes are needed; None for all, which takes as long as
            all other steps together.

    Returns:
        Its graph and the values of its variables, fetched from tensors that the graph has.
    """
    import tensorflow as tf

    definition = target.graph.as_graph_def(add_shapes=shaped is None)
    graph = split(memoryview(definition.SerializeToString()))
    for name in {producer(text) for text in shaped or ()} & graph.nodes.keys():
        shapes = graph.nodes[name].attr["_output_shapes"].list.shape
        for output in target.graph.get_operation_by_name(name).outputs:
            shapes.add().ParseFromString(output.shape.as_proto().SerializeToString())
    entries = [e for e in graph_state.entries_of(target.graph) if graph_state.is_variable(e)]
    reads: dict[tuple[str, str], Any] = {}
    for entry in entries:
        read = graph_state.read_of(entry)
        if read is not None:
            reads.setdefault(_shared_name(entry), read)
    readable = {e.name: (e, reads[_shared_name(e)]) for e in entries if _shared_name(e) in reads}
    problems = {
        entry.name: "no operation of the graph reads this variable, so its value is unknown"
        for entry in entries
        if entry.name not in readable
    }
    tables = {
        str(op.inputs[0].op.name): partial(_exported, target, tuple(op.outputs))
        for op in target.graph.get_operations()
        if op.type in graph_state.EXPORT_OPS
    }
    return Lowered(
        graph,
        _FetchedValues(target, readable),
        problems=problems,
        live=True,
        tables=tables,
        origin=Origin(tensorflow=tf.__version__),
        run=target.run,
    )


def _exported(
    target: SessionTarget, tensors: tuple[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    keys, values = target.value_of(list(tensors))
    return np.asarray(keys), np.asarray(values)


def _shared_name(entry: Entry) -> tuple[str, str]:
    """Return what identifies the variable of a node: several handles may share one variable."""
    operation: Any = entry.handle
    if operation.type != "VarHandleOp":
        return "", operation.name
    shared = operation.get_attr("shared_name").decode()
    return operation.get_attr("container").decode(), shared or operation.name


@attrs.define(eq=False)
class _FetchedValues(Mapping[str, Payload]):
    """The values of variables by name, fetched in groups.

    Args:
        target: the session.
        readable: each variable and the tensor to read it from, by name.
        sizes: the bytes of each variable that was looked up, in the order of the look-ups.
        fetched: values that were fetched with others and have not been asked for yet.
    """

    target: SessionTarget
    readable: Mapping[str, tuple[Entry, Any]]
    sizes: dict[str, int] = attrs.field(factory=dict)
    fetched: dict[str, np.ndarray[Any, Any]] = attrs.field(factory=dict)

    def __getitem__(self, name: str) -> Payload:
        spec = self.readable[name][0].spec
        if spec.elements is None:
            return payload_of(self._load(name), spec.dtype)
        self.sizes[name] = spec.nbytes or 0
        return Payload(spec, lambda: self._load(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.readable)

    def __len__(self) -> int:
        return len(self.readable)

    def _load(self, name: str) -> np.ndarray[Any, Any]:
        if name not in self.fetched:
            # One variable without a value fails the whole group, and it may be another one.
            self.fetched = self._fetch(self._group(name)) or self._fetch([name]) or {}
        if name not in self.fetched:
            raise uninitialized(name)
        return self._checked(name, self.fetched.pop(name))

    def _fetch(self, names: list[str]) -> dict[str, np.ndarray[Any, Any]] | None:
        """Return the values of some variables; None where one of them has no value."""
        import tensorflow as tf

        try:
            values = self.target.value_of([self.readable[name][1] for name in names])
        except TFPersistError as error:
            if isinstance(error.__cause__, tf.errors.FailedPreconditionError):
                return None
            raise
        return {
            name: as_array(value, self.readable[name][0].spec.dtype)
            for name, value in zip(names, values, strict=True)
        }

    def _group(self, name: str) -> list[str]:
        """Return the names to fetch together: this one, and small ones looked up after it."""
        if self.sizes.get(name, _GROUP) > _SMALL:
            return [name]
        names = list(self.sizes)
        group, total = [name], 0
        for other in names[names.index(name) + 1 :]:
            total += self.sizes[other]
            if total > _GROUP:
                break
            if self.sizes[other] <= _SMALL:
                group.append(other)
        return group

    def _checked(self, name: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        declared = self.readable[name][0].spec
        if not declared.accepts(TensorSpec(declared.dtype, array.shape)):
            raise FreezeError(
                "the value does not fit the variable",
                where=f"variable {name}",
                expected=declared,
                found=f"{declared.dtype}{list(array.shape)}",
                advice="Restore a checkpoint of the same shapes.",
            )
        return array
