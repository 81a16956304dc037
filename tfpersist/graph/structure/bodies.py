"""One body of nodes: the main graph or a function, whose tensors are named differently.

main graph: "node", "node:1", "^node"
function:   "argument", "node:output_name:0", "^node"
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from tfpersist.formats import schema
from tfpersist.formats.schema import Message
from tfpersist.graph.structure import functions, ops


@attrs.define(eq=False)
class Body:
    """Nodes that may be changed, and how their tensors are called.

    Args:
        nodes: NodeDefs of the body's own, by name, in their order.
        library: FunctionDefs by name.
        function: name of the function that this is the body of; None for the main graph.
        arguments: names of the function's arguments.
        renamed: new names of a function's tensors whose ops call their outputs differently now.
    """

    nodes: dict[str, Message]
    library: Mapping[str, Message]
    function: str | None = None
    arguments: tuple[str, ...] = ()
    renamed: dict[str, str] = attrs.field(factory=dict)
    _added: dict[str, list[Message]] = attrs.field(factory=dict)
    _consumers: dict[str, list[str]] = attrs.field(factory=dict)

    def tensor(self, text: str) -> str:
        """Give the one name of the tensor that an input of a node means."""
        if self.function is not None or ":" in text:
            return text
        return f"{text}:0"

    def consumers(self) -> Mapping[str, list[str]]:
        """Name the nodes that took a tensor before any was changed, by the tensor's name."""
        found = self._consumers
        if not found:
            for name, node in self.nodes.items():
                for text in node.input:
                    if text[:1] != "^":
                        found.setdefault(self.tensor(text), []).append(name)
        return found

    def outputs(self, node: Message) -> list[str]:
        """Name the outputs of a node, in order."""
        op = ops.definition(node.op, self.library)
        if op is None:
            return []
        names = [name for name, _ in ops.ports(node, op.output_arg, op)]
        if self.function is None:
            return [f"{node.name}:{index}" for index in range(len(names))]
        return [
            f"{node.name}:{name}:{index - names.index(name)}" for index, name in enumerate(names)
        ]

    def first(self, node: str, output: str) -> str:
        """Name the first output of a node, given what its op calls it."""
        return node if self.function is None else f"{node}:{output}:0"

    def add(self, before: str, name: str, op: str, inputs: list[str]) -> Message:
        """Add a node in front of another; its name gets a number where it is taken."""
        taken = {*self.nodes, *self.arguments}
        taken |= {node.name for nodes in self._added.values() for node in nodes}
        node = schema.NodeDef(name=functions.unused(name, taken), op=op, input=inputs)
        self._added.setdefault(before, []).append(node)
        return node

    def place(self, node: Message) -> str:
        """Say where a node is, for an error."""
        inside = f" in function {self.function}" if self.function is not None else ""
        return f"node {node.name} ({node.op}){inside}"

    def finished(self) -> list[Message]:
        """Give the nodes, the added ones in place, every input under its new name."""
        result: list[Message] = []
        for name, node in self.nodes.items():
            result += [*self._added.get(name, ()), node]
        if self.renamed:
            for node in result:
                inputs = [self.renamed.get(text, text) for text in node.input]
                node.ClearField("input")
                node.input.extend(inputs)
        return result
