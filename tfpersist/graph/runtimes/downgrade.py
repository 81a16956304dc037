"""Replace newer ops with ops that an older TensorFlow has."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from types import MappingProxyType

from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.constants.nodes import change_op
from tfpersist.graph.optimize import fold
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.names import producer


def downgrade(graph: Graph, known_ops: Mapping[str, Container[str]]) -> Graph:
    """Replace newer ops with older ops that compute the same.

    Args:
        graph: the graph; it is not changed.
        known_ops: the ops of the older release. Each op maps to the attrs that this release does
            not have yet.

    Returns:
        A graph that computes the same, bit by bit. Ops that have no older equal stay.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "c" op: "StatelessCase" input: "i" }''')
        >>> downgrade(graph, {"Case": ()}).nodes["c"].op
        'Case'
    """
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    for body in (proto.node, *(function.node_def for function in proto.library.function)):
        nodes = {node.name: node for node in body}
        for node in body:
            if node.op in _OLDER_OPS and node.op not in known_ops:
                older, is_equal, rewrite = _OLDER_OPS[node.op]
                if older in known_ops and is_equal(node, nodes):
                    rewrite(node, older)
            elif node.op == "LookupTableImportV2" and "LookupTableInsertV2" in known_ops:
                _insert_vectors(node, nodes)
            elif "exponential_avg_factor" in known_ops.get(node.op, ()) and not _trains(node):
                # This attr has an effect in training mode only.
                node.attr.pop("exponential_avg_factor", None)
    return Graph(proto, graph.payloads)


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
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    for body in (proto.node, *(function.node_def for function in proto.library.function)):
        for node in body:
            node.attr.pop("_lower_using_switch_merge", None)
    return Graph(proto, graph.payloads)


def _has_one_dtype(node: Message, nodes: Mapping[str, Message]) -> bool:
    del nodes
    return len({node.attr[name].type for name in ("Ta", "Tb", "Tout")}) == 1


def _rewrite_matmul(node: Message, older: str) -> None:
    change_op(node, older, ("adj_x", "adj_y"), T="Tout")


def _alignment_has_no_effect(node: Message, nodes: Mapping[str, Message]) -> bool:
    """Return whether the older op, which aligns every diagonal to the left, computes the same."""
    if "align" in node.attr and node.attr["align"].s == b"LEFT_LEFT":
        return True
    position = 2 if node.op == "MatrixSetDiagV3" else 1
    source = nodes.get(producer(node.input[position]))
    diagonals = None if source is None else fold.constant_value(source)
    return diagonals is not None and len(set(diagonals.reshape(-1).tolist())) == 1


def _rewrite_diagonal(node: Message, older: str) -> None:
    change_op(node, older, ("T",))


def _always(node: Message, nodes: Mapping[str, Message]) -> bool:
    del node, nodes
    return True


def _rename_op(node: Message, older: str) -> None:
    node.op = older


# {newer op: (older op, whether it gives the same for a node, how to rewrite the node)}
_OLDER_OPS: Mapping[
    str,
    tuple[str, Callable[[Message, Mapping[str, Message]], bool], Callable[[Message, str], None]],
] = MappingProxyType(
    {
        "BatchMatMulV3": ("BatchMatMulV2", _has_one_dtype, _rewrite_matmul),
        "MatrixDiagPartV3": ("MatrixDiagPartV2", _alignment_has_no_effect, _rewrite_diagonal),
        "MatrixDiagV3": ("MatrixDiagV2", _alignment_has_no_effect, _rewrite_diagonal),
        "MatrixSetDiagV3": ("MatrixSetDiagV2", _alignment_has_no_effect, _rewrite_diagonal),
        "StatelessCase": ("Case", _always, _rename_op),
    }
)


def _insert_vectors(node: Message, nodes: Mapping[str, Message]) -> None:
    """Insert vectors into a table instead of importing them.

    Older releases import one number for each key only. The table is empty at this moment, so an
    insert gives the same table.
    """
    keys, values = (nodes.get(producer(text)) for text in node.input[1:3])
    if keys is None or values is None or keys.op != "Const" or values.op != "Const":
        return
    key_rank, value_rank = (len(c.attr["value"].tensor.tensor_shape.dim) for c in (keys, values))
    if key_rank < value_rank:
        node.op = "LookupTableInsertV2"


def _trains(node: Message) -> bool:
    value = ops.attr(node, "is_training", ops.definition(node.op))
    return value is None or bool(value.b)
