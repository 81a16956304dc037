"""Calls of functions: how a node calls them, and what a function is to one call."""

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
    """How one node calls functions.

    Args:
        targets: names of the functions; of a loop the condition comes first.
        skip: how many inputs come before the arguments.
        types: name of the attr that lists the arguments' types; None where there is none.
        returns: name of the attr that lists the results' types; None where there is none.
        loops: whether arguments and results are the same loop variables.
        captured: how many arguments of the functions come from elsewhere, before the inputs.
    """

    targets: tuple[str, ...]
    skip: int = 0
    types: str | None = None
    returns: str | None = None
    loops: bool = False
    captured: int = 0

    def arguments(self, inputs: tuple[T | None, ...]) -> tuple[T | None, ...]:
        """Line up what flows into the node with the functions' arguments."""
        return (None,) * self.captured + inputs[self.skip :]

    def redirect(self, node: Message, clones: Mapping[str, str]) -> None:
        """Let a node call other functions."""
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
    """Tell how a node calls functions; None where it does not, or not in a way known here.

    Args:
        node: the NodeDef.
        library: FunctionDefs by name.
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
    """A dataset's function takes an element first, and then what it captured."""
    op = ops.definition(node.op)
    if op is None or "Targuments" not in node.attr:
        return None
    names = functions.called(node, library)
    lists = [arg.name for arg in op.input_arg if arg.type_list_attr == "Targuments"]
    if len(names) != 1 or len(lists) != 1:
        return None
    before = (
        [name for name, _ in ops.ports(node, op.input_arg, op)].index(lists[0])
        if len(node.attr["Targuments"].list.type)
        else 0
    )
    captured = len(library[names[0]].signature.input_arg) - len(node.attr["Targuments"].list.type)
    return Call(tuple(names), skip=before, types="Targuments", captured=captured)


@attrs.frozen
class Callee:
    """What a call calls.

    Args:
        name: of the function.
        nodes: copies of its nodes, to be changed, whose attrs are those of this call.
        arguments: name and data type number of each tensor that it takes.
        results: the same of each that it gives.
        returned: which tensors of the function those are.
        ends: names of the nodes that have to run, whoever reads them.
        flows: whether it has a loop or branch of TensorFlow 1 in it.
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
        cls, function: Message, given: Mapping[str, Message], library: Mapping[str, Message]
    ) -> Callee | None:
        """Look at a function.

        Args:
            function: the FunctionDef.
            given: the attrs that a call gives.
            library: FunctionDefs by name.

        Returns:
            The callee; None where not all that its nodes take and give is known here.
        """
        signature = function.signature
        if any(arg.number_attr or arg.type_list_attr for arg in signature.output_arg):
            return None
        call = schema.NodeDef(name=signature.name, op=signature.name)
        for name, value in given.items():
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

    def given(self, data: Sequence[str]) -> dict[str, str]:
        """Name what is passed, by what the function calls it."""
        tensors: dict[str, str] = {}
        counts: dict[str, int] = {}
        for text, (name, _) in zip(data, self.arguments, strict=True):
            tensors[f"{name}:{counts.get(name, 0)}"] = text
            tensors.setdefault(name, text)
            counts[name] = counts.get(name, 0) + 1
        return tensors

    def outputs(self, node: Message) -> Iterator[tuple[str, int]]:
        """Give what the function calls each output of one of its nodes, and its index."""
        op = ops.definition(node.op, self.library)
        first: dict[str, int] = {}
        ports = ops.ports(node, op.output_arg, op) if op is not None else ()
        for index, (name, _) in enumerate(ports):
            if name not in first:
                yield f"{node.name}:{name}", index
            yield f"{node.name}:{name}:{index - first.setdefault(name, index)}", index

    def _is_whole(self) -> bool:
        """Whether all that is read comes from somewhere."""
        known = {*self.given([""] * len(self.arguments))}
        for node in self.nodes:
            if ops.definition(node.op, self.library) is None:
                return False
            known |= {text for text, _ in self.outputs(node)}
        names = {node.name for node in self.nodes} | {name for name, _ in self.arguments}
        read = [*self.returned, *(text for node in self.nodes for text in node.input)]
        waits = {text[1:] for text in read if text[:1] == "^"}
        return waits <= names and {t for t in read if t[:1] != "^"} <= known

    def __len__(self) -> int:
        return sum(1 + (node.ByteSize() >> 10) for node in self.nodes)


def _settled(value: Message, call: Message, signature: Message) -> bool:
    """Put a call's own attrs in the places that wait for them; tell if all are there."""
    kind = value.WhichOneof("value")
    if kind == "placeholder":
        found = ops.attr(call, value.placeholder, signature)
        if found is None or found.WhichOneof("value") == "placeholder":
            return False
        value.CopyFrom(found)
        return True
    called = [value.func] if kind == "func" else value.list.func if kind == "list" else ()
    return all(_settled(one, call, signature) for func in called for one in func.attr.values())
