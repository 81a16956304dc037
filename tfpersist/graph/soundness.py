"""Values that TensorFlow takes on trust: where one is wrong, it ends the process, not the call."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tfpersist.errors import GraphError
from tfpersist.formats import dtypes, graphdef
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message

# tensorflow::TensorShape holds no more dimensions.
_MOST_DIMENSIONS = 254
_HARMLESS = frozenset({None, "s", "i", "f", "b", "placeholder"})


def refuse_unsound(graph: Graph) -> None:
    """Refuse data types, shapes and constants that no TensorFlow could have written.

    Args:
        graph: what is to be imported.

    Raises:
        GraphError: an attr holds one; the node is named.

    Example:
        >>> refuse_unsound(graphdef.parse_text(
        ...     b'node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: 67 } } }'))
        Traceback (most recent call last):
        tfpersist.errors.GraphError: node x (Placeholder): attr 'dtype' is unsound; found \
data type 67.
    """
    bodies = [graph.proto.node, *(function.node_def for function in graph.proto.library.function)]
    for node in (node for body in bodies for node in body):
        for name, value in node.attr.items():
            _refuse(next(_faults(value), None), node, name)
        if node.op == "Const" and "value" in node.attr and "dtype" in node.attr:
            told, held = node.attr["dtype"].type, node.attr["value"].tensor.dtype
            _refuse(f"data type {held} for {told}" if told != held else None, node, "value")
    for function in graph.proto.library.function:
        for arg in (*function.signature.input_arg, *function.signature.output_arg):
            _refuse(_type_fault(arg.type), function.signature, arg.name)
        for name, value in function.attr.items():
            _refuse(next(_faults(value), None), function.signature, name)


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
    dtype = dtypes.by_number(tensor.dtype)
    elements = math.prod(dim.size for dim in tensor.tensor_shape.dim)
    nbytes = elements * max(dtype.size if dtype else 1, 1)
    return f"a constant of {nbytes:,} bytes" if nbytes > graphdef.LARGEST else None
