"""The inputs, outputs and attrs of TensorFlow's ops, without TensorFlow.

`ops.binpb` is an OpList of every op that TensorFlow 2.16 to 2.21 registers; tools/make_op_table.py
makes it. A function of a graph's library is an op too: its signature is an OpDef.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from importlib import resources

from tfpersist.errors import GraphError
from tfpersist.formats import dtypes, schema
from tfpersist.formats.schema import Message

# A node with more inputs or outputs of one name is refused.
MOST_PORTS = 1 << 20


@functools.cache
def table() -> Mapping[str, Message]:
    """Return the OpDefs of TensorFlow's own ops by name.

    Example:
        >>> table()["Split"].output_arg[0].number_attr
        'num_split'
    """
    encoded = resources.files(__package__).joinpath("ops.binpb").read_bytes()
    return {op.name: op for op in schema.OpList.FromString(encoded).op}


def definition(op: str, functions: Mapping[str, Message] | None = None) -> Message | None:
    """Return the OpDef of an op or of a library function.

    Args:
        op: the name of the op.
        functions: FunctionDefs by name.

    Returns:
        The OpDef; None if neither TensorFlow nor the library has such an op.
    """
    if functions and op in functions:
        return functions[op].signature
    return table().get(op)


def attr(node: Message, name: str, op: Message | None) -> Message | None:
    """Return an attr of a node, or the default of its op if the node does not have it.

    Args:
        node: the NodeDef.
        name: the name of the attr.
        op: the OpDef of the node; None for an unknown op.

    Returns:
        The AttrValue; None if there is no default either.
    """
    if name in node.attr:
        return node.attr[name]
    for attr_def in op.attr if op is not None else ():
        if attr_def.name == name and attr_def.HasField("default_value"):
            return attr_def.default_value
    return None


def ports(node: Message, args: Message, op: Message) -> Iterator[tuple[str, int]]:
    """Yield name and data type number of each input or output of a node.

    Args:
        node: the NodeDef.
        args: `op.input_arg` or `op.output_arg`.
        op: the OpDef of the node.

    Raises:
        GraphError: an attr that tells how many there are is missing or out of range.
    """
    for arg in args:
        ref = dtypes.REF_OFFSET if arg.is_ref else 0
        if arg.type_list_attr:
            value = attr(node, arg.type_list_attr, op)
            numbers = value.list.type if value is not None else ()
            _refuse_count(node, arg.type_list_attr, len(numbers))
            yield from ((arg.name, number) for number in numbers)
            continue
        count = 1
        if arg.number_attr:
            value = attr(node, arg.number_attr, op)
            count = value.i if value is not None else -1
            _refuse_count(node, arg.number_attr, count)
        number = arg.type
        if arg.type_attr:
            value = attr(node, arg.type_attr, op)
            number = value.type if value is not None else 0
        yield from ((arg.name, number + ref) for _ in range(count))


def _refuse_count(node: Message, attr_name: str, count: int) -> None:
    if not 0 <= count <= MOST_PORTS:
        raise GraphError(
            f"attr {attr_name!r} is not a valid number of tensors",
            where=f"node {node.name} ({node.op})",
            expected=f"0 to {MOST_PORTS:,}",
            found=count,
        )


def output_types(node: Message, functions: Mapping[str, Message] | None = None) -> list[int] | None:
    """Return the data type numbers of a node's outputs; None for an unknown op.

    Args:
        node: the NodeDef.
        functions: FunctionDefs by name.

    Raises:
        GraphError: as `ports`.

    Example:
        >>> node = schema.NodeDef(name="c", op="Const")
        >>> node.attr["dtype"].type = 1
        >>> output_types(node)
        [1]
    """
    op = definition(node.op, functions)
    return None if op is None else [number for _, number in ports(node, op.output_arg, op)]


@functools.cache
def defaults(op: str) -> Mapping[str, Message]:
    """Return the default values of the attrs of one of TensorFlow's own ops.

    Example:
        >>> defaults("MatMul")["transpose_a"].b
        False
    """
    op_def = table().get(op)
    attrs = op_def.attr if op_def is not None else ()
    return {attr.name: attr.default_value for attr in attrs if attr.HasField("default_value")}
