"""What a few exact ops give for constants, computed with numpy.

Only ops are here whose results numpy and every TensorFlow give bit by bit alike: comparisons,
logic, the four operations of IEEE arithmetic, and whatever only moves elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from tfpersist.errors import TFPersistError
from tfpersist.formats import dtypes, tensor_proto
from tfpersist.formats.schema import Message
from tfpersist.graph import ops

Array = np.ndarray[Any, Any]
# numpy calculates in these types what TensorFlow does.
_EXACT = frozenset({"bool", "int32", "int64", "float32", "float64"})
_Evaluate = Callable[[Message, Sequence[Array]], Array | None]
# Elements of the largest result that is computed, where it may be larger than what it is made of:
# two constants of a file can multiply to more than any memory holds.
_LARGEST = 1 << 20


def evaluate(node: Message, inputs: Sequence[Array]) -> Array | None:
    """Compute the only output of a node.

    Args:
        node: the NodeDef.
        inputs: the values of its data inputs.

    Returns:
        The value; None where this module does not compute the op, its types or these values.

    Example:
        >>> from tfpersist.formats import schema
        >>> node = schema.NodeDef(name="not", op="LogicalNot", input=["x"])
        >>> evaluate(node, [np.array(False)])
        array(True)
    """
    compute = _OPS.get(node.op)
    if compute is None or any(array.dtype.name not in _EXACT for array in inputs):
        return None
    try:
        with np.errstate(all="ignore"):
            value = compute(node, inputs)
    except (ValueError, TypeError, IndexError, OverflowError, MemoryError):
        return None
    types = ops.output_types(node)
    told = dtypes.by_number(types[0]) if types else None
    if value is None or told is None or told.numpy != value.dtype:
        return None
    return np.asarray(value)


def computes(op: str) -> bool:
    """Whether this module computes an op at all.

    Example:
        >>> computes("Add"), computes("Conv2D")
        (True, False)
    """
    return op in _OPS


def constant(node: Message) -> Array | None:
    """Give the value of a Const that is wholly in the graph; None for any other node."""
    if node.op != "Const" or "value" not in node.attr:
        return None
    try:
        return tensor_proto.to_array(node.attr["value"].tensor, file=f"node {node.name}")
    except TFPersistError:
        return None


def become_constant(node: Message, value: Array, controls: Sequence[str] = ()) -> None:
    """Make a node the Const of a value.

    Args:
        node: a NodeDef of the caller's own.
        value: what it gives.
        controls: the nodes that it waits for, as "^name".
    """
    node.op = "Const"
    node.ClearField("attr")
    node.ClearField("input")
    node.input.extend(controls)
    proto = tensor_proto.from_array(value)
    node.attr["dtype"].type = proto.dtype
    node.attr["value"].tensor.CopyFrom(proto)


def _numeric(function: Any) -> _Evaluate:
    def compute(node: Message, inputs: Sequence[Array]) -> Array | None:
        del node
        left, right = inputs
        elements = math.prod(np.broadcast_shapes(left.shape, right.shape))
        if elements > max(_LARGEST, left.size, right.size):
            return None
        return np.asarray(function(left, right))

    return compute


def _divide(node: Message, inputs: Sequence[Array]) -> Array | None:
    if inputs[0].dtype.kind != "f":
        return None  # Integers are divided in ways that differ.
    return _numeric(np.divide)(node, inputs)


def _cast(node: Message, inputs: Sequence[Array]) -> Array | None:
    target = dtypes.by_number(node.attr["DstT"].type)
    (value,) = inputs
    if target is None or target.name not in _EXACT:
        return None
    if value.dtype.kind == "f" and target.name in ("int32", "int64"):
        info = np.iinfo(target.name)
        if not np.all((value > float(info.min)) & (value < float(info.max))):
            return None  # The type cannot hold it: each processor gives its own.
    return value.astype(target.name)


def _squeeze(node: Message, inputs: Sequence[Array]) -> Array:
    told = ops.attr(node, "squeeze_dims", ops.definition(node.op))
    return np.squeeze(inputs[0], tuple(told.list.i) or None if told is not None else None)


def _range(node: Message, inputs: Sequence[Array]) -> Array | None:
    del node
    if inputs[0].dtype.kind != "i":
        return None
    numbers = range(*(int(one) for one in inputs))
    return np.array(numbers, inputs[0].dtype) if len(numbers) <= _LARGEST else None


def _pack(node: Message, inputs: Sequence[Array]) -> Array:
    return np.stack(inputs, node.attr["axis"].i if "axis" in node.attr else 0)


_OPS: Mapping[str, _Evaluate] = MappingProxyType(
    {
        "Identity": lambda _, inputs: inputs[0],
        "LogicalNot": lambda _, inputs: np.logical_not(inputs[0]),
        "LogicalAnd": _numeric(np.logical_and),
        "LogicalOr": _numeric(np.logical_or),
        "Equal": _numeric(np.equal),
        "NotEqual": _numeric(np.not_equal),
        "Less": _numeric(np.less),
        "LessEqual": _numeric(np.less_equal),
        "Greater": _numeric(np.greater),
        "GreaterEqual": _numeric(np.greater_equal),
        "Add": _numeric(np.add),
        "AddV2": _numeric(np.add),
        "Sub": _numeric(np.subtract),
        "Mul": _numeric(np.multiply),
        "RealDiv": _divide,
        "Neg": lambda _, inputs: np.negative(inputs[0]),
        "Cast": _cast,
        "Reshape": lambda _, inputs: inputs[0].reshape(inputs[1]),
        "ExpandDims": lambda _, inputs: np.expand_dims(inputs[0], int(inputs[1])),
        "Squeeze": _squeeze,
        "Pack": _pack,
        "ConcatV2": lambda _, inputs: np.concatenate(inputs[:-1], int(inputs[-1])),
        "Transpose": lambda _, inputs: np.ascontiguousarray(np.transpose(inputs[0], inputs[1])),
        "Range": _range,
    }
)
