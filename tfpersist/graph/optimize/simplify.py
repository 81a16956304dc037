"""What a graph computes of constants alone, passes on unchanged or waits for in vain.

Each pass takes a graph and gives another one that computes the same, bit by bit. Nodes that are to
be kept have their names, and so have the placeholders; what nobody needs any more is still there.
Only the main graph is looked into. What stands in the loops and branches of TensorFlow 1 keeps the
edges that say so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from tfpersist.errors import FreezeError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import APART_FROM, Graph, with_payload
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload, payload_of, spec_of
from tfpersist.graph.optimize import fold
from tfpersist.graph.optimize.fold import Array
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.effects import Effects
from tfpersist.graph.structure.kinds import CONTROL_FLOW
from tfpersist.graph.structure.names import producer
from tfpersist.graph.structure.order import ordered

_PASSES_ON = frozenset({"Identity", "Snapshot", "StopGradient", "PreventGradient"})
# Bytes of constants that are taken together: what is larger stays a computation.
_MOST = 4 << 20
_SMALL = 4096


def drop_waits(graph: Graph) -> Graph:
    """Let no node wait for others that only compute.

    Args:
        graph: the graph, which stays as it is.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "x" op: "Placeholder" }
        ...     node { name: "none" op: "NoOp" input: "^x" }
        ...     node { name: "y" op: "Neg" input: "x" input: "^none" }''')
        >>> drop_waits(graph).nodes["y"].input
        ['x']
    """
    idle: dict[str, bool] = {}
    effects = Effects(graph.functions)
    for name in ordered(graph.nodes):
        node = graph.nodes[name]
        idle[name] = effects.is_pure(node) and all(
            idle.get(producer(text), False) for text in node.input
        )
    proto = _copy(graph)
    for node in proto.node:
        if node.op in CONTROL_FLOW:
            continue
        kept = [text for text in node.input if text[:1] != "^" or not idle.get(text[1:], False)]
        if len(kept) < len(node.input):
            node.input[:] = kept
    return Graph(proto, graph.payloads)


def bypass(graph: Graph, keep: Collection[str]) -> Graph:
    """Let nodes read what an Identity or the like reads, not what it passes on.

    Args:
        graph: the graph, which stays as it is.
        keep: names of nodes that are left alone.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "x" op: "Placeholder" }
        ...     node { name: "same" op: "Identity" input: "x" }
        ...     node { name: "y" op: "Neg" input: "same" }''')
        >>> bypass(graph, ["y"]).nodes["y"].input
        ['x']
    """
    waited_for = {text[1:] for node in graph.proto.node for text in node.input if text[:1] == "^"}
    passed: dict[str, str] = {}
    for name in ordered(graph.nodes):
        node = graph.nodes[name]
        if node.op not in _PASSES_ON or len(node.input) != 1 or name in keep or name in waited_for:
            continue
        source = graph.nodes.get(producer(node.input[0]))
        if source is None or source.op in CONTROL_FLOW or _gives_state(source):
            continue
        passed[name] = passed.get(source.name, node.input[0])
    if not passed:
        return graph
    proto = _copy(graph)
    for node in proto.node:
        if node.op in CONTROL_FLOW or not any(_plain(text) in passed for text in node.input):
            continue
        node.input[:] = [passed.get(_plain(text), text) for text in node.input]
    return Graph(proto, graph.payloads)


def fold_all(graph: Graph, keep: Collection[str] = ()) -> Graph:
    """Make constants of what is computed of constants, where the graph grows no larger by it.

    Args:
        graph: the graph, which stays as it is.
        keep: names of nodes that others than the graph's own may read; they stay computations.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "c" op: "Const"
        ...     attr { key: "dtype" value { type: DT_FLOAT } } attr { key: "value" value { tensor {
        ...       dtype: DT_FLOAT tensor_shape {} float_val: 3 } } } }
        ...   node { name: "y" op: "Neg" input: "c" attr { key: "T" value { type: DT_FLOAT } } }''')
        >>> fold.constant(fold_all(graph).nodes["y"])
        array(-3., dtype=float32)
    """
    proto = _copy(graph)
    copy = Graph(proto, dict(graph.payloads))
    readers = readers_of(graph)
    payloads = dict(graph.payloads)
    for name in ordered(copy.nodes):
        node = copy.nodes[name]
        if not fold.computes(node.op) or node.op == "Identity" or not node.input:
            continue
        if name in keep:
            continue
        sources = [copy.nodes.get(_plain(text)) for text in node.input]
        values = [constant(source, payloads) for source in sources if source is not None]
        known = [value for value in values if value is not None]
        if len(known) < len(node.input) or sum(value.nbytes for value in known) > _MOST:
            continue
        value = fold.evaluate(node, known)
        spared = [
            one.nbytes
            for one, source in zip(known, sources, strict=True)
            if source is not None and readers.get(source.name) == 1 and source.name not in keep
        ]
        if value is None or value.nbytes > max([_SMALL, *spared]):
            continue
        if value.nbytes <= _SMALL:
            become(node, value, payloads)
            continue
        held = [_loader(source, payloads) for source in sources if source is not None]
        payload = Payload(spec_of(value), _later(node, held))
        payloads[name] = payload
        node.ClearField("input")
        node.ClearField("attr")
        with_payload(node, payload.spec)
    return Graph(proto, payloads)


def _loader(source: Message, payloads: Mapping[str, Payload]) -> Callable[[], Array]:
    if source.name in payloads:
        return payloads[source.name].load
    value = fold.constant(source)
    return lambda: np.zeros(0) if value is None else value


def _later(node: Message, inputs: Sequence[Callable[[], Array]]) -> Callable[[], Array]:
    """Compute a node whenever its value is wanted, so that no large one is kept until then."""
    copy = schema.NodeDef()
    copy.CopyFrom(node)

    def load() -> Array:
        value = fold.evaluate(copy, [each() for each in inputs])
        if value is None:
            raise FreezeError(
                "the values that this is computed of have changed while they were frozen",
                where=f"node {copy.name} ({copy.op})",
                advice="Freeze again, with nothing training meanwhile.",
            )
        return value

    return load


def become(node: Message, value: Array, payloads: dict[str, Payload]) -> None:
    """Make a node the Const of a value, whose elements are apart from it where they are many.

    Args:
        node: a NodeDef of the caller's own.
        value: the value.
        payloads: those of the graph; they get one more.
    """
    if value.nbytes <= APART_FROM:
        fold.become_constant(node, value)
        return
    node.ClearField("input")
    node.ClearField("attr")
    payload = payload_of(value)
    with_payload(node, payload.spec)
    payloads[node.name] = payload


def constant(node: Message, payloads: Mapping[str, Payload]) -> Array | None:
    """Give the value of a Const that stands nowhere in particular; None where it is too large."""
    if node.op != "Const" or node.input:
        return None
    payload = payloads.get(node.name)
    if payload is None:
        return fold.constant(node)
    return payload.load() if (payload.spec.nbytes or _MOST + 1) <= _MOST else None


def readers_of(graph: Graph) -> dict[str, int]:
    """Count how often each node is read or waited for."""
    counts: dict[str, int] = {}
    for node in graph.proto.node:
        for text in node.input:
            counts[producer(text)] = counts.get(producer(text), 0) + 1
    return counts


def _gives_state(node: Message) -> bool:
    known = ops.definition(node.op)
    return known is None or any(arg.is_ref for arg in known.output_arg)


def _plain(text: str) -> str:
    """Give the name behind an input that is a node's first output; "" for any other."""
    if text.startswith("^"):
        return ""
    name, _, index = text.partition(":")
    return name if index in ("", "0") else ""


def _copy(graph: Graph) -> Message:
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    return proto
