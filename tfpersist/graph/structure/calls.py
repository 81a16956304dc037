"""Calls of functions: how a node calls them, and a copy of a function for one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

import attrs

from tfpersist.errors import GraphError
from tfpersist.formats import schema
from tfpersist.formats.schema import Message
from tfpersist.graph.structure import functions, ops
from tfpersist.graph.structure.kinds import CONTROL_FLOW

T = TypeVar("T")


@attrs.frozen
class Call:
    """The form in which a node calls functions.

    Args:
        targets: the names of the functions; those of a loop are its condition and its body.
        skip: how many inputs of the node come before the arguments.
        types: the attr that lists the types of the arguments; None if the node has no such attr.
        returns: the attr that lists the types of the results; None if the node has no such attr.
        loops: whether arguments and results are the same loop variables.
        captured: how many arguments of the functions come before those that the node passes.
    """

    targets: tuple[str, ...]
    skip: int = 0
    types: str | None = None
    returns: str | None = None
    loops: bool = False
    captured: int = 0

    def arguments(self, inputs: tuple[T | None, ...]) -> tuple[T | None, ...]:
        """Return a value for each argument of the functions, from those of the node's inputs."""
        return (None,) * self.captured + inputs[self.skip :]

    def redirect(self, node: Message, clones: Mapping[str, str]) -> None:
        """Make a node call other functions.

        Args:
            node: the NodeDef; it is changed.
            clones: the new name of a function, by the old one.
        """
        node.op = clones.get(node.op, node.op)
        for function in functions.references(node):
            function.name = clones.get(function.name, function.name)


@attrs.frozen
class _Form:
    functions: tuple[str, ...]
    types: str = "Tin"
    returns: str = "Tout"
    skip: int = 0
    loops: bool = False


_CALL = _Form(("f",))
_IF = _Form(("then_branch", "else_branch"), skip=1)
_CASE = _Form(("branches",), skip=1)
_WHILE = _Form(("cond", "body"), "T", "T", loops=True)
_FORMS: Mapping[str, _Form] = MappingProxyType(
    {
        "PartitionedCall": _CALL,
        "StatefulPartitionedCall": _CALL,
        "If": _IF,
        "StatelessIf": _IF,
        "Case": _CASE,
        "StatelessCase": _CASE,
        "While": _WHILE,
        "StatelessWhile": _WHILE,
    }
)


def call_of(node: Message, library: Mapping[str, Message]) -> Call | None:
    """Return how a node calls functions.

    Args:
        node: the NodeDef.
        library: FunctionDefs by name.

    Returns:
        The call; None if the node calls none, or calls them in a way that is not known here.
    """
    if node.op in library:
        return Call((node.op,))
    form = _FORMS.get(node.op)
    if form is not None:
        targets: list[str] = []
        for attr in form.functions:
            if attr in node.attr:
                value = node.attr[attr]
                targets += [value.func.name] if value.HasField("func") else []
                targets += [function.name for function in value.list.func]
        if not targets or any(name not in library for name in targets):
            return None
        return Call(tuple(targets), form.skip, form.types, form.returns, form.loops)
    return _dataset(node, library)


def _dataset(node: Message, library: Mapping[str, Message]) -> Call | None:
    """Return how a dataset op calls its function, which takes an element, then what it captured."""
    op = ops.definition(node.op)
    if op is None or "Targuments" not in node.attr:
        return None
    names = functions.called(node, library)
    lists = [arg.name for arg in op.input_arg if arg.type_list_attr == "Targuments"]
    if len(names) != 1 or len(lists) != 1:
        return None
    skip = (
        [name for name, _ in ops.ports(node, op.input_arg, op)].index(lists[0])
        if len(node.attr["Targuments"].list.type)
        else 0
    )
    captured = len(library[names[0]].signature.input_arg) - len(node.attr["Targuments"].list.type)
    return Call(tuple(names), skip=skip, types="Targuments", captured=captured)


@attrs.frozen
class Callee:
    """A function of the library, copied for one call of it.

    Args:
        name: the name of the function.
        nodes: copies of its nodes, to be changed; placeholders in their attrs are filled in.
        arguments: name and data type number of each input tensor.
        results: name and data type number of each output tensor.
        returned: the tensors inside of the function that are its outputs.
        ends: names of the nodes that have to run, even if nothing reads their outputs.
        flows: whether it has control flow of TensorFlow 1 in it.
        library: FunctionDefs by name.
    """

    name: str
    nodes: tuple[Message, ...]
    arguments: tuple[tuple[str, int], ...]
    results: tuple[tuple[str, int], ...]
    returned: tuple[str, ...]
    ends: frozenset[str]
    flows: bool
    library: Mapping[str, Message]

    @classmethod
    def of(
        cls, function: Message, call_attrs: Mapping[str, Message], library: Mapping[str, Message]
    ) -> Callee | None:
        """Copy a function for one call.

        Args:
            function: the FunctionDef.
            call_attrs: the attrs that the call sets.
            library: FunctionDefs by name.

        Returns:
            The callee; None if it has an unknown op, an attr that is not set, or an input that no
            node of it gives.
        """
        signature = function.signature
        if any(arg.number_attr or arg.type_list_attr for arg in signature.output_arg):
            return None
        call = schema.NodeDef(name=signature.name, op=signature.name)
        for name, value in call_attrs.items():
            call.attr[name].CopyFrom(value)
        nodes = []
        for node in function.node_def:
            copy = schema.NodeDef()
            copy.CopyFrom(node)
            nodes.append(copy)
        if not all(_settled(value, call, signature) for n in nodes for value in n.attr.values()):
            return None
        try:
            callee = cls(
                signature.name,
                tuple(nodes),
                tuple(ops.ports(call, signature.input_arg, signature)),
                tuple(ops.ports(call, signature.output_arg, signature)),
                tuple(function.ret.get(arg.name, "") for arg in signature.output_arg),
                frozenset(function.control_ret.values()),
                any(node.op in CONTROL_FLOW for node in nodes),
                library,
            )
            return callee if callee._is_whole() else None
        except GraphError:
            return None

    def passed(self, data: Sequence[str]) -> dict[str, str]:
        """Return the tensors that a call passes, by their names inside of the function."""
        passed: dict[str, str] = {}
        counts: dict[str, int] = {}
        for text, (name, _) in zip(data, self.arguments, strict=True):
            passed[f"{name}:{counts.get(name, 0)}"] = text
            passed.setdefault(name, text)
            counts[name] = counts.get(name, 0) + 1
        return passed

    def outputs(self, node: Message) -> Iterator[tuple[str, int]]:
        """Yield the names that the function uses for the outputs of a node, with their indices."""
        op = ops.definition(node.op, self.library)
        first: dict[str, int] = {}
        ports = ops.ports(node, op.output_arg, op) if op is not None else ()
        for index, (name, _) in enumerate(ports):
            if name not in first:
                yield f"{node.name}:{name}", index
            yield f"{node.name}:{name}:{index - first.setdefault(name, index)}", index

    def _is_whole(self) -> bool:
        """Return whether the function itself has every tensor and node that it refers to."""
        known = {*self.passed([""] * len(self.arguments))}
        for node in self.nodes:
            if ops.definition(node.op, self.library) is None:
                return False
            known |= {text for text, _ in self.outputs(node)}
        names = {node.name for node in self.nodes} | {name for name, _ in self.arguments}
        inputs = [*self.returned, *(text for node in self.nodes for text in node.input)]
        controls = {text[1:] for text in inputs if text[:1] == "^"}
        return controls <= names and {text for text in inputs if text[:1] != "^"} <= known

    def __len__(self) -> int:
        return sum(1 + (node.ByteSize() >> 10) for node in self.nodes)


def _settled(value: Message, call: Message, signature: Message) -> bool:
    """Replace placeholders in an attr by the attrs of the call; return whether all were set."""
    field = value.WhichOneof("value")
    if field == "placeholder":
        attr = ops.attr(call, value.placeholder, signature)
        if attr is None or attr.WhichOneof("value") == "placeholder":
            return False
        value.CopyFrom(attr)
        return True
    called = [value.func] if field == "func" else value.list.func if field == "list" else ()
    return all(_settled(inner, call, signature) for func in called for inner in func.attr.values())
