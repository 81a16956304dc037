"""Cut the part out of a graph that computes some tensors from others, for another runtime.

OpenVINO and tf2onnx give the outputs of a graph that nothing in it uses, and may give one of them
under several names. So a part has a placeholder of its own for each feed, and an Identity for each
fetch.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import attrs

from tfpersist.formats import dtypes, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Array, Payload, TensorSpec
from tfpersist.graph.optimize import fold
from tfpersist.graph.structure.functions import unused
from tfpersist.graph.structure.kinds import PLACEHOLDERS
from tfpersist.graph.structure.names import TensorRef, full_name, producer
from tfpersist.graph.structure.prune import prune

# Smaller constants stay in the graph: a runtime needs shapes, axes and the like while it reads it.
SMALLEST_WEIGHT = 64 << 10
_WEIGHT_DTYPES = frozenset(
    {"float16", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)
_PASSING = frozenset(
    {"Identity", "StopGradient", "PreventGradient", "Snapshot", "PlaceholderWithDefault"}
)


@attrs.frozen
class Part:
    """The part of a graph that computes some tensors from others.

    Args:
        graph: its nodes.
        feeds: names of the placeholders to feed, in the order of the feeds.
        fetches: names of the nodes that give the fetches, in their order.
        missing: placeholders of the whole graph that are needed and not fed.
    """

    graph: Graph
    feeds: tuple[str, ...]
    fetches: tuple[str, ...]
    missing: tuple[TensorRef, ...]


def cut(graph: Graph, feeds: Mapping[str, TensorSpec], fetches: Sequence[TensorRef]) -> Part:
    """Cut out what some fetches need.

    Args:
        graph: the whole graph; it is not changed.
        feeds: data type and shape of each tensor that is fed, by its full name.
        fetches: the tensors to compute; one that is fed is passed on.

    Raises:
        GraphError: the input of a node is not in the graph.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''
        ...     node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        ...     node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: DT_FLOAT } } }
        ...     node { name: "z" op: "Neg" input: "y" attr { key: "T" value { type: DT_FLOAT } } }
        ... ''')
        >>> part = cut(graph, {"y:0": TensorSpec("float32", (2,))}, [TensorRef("z", 0)])
        >>> for node in part.graph.proto.node:
        ...     print(node.name, *node.input)
        z tfpersist_part/feed/0
        tfpersist_part/feed/0
        tfpersist_part/fetch/0 z
    """
    scope = unused("tfpersist_part", {name.partition("/")[0] for name in graph.nodes})
    feed_names = {name: f"{scope}/feed/{number}" for number, name in enumerate(feeds)}
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    for node in proto.node:
        for number, text in enumerate(node.input):
            if not text.startswith("^") and full_name(text) in feed_names:
                node.input[number] = feed_names[full_name(text)]
    for name, spec in feeds.items():
        proto.node.append(_placeholder(feed_names[name], spec))
    fetch_names = [f"{scope}/fetch/{number}" for number in range(len(fetches))]
    for name, ref in zip(fetch_names, fetches, strict=True):
        text = feed_names.get(ref.name, ref.operation if ref.index == 0 else ref.name)
        node = proto.node.add(name=name, op="Identity", input=[text])
        if ref.spec is not None:
            node.attr["T"].type = dtypes.BY_NAME[ref.spec.dtype].number
    part = prune(Graph(proto, graph.payloads), fetch_names)
    missing = _settle_placeholders(part, set(feed_names.values()))
    return Part(part, tuple(feed_names.values()), tuple(fetch_names), missing)


def known_value(graph: Graph, ref: TensorRef, fed: Container[str]) -> Array | None:
    """Return the value of a tensor that is a constant, or passes one on; None for any other.

    OpenVINO gives no output that is a constant.

    Args:
        graph: the graph.
        ref: the tensor.
        fed: full names of the tensors that are fed.
    """
    name = ref.name
    seen: set[str] = set()
    while name not in fed and name not in seen:
        seen.add(name)
        node = graph.nodes[producer(name)]
        if node.op not in _PASSING or not node.input:
            payload = graph.payloads.get(node.name)
            return fold.constant_value(node) if payload is None else payload.load()
        name = full_name(node.input[0])
    return None


def _placeholder(name: str, spec: TensorSpec) -> Message:
    node = schema.NodeDef(name=name, op="Placeholder")
    node.attr["dtype"].type = dtypes.BY_NAME[spec.dtype].number
    shape = node.attr["shape"].shape
    if spec.shape is None:
        shape.unknown_rank = True
    else:
        shape.SetInParent()
        for extent in spec.shape:
            shape.dim.add(size=-1 if extent is None else extent)
    return node


def _settle_placeholders(part: Graph, fed: set[str]) -> tuple[TensorRef, ...]:
    """Let placeholders with a default pass it on; return those that have none and are not fed."""
    missing = []
    for node in part.proto.node:
        if node.op not in PLACEHOLDERS or node.name in fed:
            continue
        if node.op != "PlaceholderWithDefault":
            dtype = dtypes.by_number(node.attr["dtype"].type)
            spec = None if dtype is None else TensorSpec(dtype.name, None)
            missing.append(TensorRef(node.name, 0, spec))
            continue
        number = node.attr["dtype"].type
        node.op = "Identity"
        node.attr.clear()
        node.attr["T"].type = number
    return tuple(sorted(missing, key=lambda ref: ref.name))


def without_weights(part: Part) -> tuple[Graph, dict[str, Payload]]:
    """Return the graph of a part with placeholders for its large constants, and their values.

    Args:
        part: the part. Its graph is changed: constants that stay get their elements back.
    """
    payloads = part.graph.payloads
    weights = {
        name: payload
        for name, payload in payloads.items()
        # A constant with a control input may be in a loop or a branch of TensorFlow 1.
        if not part.graph.nodes[name].input
        and payload.spec.dtype in _WEIGHT_DTYPES
        and (payload.spec.nbytes or 0) >= SMALLEST_WEIGHT
    }
    for name, payload in payloads.items():
        node = part.graph.nodes[name]
        if name in weights:
            node.CopyFrom(_placeholder(name, payload.spec))
        else:
            node.attr["value"].tensor.tensor_content = payload.load().tobytes()
    return Graph(part.graph.proto), weights
