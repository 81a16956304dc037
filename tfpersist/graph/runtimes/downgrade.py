"""Replace newer ops with ops that an older TensorFlow, or another runtime, has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.optimize.inline import STAYS_A_CALL
from tfpersist.graph.runtimes.body import Body
from tfpersist.graph.runtimes.op_lists import KnownOp
from tfpersist.graph.runtimes.rewordings import REWORDINGS
from tfpersist.graph.structure import ops

# Attrs that change nothing that is computed: the shapes of outputs as far as they were known, and
# how many turns of a loop may run at the same time.
_HINTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Case": ("output_shapes",),
        "If": ("output_shapes",),
        "StatelessIf": ("output_shapes",),
        "StatelessWhile": ("output_shapes", "parallel_iterations"),
        "While": ("output_shapes", "parallel_iterations"),
    }
)


def downgrade(graph: Graph, known_ops: Mapping[str, KnownOp]) -> Graph:
    """Replace newer ops with older ops that compute the same.

    Args:
        graph: the graph; it is not changed.
        known_ops: the ops of the older release, or of the other runtime.

    Returns:
        A graph that computes the same, bit by bit; `rewordings` says which ops are rounded
        differently. Ops that have no older equal stay.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> from tfpersist.graph.runtimes.op_lists import known_ops
        >>> graph = parse_text(b'''node { name: "c" op: "StatelessCase" input: "i" }''')
        >>> downgrade(graph, known_ops("1.15")).nodes["c"].op
        'Case'
    """
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    bodies = [Body(proto.node)]
    bodies += [Body(function.node_def, function) for function in proto.library.function]
    for body in bodies:
        for node in list(body.nodes.values()):
            _reword(node, body, known_ops)
            if node.op in known_ops:
                for name in known_ops[node.op].missing & set(_without_effect(node)):
                    node.attr.pop(name, None)
    return Graph(proto, graph.payloads)


def _reword(node: Message, body: Body, known_ops: Mapping[str, KnownOp]) -> None:
    """Replace a node by older ones, step by step, until its op is known or has no older equal."""
    newest = schema.NodeDef.FromString(node.SerializeToString())
    while node.op in REWORDINGS:
        rewording = REWORDINGS[node.op]
        is_wanted = node.op not in known_ops or rewording.always
        if not is_wanted or not _can_be_known(rewording.needs, known_ops):
            break
        if not rewording.applies(node, body):
            break
        newer = node.op
        rewording.rewrite(node, body)
        body.rename_output(node, newer)
    if node.op not in known_ops:
        # The steps led nowhere. A user knows the node as it was.
        reached = node.op
        node.CopyFrom(newest)
        body.rename_output(node, reached)


def _can_be_known(needed: tuple[str, ...], known_ops: Mapping[str, KnownOp]) -> bool:
    """Return whether each op is known, or can be written with ops that are."""
    return all(
        op in known_ops or (op in REWORDINGS and _can_be_known(REWORDINGS[op].needs, known_ops))
        for op in needed
    )


def _without_effect(node: Message) -> tuple[str, ...]:
    """Return the attrs of a node that change nothing of what it computes."""
    if node.op.startswith("FusedBatchNorm") and not _trains(node):
        return ("exponential_avg_factor",)
    return _HINTS.get(node.op, ())


def _trains(node: Message) -> bool:
    value = ops.attr(node, "is_training", ops.definition(node.op))
    return value is None or bool(value.b)


def without_lowering(graph: Graph) -> Graph:
    """Return a graph whose loops and branches stay as the functions that they call.

    tf2onnx runs TensorFlow's optimizer, which takes a loop with this attr apart into Switch and
    Merge. What tf2onnx makes of those, ONNX Runtime refuses: "Invalid tensor data type 0".

    Args:
        graph: the graph; it is not changed.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "w" op: "While"
        ...     attr { key: "_lower_using_switch_merge" value { b: true } } }''')
        >>> list(without_lowering(graph).nodes["w"].attr)
        []
    """
    return _without_attrs(graph, {"_lower_using_switch_merge"})


def without_compilation(graph: Graph) -> Graph:
    """Return a graph whose functions may all be inlined, also those that XLA compiles.

    How TensorFlow compiles a function is nothing to another runtime. Keras has its grouped
    convolutions compiled, and what tf2onnx does not find inlined, it leaves in the ONNX model.

    Args:
        graph: the graph; it is not changed.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "c" op: "PartitionedCall"
        ...     attr { key: "_XlaMustCompile" value { b: true } } }''')
        >>> list(without_compilation(graph).nodes["c"].attr)
        []
    """
    return _without_attrs(graph, STAYS_A_CALL)


def _without_attrs(graph: Graph, names: Collection[str]) -> Graph:
    """Return a graph whose nodes and functions lack some attrs."""
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    functions = proto.library.function
    for body in (proto.node, functions, *(function.node_def for function in functions)):
        for node in body:
            for name in names:
                node.attr.pop(name, None)
    return Graph(proto, graph.payloads)
