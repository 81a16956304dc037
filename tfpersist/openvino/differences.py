"""Refuse what OpenVINO computes otherwise than TensorFlow, without a word.

Measured with OpenVINO 2026.4 on a CPU: it computes float64 and much of int32 as float32, int64 and
unsigned integers in 32 bits, and integers of 8 and 16 bits without wrapping around; ScatterNd does
not add. What is refused here is wrong for some values only, and nothing would say so.
`tests/runtimes/test_openvino.py` shows each of these differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import attrs
import numpy as np

from tfpersist.errors import UnsupportedError
from tfpersist.formats import dtypes
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Array
from tfpersist.graph.optimize import fold
from tfpersist.graph.runtimes import portability
from tfpersist.graph.structure.kinds import CONTROL_FLOW, PLACEHOLDERS, VARIABLES, is_table
from tfpersist.graph.structure.names import producer

# Integers up to this are the same as float32.
LARGEST_INTEGER = 1 << 24
WIDE_INTEGERS = frozenset({"int64", "uint32", "uint64"})
INTEGERS = WIDE_INTEGERS | {"int32"}
LARGE_CONSTANT = "OpenVINO computes int64 in 32 bits, and this constant is larger"
_NARROW_INTEGERS = frozenset({"int8", "uint8", "int16", "uint16"})
_WIDE_FLOATS = frozenset({"float64", "complex128"})
# A float32 is the same number in these; an integer may lose digits on the way.
_LIKE_FLOAT32 = frozenset({"float64", "float32", "float16", "bfloat16", "bool"})
# These move elements, and compute nothing.
_MOVING = (
    PLACEHOLDERS
    | CONTROL_FLOW
    | {
        *("Const", "Identity", "IdentityN", "StopGradient", "Reshape", "ExpandDims", "Squeeze"),
        *("Concat", "ConcatV2", "Pack", "Unpack", "Split", "SplitV", "Slice", "StridedSlice"),
        *("Gather", "GatherV2", "GatherNd", "Transpose", "Shape", "ShapeN", "Size", "Rank", "Tile"),
        *("BroadcastTo", "Fill", "Pad", "PadV2", "MirrorPad", "ReverseV2", "Select", "SelectV2"),
        *("If", "StatelessIf", "While", "StatelessWhile", "NoOp"),
        *("PartitionedCall", "StatefulPartitionedCall"),
    }
)
# These compare or choose numbers, and give none that is larger.
_COMPARING = frozenset(
    {"Cast", "Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual", "ArgMax"}
    | {"ArgMin", "Max", "Min", "Maximum", "Minimum", "Relu"}
)
# Small numbers become large ones in a few steps.
_PRODUCTS = frozenset(
    {"Mul", "Square", "Pow", "Prod", "LeftShift", "MatMul", "Einsum", "Sum", "Mean"}
    | {"BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"}
)
# What these give is small, whatever they get.
_COUNTS = frozenset({"Shape", "ShapeN", "Size", "Rank", "ArgMax", "ArgMin", "Where"})
# They read numbers beyond 32 bits as "to the end".
_ENDS = frozenset({"StridedSlice", "Slice"})
_MOST_SHOWN = 8


@attrs.frozen
class _Body:
    """The nodes of a graph or of a function, by name."""

    nodes: Mapping[str, Message]

    def source(self, text: str) -> Message | None:
        """Return the node that an input comes from; None for an argument of a function."""
        return self.nodes.get(producer(text))


def refuse(graph: Graph) -> None:
    """Raise if OpenVINO cannot read a graph, or would compute something else.

    Args:
        graph: the part of a graph to compute.

    Raises:
        UnsupportedError: it would; the error has the reason and the nodes.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> refuse(parse_text(b'''
        ...     node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_DOUBLE } } }
        ...     node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: DT_DOUBLE } } }
        ... '''))
        Traceback (most recent call last):
        tfpersist.errors.UnsupportedError: node y (Neg): OpenVINO computes float64 in fewer bits. \
Run the model with engine="tensorflow".
    """
    bodies = [_Body(graph.nodes)]
    bodies += [
        _Body({node.name: node for node in function.node_def})
        for function in graph.proto.library.function
    ]
    for reason, finds in _REASONS.items():
        found = [
            (node.name, node.op)
            for body in bodies
            for node in body.nodes.values()
            if finds(node, body)
        ]
        if found:
            raise refusal(reason, found)
    blockers = portability.check(graph, "openvino").blockers
    if blockers:
        unknown = [(blocker.node, blocker.op) for blocker in blockers]
        raise refusal("OpenVINO has no such op", unknown)


def refusal(reason: str, nodes: list[tuple[str, str]]) -> UnsupportedError:
    """Return the error for a graph that OpenVINO does not compute.

    Args:
        reason: why not.
        nodes: name and op of the nodes.
    """
    shown = ", ".join(f"node {name} ({op})" for name, op in nodes[:_MOST_SHOWN])
    hidden = len(nodes) - _MOST_SHOWN
    return UnsupportedError(
        reason,
        where=(shown + f" and {hidden} more" * (hidden > 0)) or None,
        advice='Run the model with engine="tensorflow".',
    )


def is_within(value: Array, least: int, most: int) -> bool:
    """Return whether all numbers of an array are in a range.

    Args:
        value: the array.
        least: the smallest number of the range.
        most: the largest.

    Example:
        >>> is_within(np.array([1, 2]), 0, 2), is_within(np.array([3]), 0, 2)
        (True, False)
    """
    return not value.size or bool(value.min() >= least and value.max() <= most)


def is_int32(value: Array) -> bool:
    """Return whether all numbers of an array are in the range of int32."""
    return is_within(value, -(1 << 31), (1 << 31) - 1)


def _types(node: Message) -> Iterator[str]:
    """Yield the names of the data types in the attrs of a node."""
    for value in node.attr.values():
        for number in (value.type, *value.list.type):
            dtype = dtypes.by_number(number % dtypes.REF_OFFSET)
            if dtype is not None:
                yield dtype.name


def _asserts(node: Message, body: _Body) -> bool:
    del body
    return bool(node.op == "Assert")


def _has_strings(node: Message, body: _Body) -> bool:
    del body
    return "string" in _types(node)


def _keeps_state(node: Message, body: _Body) -> bool:
    del body
    return node.op in VARIABLES or is_table(node.op)


def _is_too_exact(node: Message, body: _Body) -> bool:
    del body
    types = set(_types(node))
    if types.isdisjoint(_WIDE_FLOATS):
        return False
    return not types <= _LIKE_FLOAT32 if node.op == "Cast" else node.op not in _MOVING


def _wraps_around(node: Message, body: _Body) -> bool:
    del body
    is_safe = node.op in _MOVING or node.op in _COMPARING
    return not is_safe and not _NARROW_INTEGERS.isdisjoint(_types(node))


def _may_be_rounded(node: Message, body: _Body) -> bool:
    # Indices and axes are not what is multiplied.
    dtype = dtypes.by_number(node.attr["T"].type) if "T" in node.attr else None
    is_integer = dtype is not None and dtype.name in INTEGERS
    return is_integer and node.op in _PRODUCTS and _is_from_a_feed(node, body)


def _is_from_a_feed(node: Message, body: _Body) -> bool:
    """Return whether a number comes from a feed, and not only from shapes and constants."""
    stack, seen = [node], {node.name}
    while stack:
        for text in stack.pop().input:
            source = body.source(text)
            if text.startswith("^") or (source is not None and source.name in seen):
                continue
            if source is None or source.op in PLACEHOLDERS:
                return True
            seen.add(source.name)
            if source.op not in _COUNTS and "bool" not in _types(source):
                stack.append(source)
    return False


def _is_too_large(node: Message, body: _Body) -> bool:
    if node.op != "Const" or WIDE_INTEGERS.isdisjoint(_types(node)):
        return False
    value = fold.constant_value(node)
    if value is None or is_int32(value):
        return False
    readers = (other for other in body.nodes.values() if node.name in map(producer, other.input))
    return any(reader.op not in _ENDS for reader in readers)


def _overwrites(node: Message, body: _Body) -> bool:
    """Return whether two updates may go to one place, where TensorFlow adds them."""
    if node.op != "ScatterNd":
        return False
    source = body.source(node.input[0])
    indices = None if source is None else fold.constant_value(source)
    if indices is None or not indices.ndim:
        return True
    rows = indices.reshape(-1, indices.shape[-1])
    return len(np.unique(rows, axis=0)) < len(rows)


_REASONS: Mapping[str, Callable[[Message, _Body], bool]] = MappingProxyType(
    {
        "OpenVINO checks no assertion": _asserts,
        "OpenVINO computes with strings only by the package openvino-tokenizers": _has_strings,
        "OpenVINO keeps no variables and tables": _keeps_state,
        "OpenVINO computes float64 in fewer bits": _is_too_exact,
        "OpenVINO does not let integers of 8 and 16 bits wrap around": _wraps_around,
        "OpenVINO computes integers as float32, and this may be too large": _may_be_rounded,
        LARGE_CONSTANT: _is_too_large,
        "OpenVINO does not add what ScatterNd puts into one place": _overwrites,
    }
)
