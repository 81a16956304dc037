"""What newer ops say, said with the ops that an older TensorFlow has."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from types import MappingProxyType

from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.constants.rewrites import become
from tfpersist.graph.optimize import fold
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.prune import producer


def reword(graph: Graph, known: Mapping[str, Container[str]]) -> Graph:
    """Say with older ops what newer ones say.

    Args:
        graph: the graph, which stays as it is.
        known: the older ops, each with the attrs that it does not have yet.

    Returns:
        A graph that computes the same, bit by bit.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "c" op: "StatelessCase" input: "i" }''')
        >>> reword(graph, {"Case": ()}).nodes["c"].op
        'Case'
    """
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    for nodes in (proto.node, *(function.node_def for function in proto.library.function)):
        named = {node.name: node for node in nodes}
        for node in nodes:
            if node.op in _NEWER and node.op not in known:
                older, says, change = _NEWER[node.op]
                if older in known and says(node, named):
                    change(node, older)
            elif node.op == "LookupTableImportV2" and "LookupTableInsertV2" in known:
                _fill(node, named)
            elif "exponential_avg_factor" in known.get(node.op, ()) and not _trains(node):
                # Only training averages.
                node.attr.pop("exponential_avg_factor", None)
    return Graph(proto, graph.payloads)


def _is_plain_product(node: Message, named: Mapping[str, Message]) -> bool:
    del named
    return len({node.attr[name].type for name in ("Ta", "Tb", "Tout")}) == 1


def _product(node: Message, older: str) -> None:
    become(node, older, ("adj_x", "adj_y"), T="Tout")


def _is_one_diagonal(node: Message, named: Mapping[str, Message]) -> bool:
    """Tell whether it does not matter how diagonals of several lengths are aligned."""
    if "align" in node.attr and node.attr["align"].s == b"LEFT_LEFT":
        return True
    at = 2 if node.op == "MatrixSetDiagV3" else 1
    source = named.get(producer(node.input[at]))
    numbers = None if source is None else fold.constant(source)
    return numbers is not None and len(set(numbers.reshape(-1).tolist())) == 1


def _diagonal(node: Message, older: str) -> None:
    become(node, older, ("T",))


def _always(node: Message, named: Mapping[str, Message]) -> bool:
    del node, named
    return True


def _rename(node: Message, older: str) -> None:
    node.op = older


# By op: the older one, whether that says the same, and how to make it.
_NEWER: Mapping[
    str,
    tuple[str, Callable[[Message, Mapping[str, Message]], bool], Callable[[Message, str], None]],
] = MappingProxyType(
    {
        "BatchMatMulV3": ("BatchMatMulV2", _is_plain_product, _product),
        "MatrixDiagPartV3": ("MatrixDiagPartV2", _is_one_diagonal, _diagonal),
        "MatrixDiagV3": ("MatrixDiagV2", _is_one_diagonal, _diagonal),
        "MatrixSetDiagV3": ("MatrixSetDiagV2", _is_one_diagonal, _diagonal),
        "StatelessCase": ("Case", _always, _rename),
    }
)


def _fill(node: Message, named: Mapping[str, Message]) -> None:
    """Put vectors into a table that is empty: older imports insist on one number for each key."""
    keys, values = (named.get(producer(text)) for text in node.input[1:3])
    if keys is None or values is None or keys.op != "Const" or values.op != "Const":
        return
    ranks = [len(each.attr["value"].tensor.tensor_shape.dim) for each in (keys, values)]
    if ranks[0] < ranks[1]:
        node.op = "LookupTableInsertV2"


def _trains(node: Message) -> bool:
    value = ops.attr(node, "is_training", ops.definition(node.op))
    return value is None or bool(value.b)
