"""Reduce a graph to the nodes and functions that some outputs need."""

from __future__ import annotations

from collections.abc import Iterable

from tfpersist.errors import GraphError, did_you_mean
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.structure import functions
from tfpersist.graph.structure.names import producer


def prune(graph: Graph, outputs: Iterable[str]) -> Graph:
    """Return a graph of the nodes and functions that some outputs need.

    Args:
        graph: the whole graph; it stays as it is.
        outputs: names of tensors or operations of the graph.

    Returns:
        Copies of the nodes, in their old order, with the functions that they call.

    Raises:
        GraphError: the input of a node is not in the graph.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "a" } node { name: "b" input: "a" }
        ...     node { name: "c" }''')
        >>> [node.name for node in prune(graph, ["b:0"]).proto.node]
        ['a', 'b']
    """
    kept = needed(graph, outputs)
    pruned = schema.GraphDef(node=[node for name, node in graph.nodes.items() if name in kept])
    pruned.versions.CopyFrom(graph.proto.versions)
    # What a frozen file says of itself does not hold for another graph.
    pruned.versions.DiscardUnknownFields()
    pruned.version = graph.proto.version
    pruned.library.CopyFrom(graph.proto.library)
    functions.prune_library(pruned)
    payloads = {name: payload for name, payload in graph.payloads.items() if name in kept}
    return Graph(pruned, payloads)


def trim(graph: Graph, outputs: Iterable[str]) -> Graph:
    """Return what `prune` returns, or the graph itself if all its nodes and functions are needed.

    Args:
        graph: the whole graph; it stays as it is.
        outputs: names of tensors or operations of the graph.

    Raises:
        GraphError: as `prune`.
    """
    all_needed = len(needed(graph, outputs)) == len(graph.nodes)
    return graph if all_needed and functions.is_pruned(graph.proto) else prune(graph, outputs)


def needed(graph: Graph, outputs: Iterable[str]) -> set[str]:
    """Return the names of the nodes that some outputs need, over data and control edges.

    Args:
        graph: the whole graph.
        outputs: names of tensors or operations of the graph; their own nodes are needed, too.

    Raises:
        GraphError: the input of a node is not in the graph.
    """
    nodes = graph.nodes
    reached = {producer(output) for output in outputs}
    pending = list(reached)
    while pending:
        name = pending.pop()
        for text in nodes[name].input:
            # Most inputs are the plain name of a node: try that before the slower `producer`.
            source = text
            if source in reached:
                continue
            if source not in nodes:
                source = producer(text)
            if source in reached:
                continue
            if source not in nodes:
                raise GraphError(
                    f"the graph has no node for the input {text!r}",
                    where=f"node {name} ({nodes[name].op})",
                    advice=did_you_mean(source, nodes),
                )
            reached.add(source)
            pending.append(source)
    return reached
