"""Fold constants, bypass Identity nodes and drop needless control inputs.

Each pass takes a graph and returns another one that computes the same, bit by bit. The nodes that
the caller keeps, and placeholders, keep their names. Nodes that nothing needs any more stay in the
graph. The passes change the main graph only, no functions. Nodes inside the loops and branches of
TensorFlow 1 keep the edges that place them there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from tfpersist.errors import FreezeError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import APART_FROM, Graph, with_payload
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Array, Payload, payload_of, spec_of
from tfpersist.graph.optimize import fold
from tfpersist.graph.optimize.edit import Edit
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.effects import Effects
from tfpersist.graph.structure.kinds import CONTROL_FLOW
from tfpersist.graph.structure.names import full_name, producer
from tfpersist.graph.structure.order import ordered

_IDENTITIES = frozenset({"Identity", "Snapshot", "StopGradient", "PreventGradient"})
# The most bytes of all inputs of a node that is folded.
_MOST_INPUT_BYTES = 4 << 20
# A result of at most this many bytes is folded even where the graph grows by it.
_SMALL_RESULT = 4096


def drop_control_inputs(graph: Graph) -> Graph:
    """Remove the control inputs that come from nodes without effects.

    Args:
        graph: the graph; it is not changed.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "x" op: "Placeholder" }
        ...     node { name: "none" op: "NoOp" input: "^x" }
        ...     node { name: "y" op: "Neg" input: "x" input: "^none" }''')
        >>> drop_control_inputs(graph).nodes["y"].input
        ['x']
    """
    if not any(node.input and node.input[-1][:1] == "^" for node in graph.proto.node):
        return graph
    has_no_effect: dict[str, bool] = {}
    effects = Effects(graph.functions)
    for name in ordered(graph.nodes):
        node = graph.nodes[name]
        has_no_effect[name] = effects.is_pure(node) and all(
            has_no_effect.get(producer(text), False) for text in node.input
        )
    edit = Edit(graph)
    for node in graph.proto.node:
        if node.op in CONTROL_FLOW or not node.input or node.input[-1][:1] != "^":
            continue
        kept = [
            text for text in node.input if text[:1] != "^" or not has_no_effect.get(text[1:], False)
        ]
        if len(kept) < len(node.input):
            edit.change(node.name).input[:] = kept
    return edit.result()


def bypass_identities(graph: Graph, keep: Collection[str]) -> Graph:
    """Let nodes read the input of an Identity instead of its output.

    Args:
        graph: the graph; it is not changed.
        keep: names of nodes that are not bypassed.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "x" op: "Placeholder" }
        ...     node { name: "same" op: "Identity" input: "x" }
        ...     node { name: "y" op: "Neg" input: "same" }''')
        >>> bypass_identities(graph, ["y"]).nodes["y"].input
        ['x']
    """
    if not any(_is_identity(node) for node in graph.proto.node):
        return graph
    control_sources = {
        text[1:] for node in graph.proto.node for text in node.input if text[:1] == "^"
    }
    # The input of each output that only passes it on, by the output's full name.
    bypassed: dict[str, str] = {}
    for name in ordered(graph.nodes):
        node = graph.nodes[name]
        if not _is_identity(node) or name in keep or name in control_sources:
            continue
        if not all(_can_be_read_later(text, graph) for text in node.input):
            continue
        for index, text in enumerate(node.input):
            bypassed[f"{name}:{index}"] = bypassed.get(full_name(text), text)
    if not bypassed:
        return graph
    edit = Edit(graph)
    for node in graph.proto.node:
        inputs = list(node.input)
        passed = [bypassed.get(full_name(text), text) for text in inputs]
        if passed != inputs and node.op not in CONTROL_FLOW:
            edit.change(node.name).input[:] = passed
    return edit.result()


def _is_identity(node: Message) -> bool:
    return node.op == "IdentityN" or (node.op in _IDENTITIES and len(node.input) == 1)


def _can_be_read_later(text: str, graph: Graph) -> bool:
    """Return whether an input has one value only, and no reader that must wait for another one."""
    source = None if text[:1] == "^" else graph.nodes.get(producer(text))
    return (
        source is not None and source.op not in CONTROL_FLOW and not _outputs_reference(source.op)
    )


def fold_constants(graph: Graph, keep: Collection[str] = ()) -> Graph:
    """Replace nodes that compute from constants with constants, where the graph does not grow.

    Args:
        graph: the graph; it is not changed.
        keep: names of nodes that stay computed, because a user reads them.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "c" op: "Const"
        ...     attr { key: "dtype" value { type: DT_FLOAT } } attr { key: "value" value { tensor {
        ...       dtype: DT_FLOAT tensor_shape {} float_val: 3 } } } }
        ...   node { name: "y" op: "Neg" input: "c" attr { key: "T" value { type: DT_FLOAT } } }''')
        >>> fold.constant_value(fold_constants(graph).nodes["y"])
        array(-3., dtype=float32)
    """
    edit = Edit(graph)
    nodes, payloads = edit.nodes, edit.payloads
    reader_counts = count_readers(graph)
    for name in ordered(graph.nodes):
        node = nodes[name]
        if not fold.can_evaluate(node.op) or node.op == "Identity" or not node.input:
            continue
        if name in keep:
            continue
        producers = [nodes.get(first_output_source(text)) for text in node.input]
        sources = [source for source in producers if source is not None]
        loaded = [load_constant(source, payloads) for source in sources]
        values = [value for value in loaded if value is not None]
        if len(values) < len(node.input) or sum(v.nbytes for v in values) > _MOST_INPUT_BYTES:
            continue
        result = fold.evaluate(node, values)
        # The bytes of inputs that nothing else reads: they leave the graph.
        freed = [
            value.nbytes
            for value, source in zip(values, sources, strict=True)
            if reader_counts.get(source.name) == 1 and source.name not in keep
        ]
        if result is None or result.nbytes > max([_SMALL_RESULT, *freed]):
            continue
        node = edit.change(name)
        if result.nbytes <= _SMALL_RESULT:
            store_constant(node, result, payloads)
            continue
        loaders = [_loader(source, payloads) for source in sources]
        payload = Payload(spec_of(result), _lazy_result(node, loaders))
        payloads[name] = payload
        node.ClearField("input")
        node.ClearField("attr")
        with_payload(node, payload.spec)
    return edit.result()


def _loader(source: Message, payloads: Mapping[str, Payload]) -> Callable[[], Array]:
    if source.name in payloads:
        return payloads[source.name].load
    value = fold.constant_value(source)
    return lambda: np.zeros(0) if value is None else value


def _lazy_result(node: Message, loaders: Sequence[Callable[[], Array]]) -> Callable[[], Array]:
    """Return a function that computes a node; so no large result is kept in memory."""
    copy = schema.NodeDef()
    copy.CopyFrom(node)

    def load() -> Array:
        value = fold.evaluate(copy, [loader() for loader in loaders])
        if value is None:
            raise FreezeError(
                "the values that this node reads have changed during the freeze",
                where=f"node {copy.name} ({copy.op})",
                advice="Freeze again, and train nothing meanwhile.",
            )
        return value

    return load


def store_constant(node: Message, value: Array, payloads: dict[str, Payload]) -> None:
    """Turn a node into the Const of a value; a large value becomes a payload.

    Args:
        node: the NodeDef; it is changed in place.
        value: the value.
        payloads: the payloads of the graph; a large value is added to them.
    """
    if value.nbytes <= APART_FROM:
        fold.set_constant(node, value)
        return
    node.ClearField("input")
    node.ClearField("attr")
    payload = payload_of(value)
    with_payload(node, payload.spec)
    payloads[node.name] = payload


def load_constant(node: Message, payloads: Mapping[str, Payload]) -> Array | None:
    """Return the value of a Const without control inputs; None for a value over 4 MB."""
    if node.op != "Const" or node.input:
        return None
    payload = payloads.get(node.name)
    if payload is None:
        return fold.constant_value(node)
    nbytes = payload.spec.nbytes or _MOST_INPUT_BYTES + 1
    return payload.load() if nbytes <= _MOST_INPUT_BYTES else None


def count_readers(graph: Graph) -> dict[str, int]:
    """Return how many inputs and control inputs come from each node."""
    counts: dict[str, int] = {}
    for node in graph.proto.node:
        for text in node.input:
            counts[producer(text)] = counts.get(producer(text), 0) + 1
    return counts


def first_output_source(text: str) -> str:
    """Return the node whose first output an input reads; "" for any other input.

    Example:
        >>> first_output_source("x"), first_output_source("x:1"), first_output_source("^x")
        ('x', '', '')
    """
    if text.startswith("^"):
        return ""
    name, _, index = text.partition(":")
    return name if index in ("", "0") else ""


@functools.cache
def _outputs_reference(op: str) -> bool:
    definition = ops.definition(op)
    return definition is None or any(arg.is_ref for arg in definition.output_arg)
