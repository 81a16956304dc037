"""Nodes that call functions: which inputs are arguments, which attrs say their types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import attrs

from tfpersist.formats.schema import Message
from tfpersist.graph.constants.rewrites import Held
from tfpersist.graph.structure import functions, ops

Helds = tuple["Held | None", ...]


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

    def arguments(self, inputs: Helds) -> Helds:
        """Line up what flows into the node with the functions' arguments."""
        return (None,) * self.captured + inputs[self.skip :]

    def redirect(self, node: Message, clones: Mapping[str, str]) -> None:
        """Let a node call other functions."""
        node.op = clones.get(node.op, node.op)
        for function in functions.references(node):
            function.name = clones.get(function.name, function.name)

    def retype(self, node: Message, arguments: Helds, returned: Helds) -> None:
        """Say in a node's attrs that values flow where handles did."""
        passed = arguments[self.captured :]
        for attr, helds in {self.types: passed, self.returns: returned}.items():
            if attr is not None and attr in node.attr:
                _retype(node.attr[attr].list.type, helds)
        if "output_shapes" in node.attr:
            for shape, one in zip(node.attr["output_shapes"].list.shape, returned, strict=False):
                if one is not None:
                    shape.Clear()
                    shape.unknown_rank = one.shape is None
                    for extent in one.shape or ():
                        shape.dim.add(size=extent)


def _retype(types: Sequence[int], helds: Helds) -> None:
    for index, one in enumerate(helds[: len(types)]):
        if one is not None:
            types[index] = one.dtype  # type: ignore[index]


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
