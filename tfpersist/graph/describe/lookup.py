"""Find the graph in a value in memory, and a tensor in a graph by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from tfpersist.errors import ArgumentError, NameNotFoundError, value_text
from tfpersist.formats import graphdef, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.describe import endpoints
from tfpersist.graph.describe.signature import labels_of
from tfpersist.graph.structure.names import Labels, TensorRef


class GraphDefMessage(Protocol):
    """A GraphDef: TensorFlow's own class, or that of any other protobuf runtime."""

    DESCRIPTOR: Any

    def SerializeToString(self) -> bytes:  # noqa: N802
        """Return the encoded message."""


def graph_in(value: object) -> Graph | None:
    """Return the graph that a value in memory is; None for any other value.

    Args:
        value: a Graph or a GraphDef of any protobuf runtime is a graph.

    Example:
        >>> graph_in(schema.GraphDef(node=[{"name": "x"}])).proto.node[0].name
        'x'
        >>> graph_in("model.pb") is None
        True
    """
    if isinstance(value, Graph):
        return value
    message: Any = value
    descriptor = getattr(message, "DESCRIPTOR", None)
    if getattr(descriptor, "full_name", "") == schema.GraphDef.DESCRIPTOR.full_name:
        return graphdef.split(memoryview(message.SerializeToString()))
    return None


def as_graph(value: Graph | GraphDefMessage) -> Graph:
    """Return the graph that a value in memory is.

    Args:
        value: a Graph or a GraphDef.

    Raises:
        ArgumentError: it is something else.
    """
    graph = graph_in(value)
    if graph is None:
        raise ArgumentError(
            "this is not a graph in memory",
            expected="a GraphDef",
            found=value_text(value),
            advice="A file is loaded with FrozenModel.load(path), and a model is frozen with"
            " Freezer(model).freeze().",
        )
    return graph


def find(graph: Graph, name: Any) -> TensorRef:
    """Find a tensor by its name in the graph, or by its name in the signature.

    Args:
        graph: the graph.
        name: "operation:index", "operation" for index 0, a name of the signature, or a TensorRef.

    Raises:
        NameNotFoundError: there is no such tensor, and the nearest names are given; or the name may
            mean two tensors.
    """
    return _found(graph, name, Labels.found)


def find_input(graph: Graph, name: Any) -> TensorRef:
    """Find a tensor that is fed: as `find`, but inputs of the signature go before other names."""
    return _found(graph, name, Labels.fed)


def find_output(graph: Graph, name: Any) -> TensorRef:
    """Find a tensor that is computed: as `find`, but outputs of the signature go first."""
    return _found(graph, name, Labels.fetched)


def _found(graph: Graph, name: Any, meant: Callable[[Labels, str, Any], str]) -> TensorRef:
    text = name.name if isinstance(name, TensorRef) else name
    if isinstance(text, str):
        text = meant(labels_of(graph), text, graph.nodes)
    return endpoints.find(graph, text)


def contains(find_tensor: Callable[[Any], object], name: object) -> bool:
    """Return whether a lookup by name finds a tensor.

    Args:
        find_tensor: the lookup; it raises NameNotFoundError if there is no such tensor.
        name: the name.
    """
    try:
        find_tensor(name)
    except NameNotFoundError:
        return False
    return True
