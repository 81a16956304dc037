"""What a few exact ops give for constants, computed with numpy.

Only ops are here whose results numpy and every TensorFlow give bit by bit alike: comparisons,
logic, the operations and the square root of IEEE arithmetic, sums and products of integers, and
whatever only chooses or moves elements. Exponentials, sums of floats and the like are not: each
processor rounds them its own way.
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
from tfpersist.graph.structure import ops

Array = np.ndarray[Any, Any]
# numpy calculates in these types what TensorFlow does.
_EXACT = frozenset({"bool", "int32", "int64", "float32", "float64"})
_MOVE = frozenset(
    {"Identity", "Reshape", "ExpandDims", "Squeeze", "Pack", "ConcatV2", "Transpose", "Fill"}
)
_OF_TEXTS = frozenset({"Equal", "NotEqual"})
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
    exact = all(array.dtype.name in _EXACT for array in inputs)
    if compute is None or not (exact or (node.op in _OF_TEXTS and all(map(_is_text, inputs)))):
        return None
    try:
        with np.errstate(all="ignore"):
            value = compute(node, inputs)
    except (ValueError, TypeError, IndexError, OverflowError, MemoryError):
        return None
    if value is not None and node.op not in _MOVE and any(map(_is_tiny, (*inputs, value))):
        return None
    types = ops.output_types(node)
    told = dtypes.by_number(types[0]) if types else None
    if value is None or told is None or told.numpy != value.dtype:
        return None
    return np.asarray(value)


def _is_tiny(value: Array) -> bool:
    """Whether a number is so small that TensorFlow takes it for zero, on most processors."""
    if value.dtype.kind != "f":
        return False
    size = np.abs(value)
    return bool(((size > 0) & (size < np.finfo(value.dtype).tiny)).any())


def _is_text(value: Array) -> bool:
    return value.dtype == object and all(isinstance(one, bytes) for one in value.flat)


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


def _equal(function: Any) -> _Evaluate:
    numeric = _numeric(function)

    def compute(node: Message, inputs: Sequence[Array]) -> Array | None:
        value = numeric(node, inputs)
        return None if value is None else value.astype(bool)

    return compute


def _extreme(function: Any) -> _Evaluate:
    """The larger or smaller of two, where nothing hangs on how it is chosen."""
    numeric = _numeric(function)

    def compute(node: Message, inputs: Sequence[Array]) -> Array | None:
        if any(value.dtype.kind == "f" and np.isnan(value).any() for value in inputs):
            return None  # What is no number is passed on by some, and by others not.
        zeros = [np.signbit(value[value == 0]) for value in map(np.atleast_1d, inputs)]
        return numeric(node, inputs) if len(np.unique(np.concatenate(zeros))) < 2 else None

    return compute


def _reduced(function: Any, kinds: str) -> _Evaluate:
    def compute(node: Message, inputs: Sequence[Array]) -> Array | None:
        value, axes = inputs
        if value.dtype.kind not in kinds or not value.size:
            return None
        if value.dtype.kind == "f" and not np.all(np.abs(value) > 0):
            return None
        keep = "keep_dims" in node.attr and node.attr["keep_dims"].b
        chosen = tuple(int(axis) for axis in np.atleast_1d(axes))
        return np.asarray(function(value, axis=chosen, keepdims=keep), value.dtype)

    return compute


def _fill(node: Message, inputs: Sequence[Array]) -> Array | None:
    del node
    dims, value = inputs
    if value.ndim or math.prod(int(extent) for extent in dims) > _LARGEST:
        return None
    return np.full(dims, value)


def _sqrt(node: Message, inputs: Sequence[Array]) -> Array | None:
    del node
    # Of a negative number, processors give what is no number in ways of their own.
    return np.sqrt(inputs[0]) if np.all(inputs[0] >= 0) else None


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
        "Equal": _equal(np.equal),
        "NotEqual": _equal(np.not_equal),
        "Less": _numeric(np.less),
        "LessEqual": _numeric(np.less_equal),
        "Greater": _numeric(np.greater),
        "GreaterEqual": _numeric(np.greater_equal),
        "Add": _numeric(np.add),
        "AddV2": _numeric(np.add),
        "Sub": _numeric(np.subtract),
        "Mul": _numeric(np.multiply),
        "RealDiv": _divide,
        "Maximum": _extreme(np.maximum),
        "Minimum": _extreme(np.minimum),
        "Max": _reduced(np.max, "if"),
        "Min": _reduced(np.min, "if"),
        "Sum": _reduced(np.sum, "i"),
        "Prod": _reduced(np.prod, "i"),
        "Any": _reduced(np.any, "b"),
        "All": _reduced(np.all, "b"),
        "Abs": lambda _, inputs: np.abs(inputs[0]),
        "Square": lambda _, inputs: np.square(inputs[0]),
        "Sqrt": _sqrt,
        "Floor": lambda _, inputs: np.floor(inputs[0]),
        "Ceil": lambda _, inputs: np.ceil(inputs[0]),
        "Fill": _fill,
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
