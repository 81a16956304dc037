"""Values that TensorFlow takes on trust: where one is wrong, it ends the process, not the call."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

from tfpersist.errors import GraphError
from tfpersist.formats import dtypes, graphdef, tensor_proto
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.nesting import refuse_endless

# tensorflow::TensorShape ends the process where one more is added to 254; arrays of older numpy
# have 32 at most.
_MOST_DIMENSIONS = 32
# Constants that repeat one value may be so much larger than the file.
_MOST_GROWTH = 10
_HARMLESS = frozenset({None, "s", "i", "f", "b", "placeholder"})


def refuse_unsound(graph: Graph) -> None:
    """Refuse what no TensorFlow could have written, or no TensorFlow could run.

    That is data types, shapes, sizes of constants, numbers of inputs and outputs, and calls without
    end. What a sound graph computes may still be too large or take too long: a Fill of any size, a
    loop, a shape to which nodes add dimensions.

    Args:
        graph: what is to be imported.

    Raises:
        GraphError: there is such a thing; the node or function is named.

    Example:
        >>> refuse_unsound(graphdef.parse_text(
        ...     b'node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: 67 } } }'))
        Traceback (most recent call last):
        tfpersist.errors.GraphError: node x (Placeholder): attr 'dtype' is unsound; got \
data type 67.
    """
    bodies = [graph.proto.node, *(function.node_def for function in graph.proto.library.function)]
    for node in (node for body in bodies for node in body):
        for name, value in node.attr.items():
            _refuse(next(_faults(value), None), node, name)
        if node.op == "Const" and "value" in node.attr and "dtype" in node.attr:
            told, held = node.attr["dtype"].type, node.attr["value"].tensor.dtype
            _refuse(f"data type {held} for {told}" if told != held else None, node, "value")
        _refuse_counts(node, graph)
    for function in graph.proto.library.function:
        for arg in (*function.signature.input_arg, *function.signature.output_arg):
            _refuse(_type_fault(arg.type), function.signature, arg.name)
        for name, value in function.attr.items():
            _refuse(next(_faults(value), None), function.signature, name)
    refuse_endless(graph.proto)


def refuse_growth(graph: Graph) -> None:
    """Refuse constants that repeat a value and are together out of proportion to the graph.

    Each takes its whole size in memory as soon as TensorFlow runs it. Initial values of a training
    graph may well be as large, and hardly ever run; those of a frozen graph are not there.

    Args:
        graph: what is to be run.

    Raises:
        GraphError: they are; the largest is named.
    """
    bodies = [(graph.proto.node, graph.payloads)]
    bodies += [(function.node_def, {}) for function in graph.proto.library.function]
    grown = [
        (growth, node)
        for nodes, apart in bodies
        for node in nodes
        if "value" in node.attr and node.name not in apart
        if (growth := _growth(node.attr["value"].tensor)) > 0
    ]
    total = sum(growth for growth, _ in grown)
    if total <= tensor_proto.LARGEST_EXPANSION:
        return
    held = sum(payload.spec.nbytes or 0 for payload in graph.payloads.values())
    most = max(_MOST_GROWTH * (graph.proto.ByteSize() + held), tensor_proto.LARGEST_EXPANSION)
    if total > most:
        largest = max(grown, key=lambda each: each[0])[1]
        raise GraphError(
            "constants that repeat one value are out of proportion to the graph",
            where=f"node {largest.name} ({largest.op})",
            expected=f"{most:,} bytes at most in all such constants",
            found=f"{total:,} bytes",
            advice="If the graph is your own, compute them with a Fill instead.",
        )


def _growth(tensor: Message) -> int:
    return 0 if tensor.tensor_content else _nbytes(tensor) - int(tensor.ByteSize())


def _refuse_counts(node: Message, graph: Graph) -> None:
    """Refuse a number of tensors that TensorFlow would make room for before it counts them."""
    function = graph.functions.get(node.op)
    taken, given = _counts(function.signature) if function is not None else _known(node.op)
    op = ops.definition(node.op, graph.functions) if taken or given else None
    for name in taken:
        value = ops.attr(node, name, op)
        if value is not None and value.i > len(node.input):
            _refuse(f"{value.i:,} for {len(node.input):,} inputs", node, name)
    for name in given:
        value = ops.attr(node, name, op)
        if value is not None and value.i > ops.MOST_PORTS:
            _refuse(f"{value.i:,} outputs", node, name)


@functools.cache
def _known(op: str) -> tuple[list[str], list[str]]:
    definition = ops.table().get(op)
    return ([], []) if definition is None else _counts(definition)


def _counts(op: Message) -> tuple[list[str], list[str]]:
    """Name the attrs that say how many tensors of one kind go in, and how many come out."""
    taken, given = ([arg.number_attr for arg in a] for a in (op.input_arg, op.output_arg))
    return [name for name in taken if name], [name for name in given if name]


def _refuse(fault: str | None, owner: Message, attr: str) -> None:
    if fault is not None:
        where = f"node {owner.name} ({owner.op})" if hasattr(owner, "op") else owner.name
        raise GraphError(f"attr {attr!r} is unsound", where=where, found=fault)


def _faults(value: Message) -> Iterator[str]:
    kind = value.WhichOneof("value")
    if kind in _HARMLESS:
        return
    if kind == "func":
        for inner in value.func.attr.values():
            yield from _faults(inner)
    elif kind == "list":
        for inner in value.list.func:
            for attr in inner.attr.values():
                yield from _faults(attr)
    holder = value.list if kind == "list" else value
    several = kind == "list"
    types = holder.type if several else [value.type] * (kind == "type")
    shapes = holder.shape if several else [value.shape] * (kind == "shape")
    tensors = holder.tensor if several else [value.tensor] * (kind == "tensor")
    yield from filter(None, map(_type_fault, types))
    yield from filter(None, (_shape_fault(shape, least=-1) for shape in shapes))
    for tensor in tensors:
        yield from filter(None, (_type_fault(tensor.dtype), _tensor_fault(tensor)))


def _type_fault(number: int) -> str | None:
    # 0 is what an attr holds that is not set, as in a function that waits for its types.
    return None if number == 0 or dtypes.by_number(number) else f"data type {number}"


def _shape_fault(shape: Message, least: int) -> str | None:
    sizes = [dim.size for dim in shape.dim]
    if len(sizes) > _MOST_DIMENSIONS:
        return f"{len(sizes)} dimensions"
    return f"shape {sizes}" if min(sizes, default=0) < least else None


def _tensor_fault(tensor: Message) -> str | None:
    fault = _shape_fault(tensor.tensor_shape, least=0)
    if fault or tensor.tensor_shape.unknown_rank:
        return fault or "a constant of unknown shape"
    nbytes = _nbytes(tensor)
    return f"a constant of {nbytes:,} bytes" if nbytes > graphdef.LARGEST else None


def _nbytes(tensor: Message) -> int:
    dtype = dtypes.by_number(tensor.dtype)
    elements: int = math.prod(dim.size for dim in tensor.tensor_shape.dim)
    return elements * max(dtype.size if dtype else 1, 1)
