"""Check whether an older TensorFlow, or another runtime, can load a graph, and make it so."""

from __future__ import annotations

import attrs

from tfpersist.errors import FreezeError, printable
from tfpersist.formats import dtypes
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.describe import endpoints
from tfpersist.graph.runtimes import forms
from tfpersist.graph.runtimes.body import Body
from tfpersist.graph.runtimes.downgrade import downgrade, without_lowering
from tfpersist.graph.runtimes.op_lists import (
    DISPLAY_NAMES,
    RELEASES,
    KnownOp,
    Runtime,
    known_ops,
    runtime_of,
)

# The number of uint64, the last data type that these releases have; TensorFlow 1.4 has no unsigned
# types of more than two bytes yet. The numbers of reference types are these plus an offset.
_LAST_DTYPE = 23
_LAST_DTYPE_OF = {"1.4": 21}
_MOST_SHOWN = 8


@attrs.frozen
class Blocker:
    """One node that a TensorFlow release, or another runtime, cannot load.

    Args:
        node: name of the node.
        op: op of the node.
        function: name of the function that contains the node; None for the main graph.
        attrs: the attrs that the op does not have yet in this release; empty where the op itself is
            unknown.
        types: the data types that the release does not have, or has no kernel for.
        reason: what else keeps the node from being loaded.

    Example:
        >>> print(Blocker("mm", "BatchMatMulV3", None))
        node mm (BatchMatMulV3)
    """

    node: str
    op: str
    function: str | None
    attrs: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        inside = f" in function {self.function}" if self.function else ""
        newer = [f"attr {name!r}" for name in self.attrs]
        newer += [f"data type {name}" for name in self.types]
        lacking = f" uses {' and '.join(newer)}, which this release lacks" if newer else ""
        reason = f" {self.reason}" if self.reason else ""
        return printable(f"node {self.node} ({self.op}){inside}{lacking}{reason}")


@attrs.frozen
class Portability:
    """The nodes of a graph that a TensorFlow release, or another runtime, cannot load.

    Args:
        target: a release, "openvino", "onnx", "opencv", "tflite" or "tfjs".
        blockers: the nodes that it cannot load.

    Example:
        >>> print(Portability("1.15", (Blocker("mm", "BatchMatMulV3", None),)))
        TensorFlow 1.15 cannot load 1 node: node mm (BatchMatMulV3)
    """

    target: Runtime
    blockers: tuple[Blocker, ...] = ()

    @property
    def ok(self) -> bool:
        """True if the runtime knows every op; for a release, every attr and data type too."""
        return not self.blockers

    def __str__(self) -> str:
        name = DISPLAY_NAMES[self.target]
        if self.ok:
            return f"{name} knows every op{' and attr' if self.target in RELEASES else ''}"
        shown = "; ".join(map(str, self.blockers[:_MOST_SHOWN]))
        hidden = len(self.blockers) - _MOST_SHOWN
        count = f"{len(self.blockers)} node" + ("" if len(self.blockers) == 1 else "s")
        return f"{name} cannot load {count}: {shown}" + (f"; and {hidden} more" * (hidden > 0))


def check(graph: Graph, target: Runtime) -> Portability:
    """Find the nodes that a release or runtime cannot load, after newer ops are replaced.

    Args:
        graph: the graph, without attrs that are equal to their defaults.
        target: the release or runtime.

    Raises:
        FreezeError: tfpersist has no op list for this release or runtime.
    """
    return _portability(downgrade(graph, known_ops(target)), runtime_of(target))


def _portability(graph: Graph, target: Runtime) -> Portability:
    bodies: list[tuple[Body, str | None]] = [(Body(graph.proto.node), None)]
    bodies += [
        (Body(function.node_def, function), function.signature.name)
        for function in graph.proto.library.function
    ]
    found = (
        _blocker(node, body, function, target)
        for body, function in bodies
        for node in body.nodes.values()
        if node.op not in graph.functions
    )
    blockers = [blocker for blocker in found if blocker is not None]
    if target == "onnx" and not endpoints.inputs(graph):
        reason = "is computed from no input, and tf2onnx converts no graph without one"
        outputs = {ref.operation: graph.nodes[ref.operation].op for ref in endpoints.outputs(graph)}
        blockers += [Blocker(name, op, None, reason=reason) for name, op in outputs.items()]
    return Portability(target, tuple(blockers))


def _blocker(node: Message, body: Body, function: str | None, target: Runtime) -> Blocker | None:
    known = known_ops(target).get(node.op)
    reason = forms.refusal(node, body, target)
    if known is None or reason:
        return Blocker(node.name, node.op, function, reason=reason)
    newer_types = _newer_types(node, known, target)
    if target not in RELEASES:
        reason = f"has data type {' and '.join(newer_types)}, which it does not compute with"
        return Blocker(node.name, node.op, function, reason=reason) if newer_types else None
    newer_attrs = tuple(sorted(known.missing & node.attr.keys()))
    inputs = sum(not text.startswith("^") for text in node.input)
    if known.inputs is not None and inputs != known.inputs:
        reason = f"has {inputs} inputs, and {known.inputs} in this release"
    if not newer_attrs and not newer_types and not reason:
        return None
    return Blocker(node.name, node.op, function, newer_attrs, newer_types, reason)


def convert(graph: Graph, target: Runtime) -> Graph:
    """Return a graph that a release or runtime can load.

    Args:
        graph: the graph, without attrs that are equal to their defaults.
        target: the release or runtime.

    Raises:
        FreezeError: some nodes have no older equal; the message lists them.
    """
    downgraded = downgrade(graph, known_ops(target))
    portability = _portability(downgraded, runtime_of(target))
    if not portability.ok:
        raise FreezeError(str(portability), advice="Freeze an output that does not need them.")
    return without_lowering(downgraded) if target == "onnx" else downgraded


def _newer_types(node: Message, known: KnownOp, target: Runtime) -> tuple[str, ...]:
    """Return the names of the data types of a node that a target does not have, or not for it."""
    newer = _types(node)
    if target in RELEASES:
        last = _LAST_DTYPE_OF.get(target, _LAST_DTYPE)
        newer = {number for number in newer if number > last}
    else:
        newer -= forms.dtypes_of(target, node.op) or newer
    for names, refused in known.types.items():
        types = tuple(node.attr[name].type for name in names if name in node.attr)
        newer |= set(types) if types in refused else set()
    return tuple(_dtype_name(number) for number in sorted(newer))


def _types(node: Message) -> set[int]:
    numbers: set[int] = set()
    for value in node.attr.values():
        numbers |= {value.type, value.tensor.dtype, *value.list.type}
        numbers |= {tensor.dtype for tensor in value.list.tensor}
    return {number % dtypes.REF_OFFSET for number in numbers}


def _dtype_name(number: int) -> str:
    dtype = dtypes.by_number(number)
    return str(number) if dtype is None else dtype.name
