"""What a few exact ops give for constants, computed with numpy.

Only ops are here whose results numpy and every TensorFlow give bit by bit alike: comparisons,
logic, the four operations of IEEE arithmetic, and whatever only moves elements.
"""

from __future__ import annotations

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
_Evaluate = Callable[[Message, Sequence[Array]], Array]


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
            value = np.asarray(compute(node, inputs))
    except (ValueError, TypeError, IndexError, OverflowError, MemoryError):
        return None
    types = ops.output_types(node)
    told = dtypes.by_number(types[0]) if types else None
    return value if told is not None and told.numpy == value.dtype else None


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
    def compute(node: Message, inputs: Sequence[Array]) -> Array:
        del node
        left, right = inputs
        return np.asarray(function(left, right))

    return compute


def _divide(node: Message, inputs: Sequence[Array]) -> Array:
    del node
    if inputs[0].dtype.kind != "f":
        raise TypeError("integers are divided in ways that differ")
    return np.asarray(np.divide(*inputs))


def _cast(node: Message, inputs: Sequence[Array]) -> Array:
    target = dtypes.by_number(node.attr["DstT"].type)
    (value,) = inputs
    if target is None or target.name not in _EXACT:
        raise TypeError("a type that is not computed here")
    if value.dtype.kind == "f" and target.name in ("int32", "int64"):
        info = np.iinfo(target.name)
        if not np.all((value > float(info.min)) & (value < float(info.max))):
            raise ValueError("a number that the type cannot hold")
    return value.astype(target.name)


def _squeeze(node: Message, inputs: Sequence[Array]) -> Array:
    told = ops.attr(node, "squeeze_dims", ops.definition(node.op))
    return np.squeeze(inputs[0], tuple(told.list.i) or None if told is not None else None)


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
        "Range": lambda _, inputs: (
            np.arange(*(int(one) for one in inputs), dtype=inputs[0].dtype)
            if inputs[0].dtype.kind == "i"
            else np.array(None)
        ),
    }
)
