"""Weights in fewer bytes, which any TensorFlow decodes when it runs and tfpersist when it loads.

    float32 w  =  Cast(float16 w/float16)
    float32 w  =  Cast(int8 w/int8) * w/scale

The node that gives the weights keeps their name. A scale is that of a channel: of each index of the
last dimension that is longer than one, and of those after it. Of what is only gathered by rows, as
an embedding is, it is that of a row: one of large numbers takes no digits from the others.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

import numpy as np

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes, schema
from tfpersist.formats.graphdef import Graph, with_payload
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload, TensorSpec
from tfpersist.graph.optimize import simplify
from tfpersist.graph.optimize.fold import Array
from tfpersist.graph.structure.functions import unused
from tfpersist.graph.structure.names import producer

Form = Literal["float16", "int8"]
FORMS: tuple[Form, ...] = get_args(Form)
# Smaller ones are not worth the nodes.
_SMALLEST = 4096
# Rows with fewer elements than this would be hardly smaller with a scale for each.
_NARROWEST = 8
_LONGEST = 8
_MOST_HALF = 65504.0
# Below this, float16 has fewer digits.
_LEAST_HALF = 2.0**-14


def compress(graph: Graph, form: Form, keep: Collection[str] = ()) -> Graph:
    """Hold the large float32 constants of a graph in fewer bytes.

    Each is read once to see whether it fits: what is not finite, or too large or too small all over
    for float16, stays; so do vectors, and rows of few elements, where the form is int8.

    Args:
        graph: the graph, which stays as it is.
        form: "float16", where each weight is off by up to 1/2048 of itself, and by 3e-8 where it is
            smaller than 6e-5; or "int8", by up to 1/254 of the largest of its channel, or of its
            row where rows are all that is read of them.
        keep: names of constants that stay as they are.

    Returns:
        The graph; one weight at a time is encoded when it is written.

    Raises:
        FreezeError: there is no such form.

    Example:
        >>> from tfpersist.formats.tensors import payload_of
        >>> node = schema.NodeDef(name="w")
        >>> with_payload(node, TensorSpec("float32", (64, 64)))
        >>> graph = Graph(schema.GraphDef(node=[node]), {"w": payload_of(np.eye(64, dtype="f"))})
        >>> small = compress(graph, "int8")
        >>> [(node.name, node.op) for node in small.proto.node]
        [('w/int8', 'Const'), ('w/scale', 'Const'), ('w/cast', 'Cast'), ('w', 'Mul')]
        >>> float(expand(small).payloads["w"].load().sum())
        64.0
    """
    if form not in FORMS:
        raise FreezeError(
            f"there is no form {form!r} for weights", expected=" or ".join(map(repr, FORMS))
        )
    taken = set(graph.nodes)
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    payloads = dict(graph.payloads)
    nodes: list[Message] = []
    rows = _gathered(graph) if form == "int8" else frozenset()
    for node in graph.proto.node:
        payload = payloads.get(node.name)
        by_row = node.name in rows
        large = payload is not None and _is_weight(node, payload.spec, form, by_row=by_row)
        if payload is not None and large and node.name not in keep:
            nodes += _encoded(node, payload, form, payloads, taken, by_row=by_row)
        else:
            nodes.append(node)
    proto.ClearField("node")
    proto.node.extend(nodes)
    return Graph(proto, payloads)


def expand(graph: Graph) -> Graph:
    """Decode the weights of a graph that `compress` made, or anybody else alike.

    Args:
        graph: the graph, which stays as it is.

    Returns:
        A graph whose weights are float32 constants, bit by bit what the decoding nodes give; they
        are decoded one at a time, when they are loaded.
    """
    decoded = {node.name: found for node in graph.proto.node if (found := _decoded(node, graph))}
    # The Cast within a product is none that stands for itself.
    inner = {
        producer(graph.nodes[name].input[place])
        for name in decoded
        for place in (0, 1)
        if graph.nodes[name].op == "Mul"
    }
    readers = simplify.readers_of(graph)
    decoded = {n: p for n, p in decoded.items() if n not in inner or readers[n] > 1}
    if not decoded:
        return graph
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    payloads = dict(graph.payloads)
    for node in proto.node:
        if node.name in decoded:
            payloads[node.name] = decoded[node.name]
            node.ClearField("input")
            node.ClearField("attr")
            with_payload(node, decoded[node.name].spec)
    result = Graph(proto, payloads)
    for _ in range(2):
        result = _without_unread(result, graph, decoded)
    return result


def _is_weight(node: Message, spec: TensorSpec, form: Form, *, by_row: bool) -> bool:
    if spec.dtype != "float32" or (spec.nbytes or 0) < _SMALLEST or node.input:
        return False
    shape = spec.shape or ()
    if by_row and (spec.elements or 0) < _NARROWEST * (shape[0] or 1):
        return False
    return form == "float16" or len([n for n in shape if n != 1]) > 1


def _gathered(graph: Graph) -> frozenset[str]:
    """Name the constants of which nothing is read but rows."""
    nodes = graph.nodes
    rows = {node.name: node.op == "Const" for node in graph.proto.node}
    passes = {node.name: producer(node.input[0]) for node in nodes.values() if _passes(node)}

    def root(name: str) -> str:
        for _ in range(_LONGEST):
            name = passes.get(name, name)
        return name

    for node in graph.proto.node:
        for place, text in enumerate(node.input if node.name not in passes else ()):
            if text[:1] != "^" and not (place == 0 and _takes_rows(node, graph)):
                rows[root(producer(text))] = False
    read = {root(producer(text)) for node in graph.proto.node for text in node.input}
    return frozenset(name for name, only in rows.items() if only and name in read)


def _passes(node: Message) -> bool:
    return node.op == "Identity" and len(node.input) == 1


def _takes_rows(node: Message, graph: Graph) -> bool:
    if node.op != "GatherV2":
        return node.op in ("Gather", "ResourceGather")
    axis = graph.nodes.get(producer(node.input[2])) if len(node.input) > 2 else None
    value = simplify.constant(axis, graph.payloads) if axis is not None else None
    return value is not None and value.size == 1 and int(value.reshape(())) == 0


def _encoded(
    node: Message,
    payload: Payload,
    form: Form,
    payloads: dict[str, Payload],
    taken: set[str],
    *,
    by_row: bool,
) -> list[Message]:
    """Give the nodes that stand for a constant; the constant itself if it does not fit."""
    weights = payload.load()
    largest = float(np.max(np.abs(weights)))
    fits = largest == 0 or _LEAST_HALF <= largest <= _MOST_HALF
    if not np.isfinite(largest) or (form == "float16" and not fits):
        return [node]
    scale = _scale(weights, by_row=by_row) if form == "int8" else None
    del weights
    inner = _named(node, form, taken)
    spec = TensorSpec(form, payload.spec.shape)
    with_payload(inner, spec)
    payloads[inner.name] = Payload(spec, lambda: _encode(payload.load(), scale))
    result = schema.NodeDef(name=node.name)
    del payloads[node.name]
    if scale is None:
        _become_cast(result, inner.name, form)
        return [inner, result]
    factor, cast = _named(node, "scale", taken), _named(node, "cast", taken)
    simplify.become(factor, scale, payloads)
    _become_cast(cast, inner.name, form)
    result.op = "Mul"
    result.attr["T"].type = dtypes.BY_NAME["float32"].number
    result.input[:] = [cast.name, factor.name]
    return [inner, factor, cast, result]


def _scale(weights: Array, *, by_row: bool) -> Array:
    long = [axis for axis, extent in enumerate(weights.shape) if extent > 1]
    axes = tuple(range(1, weights.ndim) if by_row else range(long[-1]))
    largest = np.max(np.abs(weights), axis=axes, keepdims=by_row)
    scale = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    return np.maximum(scale, np.finfo(np.float32).tiny)


def _encode(weights: Array, scale: Array | None) -> Array:
    if scale is None:
        # A living source may have gone on to larger values.
        return np.clip(weights, -_MOST_HALF, _MOST_HALF).astype(np.float16)
    quotient = np.rint(np.divide(weights, scale))
    return np.clip(quotient, -127, 127, out=quotient).astype(np.int8)


def _become_cast(node: Message, source: str, form: Form) -> None:
    node.op = "Cast"
    node.attr["SrcT"].type = dtypes.BY_NAME[form].number
    node.attr["DstT"].type = dtypes.BY_NAME["float32"].number
    node.input[:] = [source]


def _named(node: Message, suffix: str, taken: set[str]) -> Message:
    name = unused(f"{node.name}/{suffix}", taken)
    taken.add(name)
    return schema.NodeDef(name=name)


def _decoded(node: Message, graph: Graph) -> Payload | None:
    """Give what a node decodes; None for one that does something else."""
    if node.op == "Cast":
        return _cast_of(node, graph)
    if node.op != "Mul" or len(node.input) != 2:
        return None
    cast, factor = (graph.nodes.get(_plain(text)) for text in node.input)
    held = _cast_of(cast, graph) if cast is not None and cast.op == "Cast" else None
    if held is None or factor is None:
        return None
    scale = simplify.constant(factor, graph.payloads)
    if scale is None or scale.dtype != np.float32 or scale.size >= (held.spec.elements or 0):
        return None
    try:
        same = np.broadcast_shapes(scale.shape, held.spec.shape or ()) == held.spec.shape  # type: ignore[arg-type]
    except ValueError:
        return None
    return Payload(held.spec, lambda: _multiplied(held.load(), scale)) if same else None


def _cast_of(node: Message, graph: Graph) -> Payload | None:
    source = graph.payloads.get(_plain(node.input[0])) if len(node.input) == 1 else None
    if source is None or source.spec.dtype not in FORMS or graph.nodes[_plain(node.input[0])].input:
        return None
    if "DstT" not in node.attr or node.attr["DstT"].type != dtypes.BY_NAME["float32"].number:
        return None
    spec = TensorSpec("float32", source.spec.shape)
    return Payload(spec, lambda: source.load().astype(np.float32))


def _multiplied(values: Array, scale: Array) -> Array:
    product: Array = np.multiply(values, scale, out=values)
    return product


def _plain(text: str) -> str:
    return "" if text.startswith("^") else text.removesuffix(":0")


def _without_unread(graph: Graph, before: Graph, decoded: Collection[str]) -> Graph:
    """Remove what only the decoding read."""
    once = {producer(text) for name in decoded for text in before.nodes[name].input}
    once |= {producer(text) for name in once for text in before.nodes[name].input}
    read = simplify.readers_of(graph)
    gone = {name for name in once if name in graph.nodes and not read.get(name)}
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    for number in reversed(range(len(proto.node))):
        if proto.node[number].name in gone:
            del proto.node[number]
    kept = {name: payload for name, payload in graph.payloads.items() if name not in gone}
    return Graph(proto, kept)
