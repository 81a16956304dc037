"""The nodes of the main graph or of a function, where tensors are named differently.

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
    """Nodes to be changed, and the names of their tensors.

    Args:
        nodes: NodeDefs of the body's own, by name, in their order.
        library: FunctionDefs by name.
        function: the name of the function with this body; None for the main graph.
        arguments: the names of the function's arguments.
        renamed: the new names of tensors in a function, by the old ones: a node whose op was
            changed may have another name for its output.
    """

    nodes: dict[str, Message]
    library: Mapping[str, Message]
    function: str | None = None
    arguments: tuple[str, ...] = ()
    renamed: dict[str, str] = attrs.field(factory=dict)
    _added: dict[str, list[Message]] = attrs.field(factory=dict)
    _consumers: dict[str, list[str]] = attrs.field(factory=dict)

    def full_name(self, text: str) -> str:
        """Return the full name of the tensor that an input of a node means."""
        if self.function is not None or ":" in text:
            return text
        return f"{text}:0"

    def consumers(self) -> Mapping[str, list[str]]:
        """Return the names of the nodes that take a tensor, by the full name of the tensor.

        The first call looks at the nodes; later changes to them are not seen.
        """
        consumers = self._consumers
        if not consumers:
            for name, node in self.nodes.items():
                for text in node.input:
                    if text[:1] != "^":
                        consumers.setdefault(self.full_name(text), []).append(name)
        return consumers

    def outputs(self, node: Message) -> list[str]:
        """Return the full names of the outputs of a node, in order."""
        op = ops.definition(node.op, self.library)
        if op is None:
            return []
        names = [name for name, _ in ops.ports(node, op.output_arg, op)]
        if self.function is None:
            return [f"{node.name}:{index}" for index in range(len(names))]
        return [
            f"{node.name}:{name}:{index - names.index(name)}" for index, name in enumerate(names)
        ]

    def first_output(self, node: str, output: str) -> str:
        """Return the name of the first output of a node.

        Args:
            node: the name of the node.
            output: the name of the output in the OpDef.
        """
        return node if self.function is None else f"{node}:{output}:0"

    def add(self, before: str, name: str, op: str, inputs: list[str]) -> Message:
        """Add a node in front of another one.

        Args:
            before: the name of the other node.
            name: the name of the new node; a number is appended if it is in use.
            op: the op of the new node.
            inputs: its inputs.

        Returns:
            The new NodeDef, without attrs.
        """
        used_names = {*self.nodes, *self.arguments}
        used_names |= {node.name for nodes in self._added.values() for node in nodes}
        node = schema.NodeDef(name=functions.unused(name, used_names), op=op, input=inputs)
        self._added.setdefault(before, []).append(node)
        return node

    def where(self, node: Message) -> str:
        """Return the text that tells the user which node an error is about."""
        inside = f" in function {self.function}" if self.function is not None else ""
        return f"node {node.name} ({node.op}){inside}"

    def finished(self) -> list[Message]:
        """Return all nodes in order, with the added ones and with the new names of inputs."""
        result: list[Message] = []
        for name, node in self.nodes.items():
            result += [*self._added.get(name, ()), node]
        if self.renamed:
            for node in result:
                inputs = [self.renamed.get(text, text) for text in node.input]
                node.ClearField("input")
                node.input.extend(inputs)
        return result
