"""The order in which the nodes of a graph depend on each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
    for start in nodes:
        if start in seen:
            continue
        seen.add(start)
        stack = [(start, iter(nodes[start].input))]
        while stack:
            name, inputs = stack[-1]
            source = next((producer(text) for text in inputs), None)
            if source is None:
                stack.pop()
                yield name
            elif source in nodes and source not in seen and nodes[source].op not in LOOP_ENDS:
                seen.add(source)
                stack.append((source, iter(nodes[source].input)))
