"""Change some nodes of a graph, without a copy of the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload


@attrs.define(eq=False)
class Edit:
    """The changes that a pass makes to a graph; the graph itself stays as it is.

    A pass that changes nothing returns the graph that it was given, so that the passes after it
    share its map of nodes, and so that the caller sees that there is nothing left to do.

    Args:
        graph: the graph.
        nodes: its nodes by name, and copies of those that were changed.
        payloads: its payloads; the pass may add some.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'node { name: "a" op: "Neg" } node { name: "b" op: "Neg" }')
        >>> edit = Edit(graph)
        >>> edit.result() is graph
        True
        >>> edit.change("b").op = "Abs"
        >>> [node.op for node in edit.result().proto.node], graph.nodes["b"].op
        (['Neg', 'Abs'], 'Neg')
    """

    graph: Graph
    nodes: dict[str, Message] = attrs.field(init=False)
    payloads: dict[str, Payload] = attrs.field(init=False)
    _changed: set[str] = attrs.field(factory=set, init=False)
    _added: list[Message] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.nodes = dict(self.graph.nodes)
        self.payloads = dict(self.graph.payloads)

    @property
    def functions(self) -> Mapping[str, Message]:
        """The FunctionDefs of the library by name."""
        return self.graph.functions

    def change(self, name: str) -> Message:
        """Return the copy of a node, to be changed in place.

        Args:
            name: the name that the node has in the graph.
        """
        if name not in self._changed:
            copy = schema.NodeDef()
            copy.CopyFrom(self.nodes[name])
            self.nodes[name] = copy
            self._changed.add(name)
        return self.nodes[name]

    def add(self, name: str) -> Message:
        """Return a new node behind all others, to be filled in; `nodes` does not show it."""
        self._added.append(schema.NodeDef(name=name))
        return self._added[-1]

    def result(self, without: Collection[str] = ()) -> Graph:
        """Return the changed graph; the graph itself where nothing was changed.

        Args:
            without: names of nodes that are left out.
        """
        if not (self._changed or self._added or without):
            return self.graph
        nodes = (node for name, node in self.nodes.items() if name not in without)
        proto = schema.GraphDef(node=[*nodes, *self._added])
        proto.versions.CopyFrom(self.graph.proto.versions)
        proto.version = self.graph.proto.version
        if self.graph.proto.HasField("library"):
            proto.library.CopyFrom(self.graph.proto.library)
        payloads = {name: p for name, p in self.payloads.items() if name not in without}
        return Graph(proto, payloads)
