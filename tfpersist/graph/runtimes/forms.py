"""The forms of ops that another runtime cannot compute, though it has a converter for the op."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from tfpersist.formats import dtypes
from tfpersist.formats.schema import Message
from tfpersist.graph.runtimes.body import Body
from tfpersist.graph.runtimes.channels import channels, shape_of
from tfpersist.graph.structure.kinds import is_table

# A float32 next to the square root of 1/2.
_TOLERANCE = 1e-6


def refusal(node: Message, body: Body, target: str) -> str:
    """Return why a runtime cannot compute a node; "" if nothing is known against it.

    Args:
        node: the NodeDef.
        body: the nodes that it is among.
        target: the runtime.
    """
    if is_table(node.op):
        return _refusal_of_table(node, target)
    form = _FORMS.get((target, node.op))
    return "" if form is None or form[0](node, body) else form[1]


def dtypes_of(target: str, op: str) -> frozenset[int]:
    """Return the numbers of the data types that a runtime has; nothing if no list is known.

    Args:
        target: the runtime.
        op: the op that has a data type.
    """
    return _DTYPES.get(target, frozenset()) | _CAST_ONLY.get((target, op), frozenset())


def _refusal_of_table(table: Message, target: str) -> str:
    string = dtypes.BY_NAME["string"].number
    if target == "openvino" and any(value.type == string for value in table.attr.values()):
        return "has strings, for which OpenVINO needs the extension openvino-tokenizers"
    return _TABLES.get(target, "")


def _numbers(*names: str) -> frozenset[int]:
    return frozenset({0, *(dtypes.BY_NAME[name].number for name in names)})


_HANDLES = ("resource", "variant")
_WHOLE = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
# TensorFlow.js has float32, int32, bool, string and complex64. Its converter makes int32 of int64.
_DTYPES: Mapping[str, frozenset[int]] = MappingProxyType(
    {
        "onnx": _numbers("float16", "float32", "float64", *_WHOLE, "bool", "string", *_HANDLES),
        "tflite": _numbers(
            *("float16", "float32", "float64", *_WHOLE, "bool", "string", "complex64", *_HANDLES)
        ),
        "tfjs": _numbers(*("float32", "int32", "int64", "bool", "string", "complex64", *_HANDLES)),
    }
)
# Weights in fewer bits, and images, which are cast to another type.
_CAST_ONLY: Mapping[tuple[str, str], frozenset[int]] = MappingProxyType(
    {
        ("tfjs", "Cast"): _numbers("float16", "uint8"),
        ("tfjs", "Const"): _numbers("float16"),
        ("tfjs", "Placeholder"): _numbers("uint8"),
    }
)
# The converters of both take no operation that fills the tables of a frozen graph.
_TABLES: Mapping[str, str] = MappingProxyType(
    {
        "tflite": "is a table, which stays empty in TensorFlow Lite: inputs() can cut behind it",
        "tfjs": "is a table, which stays empty in TensorFlow.js: inputs() can cut behind it",
    }
)


def _is_in_gelu(node: Message, body: Body) -> bool:
    """Return whether an Erfc is the one of `0.5 * x * erfc(-x * sqrt(0.5))`."""
    readers = body.readers(node.name)
    inner = body.source(node.input[0])
    if len(readers) != 1 or readers[0].op != "Mul" or inner is None or inner.op != "Mul":
        return False
    negated, scale = _factors(inner, body)
    half, number = _factors(readers[0], body, besides=node.name)
    del number
    source = body.source(negated) if negated else None
    outer = body.source(half) if half else None
    if source is None or source.op != "Neg" or outer is None or outer.op != "Mul":
        return False
    x, factor = _factors(outer, body)
    return x == source.input[0] and _is_close(factor, 0.5) and _is_close(scale, math.sqrt(0.5))


def _factors(
    product: Message, body: Body, besides: str | None = None
) -> tuple[str | None, float | None]:
    """Return the other input of a product, and the number that it is multiplied with."""
    other, number = None, None
    for text in product.input[:2]:
        source = body.source(text)
        value = body.constant(text)
        if value is not None and value.size == 1:
            number = float(value.reshape(()))
        elif source is None or source.name != besides:
            other = text
    return other, number


def _is_close(number: float | None, expected: float) -> bool:
    return number is not None and abs(number - expected) < _TOLERANCE


def _fits_32_bits(node: Message, body: Body) -> bool:
    value = body.constant(node.name)
    is_long = node.attr["dtype"].type == dtypes.BY_NAME["int64"].number
    return value is None or not is_long or bool((abs(value) < 1 << 31).all())


def _counts_axes_from_the_front(node: Message, body: Body) -> bool:
    axes = body.constant(node.input[1])
    return axes is None or bool((axes >= 0).all())


def _has_one_group(node: Message, body: Body) -> bool:
    """Return whether a convolution is not grouped, for all that the shapes of the graph say."""
    filters = shape_of(node.input[1], body)
    if filters is None or len(filters) != 4:
        return True
    layout = node.attr["data_format"].s if "data_format" in node.attr else b"NHWC"
    number = channels(node.input[0], body, 1 if layout == b"NCHW" else -1)
    return number is None or number == filters[2]


def _has_known_elements(node: Message, body: Body) -> bool:
    shape = body.constant(node.input[0])
    return shape is not None and shape.ndim == 1 and bool((shape >= 0).all())


_FORMS: Mapping[tuple[str, str], tuple[Callable[[Message, Body], bool], str]] = MappingProxyType(
    {
        ("tfjs", "Const"): (
            _fits_32_bits,
            "has integers beyond 32 bits, which TensorFlow.js has not",
        ),
        ("tfjs", "Conv2D"): (
            _has_one_group,
            "is a grouped convolution, which TensorFlow.js has not",
        ),
        ("tfjs", "Transpose"): (
            _counts_axes_from_the_front,
            "counts axes from the end, which TensorFlow.js does not",
        ),
        ("tflite", "Erfc"): (_is_in_gelu, "is not the one of GELU, which TensorFlow Lite knows"),
        ("tflite", "TensorListReserve"): (
            _has_known_elements,
            "has elements of unknown shape, for which TensorFlow Lite needs a batch(): fix it for"
            " the model of Keras",
        ),
    }
)
