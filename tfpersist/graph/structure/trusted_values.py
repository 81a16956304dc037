"""Refuse values that TensorFlow does not check: a wrong one ends the process, not the call."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping, Sequence

from tfpersist.errors import GraphError
from tfpersist.formats import dtypes, graphdef, tensor_proto
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.names import producer
from tfpersist.graph.structure.nesting import refuse_endless

# TensorFlow ends the process when a shape gets more than 254 dimensions, and nodes may add some.
# Arrays of older releases of numpy have at most 32.
_MOST_DIMENSIONS = 32
# Constants that repeat one value may take so many times the bytes of the graph.
_MOST_GROWTH = 10
# These read their second input as one number, without a look at its shape.
_TAKES_A_COUNT = frozenset(
    {"QueueDequeueMany", "QueueDequeueManyV2", "QueueDequeueUpTo", "QueueDequeueUpToV2"}
)
# TensorFlow ends the process if the number of dimensions that it infers for a GatherV2 is below -1.
# It infers it without a check where it does not know the axis, as (dimensions of the values) +
# (dimensions of the indices) - 1 - batch_dims.
_MOST_BATCH_DIMENSIONS = 1
# The names that ops give to inputs that are shapes. TensorFlow makes a list of as many unknown
# sizes as such a tensor has elements.
_SHAPE_INPUT = re.compile(r"(\w+_)?(shape|dims|size|begin)")
_MOST_SIZES = 1 << 16
_MOST_STEPS = 64
# The fields of an AttrValue that TensorFlow itself checks.
_CHECKED = frozenset({None, "s", "i", "f", "b", "placeholder"})


def refuse_invalid(graph: Graph) -> None:
    """Refuse a graph that TensorFlow cannot have written, or cannot run.

    Checked are data types, shapes, sizes of constants, numbers of inputs and outputs, and calls
    without end. A graph that passes may still compute something too large or for too long: a Fill
    of any size, a loop, a shape to which nodes add dimensions.

    Args:
        graph: the graph to import.

    Raises:
        GraphError: a value is invalid; the node or function is named.

    Example:
        >>> refuse_invalid(graphdef.parse_text(
        ...     b'node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: 67 } } }'))
        Traceback (most recent call last):
        tfpersist.errors.GraphError: node x (Placeholder): attr 'dtype' is invalid; got \
data type 67.
    """
    bodies = [graph.proto.node, *(function.node_def for function in graph.proto.library.function)]
    for body in bodies:
        _refuse_counts_and_shapes(body)
    for node in (node for body in bodies for node in body):
        for name, value in node.attr.items():
            _refuse(next(_faults(value), None), node, name)
        if node.op == "Const" and "value" in node.attr and "dtype" in node.attr:
            declared, actual = node.attr["dtype"].type, node.attr["value"].tensor.dtype
            if declared != actual:
                _refuse(f"data type {actual} for {declared}", node, "value")
        _refuse_counts(node, graph)
    for function in graph.proto.library.function:
        for arg in (*function.signature.input_arg, *function.signature.output_arg):
            _refuse(_type_fault(arg.type), function.signature, arg.name)
        for name, value in function.attr.items():
            _refuse(next(_faults(value), None), function.signature, name)
    refuse_endless(graph.proto)


def refuse_growth(graph: Graph) -> None:
    """Refuse constants that repeat one value, if they are too large for the size of the graph.

    A few bytes of the file become a whole tensor in memory when TensorFlow runs such a constant. Do
    not call this for a training graph: its initial values may be as large, and are hardly ever run.

    Args:
        graph: the frozen graph to run.

    Raises:
        GraphError: the constants are too large together; the largest is named.
    """
    bodies = [(graph.proto.node, graph.payloads)]
    bodies += [(function.node_def, {}) for function in graph.proto.library.function]
    growths = [
        (growth, node)
        for nodes, payloads in bodies
        for node in nodes
        if "value" in node.attr and node.name not in payloads
        if (growth := _growth(node.attr["value"].tensor)) > 0
    ]
    total = sum(growth for growth, _ in growths)
    if total <= tensor_proto.LARGEST_EXPANSION:
        return
    payload_bytes = sum(payload.spec.nbytes or 0 for payload in graph.payloads.values())
    graph_bytes = graph.proto.ByteSize() + payload_bytes
    most = max(_MOST_GROWTH * graph_bytes, tensor_proto.LARGEST_EXPANSION)
    if total > most:
        largest = max(growths, key=lambda pair: pair[0])[1]
        raise GraphError(
            "constants that repeat one value are too large for the size of the graph",
            where=f"node {largest.name} ({largest.op})",
            expected=f"at most {most:,} bytes in all such constants",
            found=f"{total:,} bytes",
            advice="If the graph is your own, compute them with a Fill instead.",
        )


def _growth(tensor: Message) -> int:
    """Return how many bytes a constant takes in memory beyond those that it takes in the graph."""
    return 0 if tensor.tensor_content else _nbytes(tensor) - int(tensor.ByteSize())


def _refuse_counts(node: Message, graph: Graph) -> None:
    """Refuse a number of inputs or outputs for which TensorFlow allocates before it checks it."""
    function = graph.functions.get(node.op)
    of_inputs, of_outputs = (
        _number_attrs(function.signature) if function is not None else _number_attrs_of(node.op)
    )
    op = ops.definition(node.op, graph.functions) if of_inputs or of_outputs else None
    for name in of_inputs:
        value = ops.attr(node, name, op)
        if value is not None and value.i > len(node.input):
            _refuse(f"{value.i:,} for {len(node.input):,} inputs", node, name)
    for name in of_outputs:
        value = ops.attr(node, name, op)
        if value is not None and value.i > ops.MOST_PORTS:
            _refuse(f"{value.i:,} outputs", node, name)


def _refuse_counts_and_shapes(body: Sequence[Message]) -> None:
    """Refuse inputs that are read as a number or as a shape, and cannot be one."""
    # Most graphs have none of these, and their inputs are not looked up.
    takers = [node for node in body if node.op in _TAKES_A_COUNT]
    gathers = [node for node in body if node.op == "GatherV2" and "batch_dims" in node.attr]
    has_long = any(_declared(node)[-1:] > [_MOST_SIZES] for node in body)
    nodes = {node.name: node for node in body} if takers or gathers or has_long else {}
    for node in takers:
        source = _source(node, 1, nodes)
        if source is None or source.op not in ("Const", "Placeholder") or _declared(source):
            _refuse_input(node, 1, "a Const or Placeholder that is one number")
    for node in gathers:
        count = node.attr["batch_dims"].i
        if not -_MOST_DIMENSIONS <= count <= _MOST_DIMENSIONS:
            _refuse(f"{count:,} dimensions", node, "batch_dims")
        source = _source(node, 2, nodes)
        if count > _MOST_BATCH_DIMENSIONS and (source is None or source.op != "Const"):
            _refuse_input(node, 2, f"a Const, because 'batch_dims' is {count}")
    for node in body if has_long else ():
        op = ops.table().get(node.op)
        names = [name for name, _ in ops.ports(node, op.input_arg, op)] if op is not None else []
        for index, name in enumerate(names):
            if _SHAPE_INPUT.fullmatch(name):
                source = _source(node, index, nodes)
                for _ in range(_MOST_STEPS):
                    if source is None or source.op not in ("Identity", "Cast"):
                        break
                    source = _source(source, 0, nodes)
                if source is not None and _declared(source)[-1:] > [_MOST_SIZES]:
                    _refuse_input(node, index, f"a shape of at most {_MOST_SIZES:,} dimensions")


def _declared(node: Message) -> list[int]:
    """Return the sizes that a placeholder or constant declares; none if it does not."""
    if node.op == "Const" and "value" in node.attr:
        shape = node.attr["value"].tensor.tensor_shape
    elif "shape" in node.attr:
        shape = node.attr["shape"].shape
    else:
        return []
    return [dim.size for dim in shape.dim]


def _source(node: Message, index: int, nodes: Mapping[str, Message]) -> Message | None:
    return nodes.get(producer(node.input[index])) if index < len(node.input) else None


def _refuse_input(node: Message, index: int, expected: str) -> None:
    raise GraphError(
        f"input {index} is not what this op reads",
        where=f"node {node.name} ({node.op})",
        expected=expected,
        found=f"{node.input[index]!r}" if index < len(node.input) else "none",
    )


@functools.cache
def _number_attrs_of(op: str) -> tuple[list[str], list[str]]:
    op_def = ops.table().get(op)
    return ([], []) if op_def is None else _number_attrs(op_def)


def _number_attrs(op: Message) -> tuple[list[str], list[str]]:
    """Return the attrs that are the number of inputs of one name, and those of outputs."""
    of_inputs = [arg.number_attr for arg in op.input_arg if arg.number_attr]
    of_outputs = [arg.number_attr for arg in op.output_arg if arg.number_attr]
    return of_inputs, of_outputs


def _refuse(fault: str | None, owner: Message, attr: str) -> None:
    if fault is not None:
        where = f"node {owner.name} ({owner.op})" if hasattr(owner, "op") else owner.name
        raise GraphError(f"attr {attr!r} is invalid", where=where, found=fault)


def _faults(value: Message) -> Iterator[str]:
    """Yield what is wrong with the value of an attr."""
    field = value.WhichOneof("value")
    if field in _CHECKED:
        return
    if field == "func":
        for inner in value.func.attr.values():
            yield from _faults(inner)
    elif field == "list":
        for function in value.list.func:
            for inner in function.attr.values():
                yield from _faults(inner)
    is_list = field == "list"
    types = value.list.type if is_list else [value.type] * (field == "type")
    shapes = value.list.shape if is_list else [value.shape] * (field == "shape")
    tensors = value.list.tensor if is_list else [value.tensor] * (field == "tensor")
    yield from filter(None, map(_type_fault, types))
    yield from filter(None, (_shape_fault(shape, least=-1) for shape in shapes))
    for tensor in tensors:
        yield from filter(None, (_type_fault(tensor.dtype), _tensor_fault(tensor)))


def _type_fault(number: int) -> str | None:
    # 0 stands for a type that is not set yet, as in a function whose types the call sets.
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
