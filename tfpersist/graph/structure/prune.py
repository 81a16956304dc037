"""What a set of outputs needs: nodes over data and control edges, and functions."""

from __future__ import annotations

from collections.abc import Iterable

from tfpersist.errors import GraphError, did_you_mean
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.structure import functions
from tfpersist.graph.structure.names import producer


def prune(graph: Graph, outputs: Iterable[str]) -> Graph:
    """Keep the nodes and functions that some outputs need.

    Args:
        graph: the whole graph.
        outputs: names of tensors or operations that are there.

    Returns:
        A graph of copied nodes in their old order, with the library that they reach.

    Raises:
        GraphError: a node's input comes from nowhere.

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
    pruned.version = graph.proto.version
    pruned.library.CopyFrom(graph.proto.library)
    functions.prune_library(pruned)
    payloads = {name: payload for name, payload in graph.payloads.items() if name in kept}
    return Graph(pruned, payloads)


def trim(graph: Graph, outputs: Iterable[str]) -> Graph:
    """Do as `prune`, with a graph of the caller's own.

    Args:
        graph: the whole graph; its library is changed, and it is given back, where all is needed.
        outputs: names of tensors or operations that are there.
    """
    if len(needed(graph, outputs)) < len(graph.nodes):
        return prune(graph, outputs)
    functions.prune_library(graph.proto)
    return Graph(graph.proto, graph.payloads)


def needed(graph: Graph, outputs: Iterable[str]) -> set[str]:
    """Name the nodes that some outputs need, their own included.

    Args:
        graph: the whole graph.
        outputs: names of tensors or operations that are there.

    Raises:
        GraphError: a node's input comes from nowhere.
    """
    nodes = graph.nodes
    found = {producer(output) for output in outputs}
    pending = list(found)
    while pending:
        name = pending.pop()
        for text in nodes[name].input:
            source = text
            if source in found:
                continue
            if source not in nodes:
                source = producer(text)
            if source in found:
                continue
            if source not in nodes:
                raise GraphError(
                    f"input {text!r} comes from nowhere",
                    where=f"node {name} ({nodes[name].op})",
                    advice=did_you_mean(source, nodes),
                )
            found.add(source)
            pending.append(source)
    return found
