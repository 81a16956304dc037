"""Evaluate nodes whose inputs are constants, with numpy.

This module has only ops for which numpy and every TensorFlow give the same bits: comparisons,
logic, the operations and the square root of IEEE arithmetic, sums and products of integers, and
ops that only select or move elements. It has no exponentials, no sums of floats and the like: each
processor rounds them differently.
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
from tfpersist.formats.tensors import Array
from tfpersist.graph.structure import ops

# In these types numpy gives the same bits as TensorFlow.
_EXACT_DTYPES = frozenset({"bool", "int32", "int64", "float32", "float64"})
_MOVES_ELEMENTS = frozenset(
    {"Identity", "Reshape", "ExpandDims", "Squeeze", "Pack", "ConcatV2", "Transpose", "Fill"}
)
_COMPARES_STRINGS = frozenset({"Equal", "NotEqual"})
_Evaluator = Callable[[Message, Sequence[Array]], Array | None]
# The most elements of a result that is larger than its inputs: two small constants of a file can
# multiply to more than fits into memory.
_MOST_ELEMENTS = 1 << 20


def evaluate(node: Message, inputs: Sequence[Array]) -> Array | None:
    """Compute the single output of a node.

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
    evaluator = _EVALUATORS.get(node.op)
    is_exact = all(array.dtype.name in _EXACT_DTYPES for array in inputs)
    compares_strings = node.op in _COMPARES_STRINGS and all(map(_has_strings, inputs))
    if evaluator is None or not (is_exact or compares_strings):
        return None
    try:
        with np.errstate(all="ignore"):
            value = evaluator(node, inputs)
    except (ValueError, TypeError, IndexError, OverflowError, MemoryError):
        return None
    if value is None:
        return None
    if node.op not in _MOVES_ELEMENTS and any(map(_has_denormals, (*inputs, value))):
        return None
    numbers = ops.output_types(node)
    declared = dtypes.by_number(numbers[0]) if numbers else None
    if declared is None or declared.numpy != value.dtype:
        return None
    return np.asarray(value)


def _has_denormals(value: Array) -> bool:
    """Return whether a float is so small that TensorFlow treats it as zero on most processors."""
    if value.dtype.kind != "f":
        return False
    size = np.abs(value)
    return bool(((size > 0) & (size < np.finfo(value.dtype).tiny)).any())


def _has_strings(value: Array) -> bool:
    return value.dtype == object and all(isinstance(element, bytes) for element in value.flat)


def can_evaluate(op: str) -> bool:
    """Return whether this module computes an op at all.

    Example:
        >>> can_evaluate("Add"), can_evaluate("Conv2D")
        (True, False)
    """
    return op in _EVALUATORS


def constant_value(node: Message) -> Array | None:
    """Return the value of a Const whose bytes are in the graph; None for any other node."""
    if node.op != "Const" or "value" not in node.attr:
        return None
    try:
        return tensor_proto.to_array(node.attr["value"].tensor, file=f"node {node.name}")
    except TFPersistError:
        return None


def set_constant(node: Message, value: Array, controls: Sequence[str] = ()) -> None:
    """Turn a node into the Const of a value.

    Args:
        node: the NodeDef; it is changed in place.
        value: the value of the Const.
        controls: its control inputs, as "^name".
    """
    node.op = "Const"
    node.ClearField("attr")
    node.ClearField("input")
    node.input.extend(controls)
    proto = tensor_proto.from_array(value)
    node.attr["dtype"].type = proto.dtype
    node.attr["value"].tensor.CopyFrom(proto)


def _elementwise(function: Any) -> _Evaluator:
    def evaluator(node: Message, inputs: Sequence[Array]) -> Array | None:
        del node
        left, right = inputs
        elements = math.prod(np.broadcast_shapes(left.shape, right.shape))
        if elements > max(_MOST_ELEMENTS, left.size, right.size):
            return None
        return np.asarray(function(left, right))

    return evaluator


def _equality(function: Any) -> _Evaluator:
    compare = _elementwise(function)

    def evaluator(node: Message, inputs: Sequence[Array]) -> Array | None:
        value = compare(node, inputs)
        return None if value is None else value.astype(bool)

    return evaluator


def _extreme(function: Any) -> _Evaluator:
    """Return an evaluator of the larger or smaller of two inputs.

    It gives None where processors differ: for NaN, and for zeros of both signs.
    """
    choose = _elementwise(function)

    def evaluator(node: Message, inputs: Sequence[Array]) -> Array | None:
        if any(value.dtype.kind == "f" and np.isnan(value).any() for value in inputs):
            return None
        signs = [np.signbit(value[value == 0]) for value in map(np.atleast_1d, inputs)]
        return choose(node, inputs) if len(np.unique(np.concatenate(signs))) < 2 else None

    return evaluator


def _reduction(function: Any, kinds: str) -> _Evaluator:
    """Return an evaluator that reduces some axes of values of the given numpy kinds."""

    def evaluator(node: Message, inputs: Sequence[Array]) -> Array | None:
        value, axes = inputs
        if value.dtype.kind not in kinds or not value.size:
            return None
        if value.dtype.kind == "f" and not np.all(np.abs(value) > 0):
            return None
        keepdims = "keep_dims" in node.attr and node.attr["keep_dims"].b
        axis = tuple(int(number) for number in np.atleast_1d(axes))
        return np.asarray(function(value, axis=axis, keepdims=keepdims), value.dtype)

    return evaluator


def _fill(node: Message, inputs: Sequence[Array]) -> Array | None:
    del node
    dims, value = inputs
    if value.ndim or math.prod(int(extent) for extent in dims) > _MOST_ELEMENTS:
        return None
    return np.full(dims, value)


def _sqrt(node: Message, inputs: Sequence[Array]) -> Array | None:
    del node
    # Processors give different NaNs for a negative number.
    return np.sqrt(inputs[0]) if np.all(inputs[0] >= 0) else None


def _divide(node: Message, inputs: Sequence[Array]) -> Array | None:
    # The division of integers rounds differently in numpy.
    return _elementwise(np.divide)(node, inputs) if inputs[0].dtype.kind == "f" else None


def _cast(node: Message, inputs: Sequence[Array]) -> Array | None:
    dtype = dtypes.by_number(node.attr["DstT"].type)
    (value,) = inputs
    if dtype is None or dtype.name not in _EXACT_DTYPES:
        return None
    if value.dtype.kind == "f" and dtype.name in ("int32", "int64"):
        # Processors give different integers for a number that the type cannot hold.
        info = np.iinfo(dtype.name)
        if not np.all((value > float(info.min)) & (value < float(info.max))):
            return None
    return value.astype(dtype.name)


def _squeeze(node: Message, inputs: Sequence[Array]) -> Array:
    axes = ops.attr(node, "squeeze_dims", ops.definition(node.op))
    return np.squeeze(inputs[0], tuple(axes.list.i) or None if axes is not None else None)


def _range(node: Message, inputs: Sequence[Array]) -> Array | None:
    del node
    if inputs[0].dtype.kind != "i":
        return None
    numbers = range(*(int(value) for value in inputs))
    return np.array(numbers, inputs[0].dtype) if len(numbers) <= _MOST_ELEMENTS else None


def _pack(node: Message, inputs: Sequence[Array]) -> Array:
    return np.stack(inputs, node.attr["axis"].i if "axis" in node.attr else 0)


_EVALUATORS: Mapping[str, _Evaluator] = MappingProxyType(
    {
        "Identity": lambda _, inputs: inputs[0],
        "LogicalNot": lambda _, inputs: np.logical_not(inputs[0]),
        "LogicalAnd": _elementwise(np.logical_and),
        "LogicalOr": _elementwise(np.logical_or),
        "Equal": _equality(np.equal),
        "NotEqual": _equality(np.not_equal),
        "Less": _elementwise(np.less),
        "LessEqual": _elementwise(np.less_equal),
        "Greater": _elementwise(np.greater),
        "GreaterEqual": _elementwise(np.greater_equal),
        "Add": _elementwise(np.add),
        "AddV2": _elementwise(np.add),
        "Sub": _elementwise(np.subtract),
        "Mul": _elementwise(np.multiply),
        "RealDiv": _divide,
        "Maximum": _extreme(np.maximum),
        "Minimum": _extreme(np.minimum),
        "Max": _reduction(np.max, "if"),
        "Min": _reduction(np.min, "if"),
        "Sum": _reduction(np.sum, "i"),
        "Prod": _reduction(np.prod, "i"),
        "Any": _reduction(np.any, "b"),
        "All": _reduction(np.all, "b"),
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
