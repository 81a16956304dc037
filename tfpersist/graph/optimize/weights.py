"""Encode float32 weights in fewer bytes, as nodes that any TensorFlow decodes at run time.

    float32 w  =  Cast(float16 w/float16)
    float32 w  =  Cast(int8 w/int8) * w/scale

The node that gives the decoded weights keeps their name. tfpersist decodes them once, when it loads
the file.

A scale belongs to a channel: to each index of the last dimension that is longer than one, and of
the dimensions after it. Where a graph only gathers rows of the weights, as in an embedding, a scale
belongs to a row. So large weights in one channel or row do not reduce the precision of the others.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

import numpy as np

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes, schema
from tfpersist.formats.graphdef import Graph, with_payload
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Array, Payload, TensorSpec
from tfpersist.graph.optimize import simplify
from tfpersist.graph.optimize.simplify import first_output_source
from tfpersist.graph.structure.functions import unused
from tfpersist.graph.structure.names import producer

Form = Literal["float16", "int8"]
FORMS: tuple[Form, ...] = get_args(Form)
# For smaller weights the additional nodes cost more than they save.
_SMALLEST_BYTES = 4096
# For shorter rows the scales take about as many bytes as they save.
_SHORTEST_ROW = 8
_MOST_IDENTITIES = 8
_LARGEST_FLOAT16 = 65504.0
# Below this number float16 has fewer digits.
_SMALLEST_NORMAL_FLOAT16 = 2.0**-14


def compress(graph: Graph, form: Form, keep: Collection[str] = ()) -> Graph:
    """Encode the large float32 constants of a graph in fewer bytes.

    Each constant is read once, to see whether it fits. These stay float32: constants that are not
    finite; for float16, constants whose largest weight is too large or too small; for int8, vectors
    and tables with short rows.

    Args:
        graph: the graph; it is not changed.
        form: "float16": the error of a weight is at most 1/2048 of it, or 3e-8 where it is smaller
            than 6e-5. "int8": the error is at most 1/254 of the largest weight of its channel, or
            of its row where the graph reads rows only.
        keep: names of constants that stay as they are.

    Returns:
        The graph. Its weights are encoded one at a time, when they are written.

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
            "unknown form of weights", expected=" or ".join(map(repr, FORMS)), found=repr(form)
        )
    used_names = set(graph.nodes)
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    payloads = dict(graph.payloads)
    nodes: list[Message] = []
    read_by_row = _read_by_row(graph) if form == "int8" else frozenset()
    for node in graph.proto.node:
        payload = payloads.get(node.name)
        by_row = node.name in read_by_row
        is_large = payload is not None and _is_large(node, payload.spec, form, by_row=by_row)
        if payload is not None and is_large and node.name not in keep:
            nodes += _encoded(node, payload, form, payloads, used_names, by_row=by_row)
        else:
            nodes.append(node)
    proto.ClearField("node")
    proto.node.extend(nodes)
    return Graph(proto, payloads)


def expand(graph: Graph) -> Graph:
    """Decode the weights of a graph that `compress`, or another program, encoded this way.

    Args:
        graph: the graph; it is not changed.

    Returns:
        A graph with float32 constants, equal bit by bit to what the decoding nodes compute. They
        are decoded one at a time, when they are loaded.
    """
    decoded = {
        node.name: payload
        for node in graph.proto.node
        if (payload := _decoded(node, graph)) is not None
    }
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
    return _without_unread(Graph(proto, payloads), graph, decoded)


def _is_large(node: Message, spec: TensorSpec, form: Form, *, by_row: bool) -> bool:
    if spec.dtype != "float32" or (spec.nbytes or 0) < _SMALLEST_BYTES or node.input:
        return False
    shape = spec.shape or ()
    if by_row and (spec.elements or 0) < _SHORTEST_ROW * (shape[0] or 1):
        return False
    return form == "float16" or len([extent for extent in shape if extent != 1]) > 1


def _read_by_row(graph: Graph) -> frozenset[str]:
    """Return the names of the constants of which the graph reads rows only."""
    nodes = graph.nodes
    only_rows = {node.name: node.op == "Const" for node in graph.proto.node}
    identities = {
        node.name: producer(node.input[0]) for node in nodes.values() if _is_identity(node)
    }

    def source(name: str) -> str:
        for _ in range(_MOST_IDENTITIES):
            name = identities.get(name, name)
        return name

    for node in graph.proto.node:
        if node.name in identities:
            continue
        for position, text in enumerate(node.input):
            if text[:1] != "^" and not (position == 0 and _gathers_rows(node, graph)):
                only_rows[source(producer(text))] = False
    read = {source(producer(text)) for node in graph.proto.node for text in node.input}
    return frozenset(name for name, is_only in only_rows.items() if is_only and name in read)


def _is_identity(node: Message) -> bool:
    return node.op == "Identity" and len(node.input) == 1


def _gathers_rows(node: Message, graph: Graph) -> bool:
    if node.op != "GatherV2":
        return node.op in ("Gather", "ResourceGather")
    axis = graph.nodes.get(producer(node.input[2])) if len(node.input) > 2 else None
    value = simplify.load_constant(axis, graph.payloads) if axis is not None else None
    return value is not None and value.size == 1 and int(value.reshape(())) == 0


def _encoded(
    node: Message,
    payload: Payload,
    form: Form,
    payloads: dict[str, Payload],
    used_names: set[str],
    *,
    by_row: bool,
) -> list[Message]:
    """Return the nodes that replace a constant; the constant itself where it does not fit."""
    weights = payload.load()
    largest = float(np.max(np.abs(weights)))
    fits_float16 = largest == 0 or _SMALLEST_NORMAL_FLOAT16 <= largest <= _LARGEST_FLOAT16
    if not np.isfinite(largest) or (form == "float16" and not fits_float16):
        return [node]
    scale = _scale(weights, by_row=by_row) if form == "int8" else None
    del weights
    encoded = _new_node(node, form, used_names)
    spec = TensorSpec(form, payload.spec.shape)
    with_payload(encoded, spec)
    payloads[encoded.name] = Payload(spec, lambda: _encode(payload.load(), scale))
    result = schema.NodeDef(name=node.name)
    del payloads[node.name]
    if scale is None:
        _set_cast(result, encoded.name, form)
        return [encoded, result]
    factor, cast = _new_node(node, "scale", used_names), _new_node(node, "cast", used_names)
    simplify.store_constant(factor, scale, payloads)
    _set_cast(cast, encoded.name, form)
    result.op = "Mul"
    result.attr["T"].type = dtypes.BY_NAME["float32"].number
    result.input[:] = [cast.name, factor.name]
    return [encoded, factor, cast, result]


def _scale(weights: Array, *, by_row: bool) -> Array:
    """Return the float32 scale of each channel or row; the largest weight becomes 127."""
    long_axes = [axis for axis, extent in enumerate(weights.shape) if extent > 1]
    reduced = tuple(range(1, weights.ndim) if by_row else range(long_axes[-1]))
    largest = np.max(np.abs(weights), axis=reduced, keepdims=by_row)
    scale = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    # A smaller scale is zero to most processors.
    return np.maximum(scale, np.finfo(np.float32).tiny)


def _encode(weights: Array, scale: Array | None) -> Array:
    if scale is None:
        # A live source can have trained on to larger weights.
        return np.clip(weights, -_LARGEST_FLOAT16, _LARGEST_FLOAT16).astype(np.float16)
    quotient = np.rint(np.divide(weights, scale))
    return np.clip(quotient, -127, 127, out=quotient).astype(np.int8)


def _set_cast(node: Message, source: str, form: Form) -> None:
    node.op = "Cast"
    node.attr["SrcT"].type = dtypes.BY_NAME[form].number
    node.attr["DstT"].type = dtypes.BY_NAME["float32"].number
    node.input[:] = [source]


def _new_node(node: Message, suffix: str, used_names: set[str]) -> Message:
    name = unused(f"{node.name}/{suffix}", used_names)
    used_names.add(name)
    return schema.NodeDef(name=name)


def _decoded(node: Message, graph: Graph) -> Payload | None:
    """Return the weights that a node decodes; None where it does something else."""
    if node.op == "Cast":
        return _cast_weights(node, graph)
    if node.op != "Mul" or len(node.input) != 2:
        return None
    cast, factor = (graph.nodes.get(first_output_source(text)) for text in node.input)
    weights = _cast_weights(cast, graph) if cast is not None and cast.op == "Cast" else None
    if weights is None or factor is None:
        return None
    scale = simplify.load_constant(factor, graph.payloads)
    if scale is None or scale.dtype != np.float32 or scale.size >= (weights.spec.elements or 0):
        return None
    shape = tuple(extent or 0 for extent in weights.spec.shape or ())
    try:
        keeps_shape = np.broadcast_shapes(scale.shape, shape) == shape
    except ValueError:
        return None
    return Payload(weights.spec, lambda: _multiply(weights.load(), scale)) if keeps_shape else None


def _cast_weights(node: Message, graph: Graph) -> Payload | None:
    name = first_output_source(node.input[0]) if len(node.input) == 1 else ""
    source = graph.payloads.get(name)
    if source is None or source.spec.dtype not in FORMS or graph.nodes[name].input:
        return None
    if "DstT" not in node.attr or node.attr["DstT"].type != dtypes.BY_NAME["float32"].number:
        return None
    spec = TensorSpec("float32", source.spec.shape)
    return Payload(spec, lambda: source.load().astype(np.float32))


def _multiply(weights: Array, scale: Array) -> Array:
    product: Array = np.multiply(weights, scale, out=weights)
    return product


def _without_unread(graph: Graph, before: Graph, decoded: Collection[str]) -> Graph:
    """Remove the nodes that only the decoding nodes read."""
    sources = {producer(text) for name in decoded for text in before.nodes[name].input}
    reader_counts = simplify.count_readers(graph)
    unread = {name for name in sources if name in graph.nodes and not reader_counts.get(name)}
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    for index in reversed(range(len(proto.node))):
        if proto.node[index].name in unread:
            del proto.node[index]
    kept = {name: payload for name, payload in graph.payloads.items() if name not in unread}
    return Graph(proto, kept)
