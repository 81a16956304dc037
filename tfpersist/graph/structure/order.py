"""The order in which the nodes of a graph depend on each other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from tfpersist.errors import GraphError
from tfpersist.formats.schema import Message
from tfpersist.graph.structure.kinds import LOOP_ENDS
from tfpersist.graph.structure.names import producer


def ordered(nodes: Mapping[str, Message]) -> Iterator[str]:
    """Yield the names of nodes, each after its inputs.

    A loop of TensorFlow 1 ends in a node that comes before the start of its next round; that one
    input is passed over.

    Args:
        nodes: NodeDefs by name.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'node { name: "b" input: "a:1" } node { name: "a" }')
        >>> list(ordered(graph.nodes))
        ['a', 'b']
    """
    seen: set[str] = set()
    for start, first in nodes.items():
        if start in seen:
            continue
        seen.add(start)
        stack = [(start, iter(first.input))]
        while stack:
            name, inputs = stack[-1]
            for text in inputs:
                # Most inputs are the plain name of a node that has been seen.
                if text in seen:
                    continue
                source = text if text in nodes else producer(text)
                if source in seen or source not in nodes or nodes[source].op in LOOP_ENDS:
                    continue
                seen.add(source)
                stack.append((source, iter(nodes[source].input)))
                break
            else:
                stack.pop()
                yield name


def refuse_cycles(nodes: Mapping[str, Message]) -> None:
    """Refuse nodes that need their own results, but for the loops of TensorFlow 1.

    Args:
        nodes: NodeDefs by name.

    Raises:
        GraphError: there is such a node; the error shows the way around.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'node { name: "a" input: "b" } node { name: "b" input: "a" }')
        >>> refuse_cycles(graph.nodes)
        Traceback (most recent call last):
        tfpersist.errors.GraphError: node b: this node needs its own result; got b -> a -> b. \
TensorFlow runs no such graph.
    """
    placed: set[str] = set()
    for name in ordered(nodes):
        for source in _sources(name, nodes):
            if source not in placed:
                cycle = [*_way(source, name, nodes), name]
                shown = cycle if len(cycle) <= 8 else [*cycle[:4], "...", *cycle[-3:]]
                raise GraphError(
                    "this node needs its own result",
                    where=f"node {name}",
                    found=" -> ".join(shown),
                    advice="TensorFlow runs no such graph.",
                )
        placed.add(name)


def _sources(name: str, nodes: Mapping[str, Message]) -> Iterator[str]:
    """Yield the nodes that a node reads, without the ends of loops."""
    for text in nodes[name].input:
        source = text if text in nodes else producer(text)
        if source in nodes and nodes[source].op not in LOOP_ENDS:
            yield source


def _way(last: str, first: str, nodes: Mapping[str, Message]) -> list[str]:
    """Return the shortest way from a node to one that needs it, over nodes that read each other."""
    readers: dict[str, str] = {}
    pending = deque([last])
    while pending and first not in readers:
        name = pending.popleft()
        for source in _sources(name, nodes):
            if source not in readers:
                readers[source] = name
                pending.append(source)
    way = [first]
    while way[-1] != last:
        way.append(readers[way[-1]])
    return way
