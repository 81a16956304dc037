"""Ops that OpenVINO computes otherwise are refused by name, and the others are not.

`tests/runtimes/test_openvino.py` shows with OpenVINO that the differences are real.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from tfpersist.errors import UnsupportedError
from tfpersist.formats.graphdef import parse_text
from tfpersist.openvino import differences

NUMBERS = {
    **{"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "string": 7},
    **{"int64": 9, "bool": 10, "float16": 19, "resource": 20},
}


def node(name, op, *inputs, **attrs):
    text = "".join(f' input: "{each}"' for each in inputs)
    for key, value in attrs.items():
        form = f"type: {NUMBERS[value]}" if isinstance(value, str) else f"i: {value}"
        text += f' attr {{ key: "{key}" value {{ {form} }} }}'
    return f'node {{ name: "{name}" op: "{op}"{text} }}'


def constant(name, dtype, *values):
    field = "int64_val" if dtype == "int64" else "int_val"
    elements = " ".join(f"{field}: {value}" for value in values)
    # A column: ScatterNd takes one index in each row.
    shape = f"dim {{ size: {len(values)} }} dim {{ size: 1 }}"
    return node(name, "Const", dtype=dtype).removesuffix("}") + (
        f' attr {{ key: "value" value {{ tensor {{ dtype: {NUMBERS[dtype]}'
        f" tensor_shape {{ {shape} }} {elements} }} }} }} }}"
    )


def feed(dtype):
    return node("x", "Placeholder", dtype=dtype)


REFUSED = {
    "float64": ([feed("float64"), node("y", "Neg", "x", T="float64")], "node y (Neg)", "float64"),
    "int to float64": (
        [feed("int32"), node("y", "Cast", "x", SrcT="int32", DstT="float64")],
        "node y (Cast)",
        "float64",
    ),
    "bytes": ([feed("uint8"), node("y", "AddV2", "x", "x", T="uint8")], "node y", "wrap around"),
    "int8 product": (
        [feed("int8"), node("y", "BatchMatMulV3", "x", "x", Ta="int8", Tb="int8", Tout="int32")],
        "node y (BatchMatMulV3)",
        "wrap around",
    ),
    "product": ([feed("int64"), node("y", "Mul", "x", "x", T="int64")], "node y (Mul)", "float32"),
    "sum": ([feed("int32"), node("y", "Sum", "x", T="int32")], "node y (Sum)", "too large"),
    "constant": (
        [feed("int64"), constant("c", "int64", 1 << 40), node("y", "AddV2", "x", "c", T="int64")],
        "node c (Const)",
        "64 in 32 bits",
    ),
    "scatter": (
        [constant("i", "int32", 0, 0), node("y", "ScatterNd", "i", "x", "i", T="float32")],
        "node y (ScatterNd)",
        "does not add",
    ),
    "string": ([feed("string")], "node x", "openvino-tokenizers"),
    "table": ([node("t", "HashTableV2")], "node t (HashTableV2)", "tables"),
    "variable": ([node("v", "VarHandleOp", dtype="float32")], "node v (VarHandleOp)", "variables"),
    "assertion": ([node("a", "Assert", "x")], "node a (Assert)", "assertion"),
    "unknown": ([node("y", "NoSuchOp")], "node y (NoSuchOp)", "no such op"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_difference_is_refused_with_its_node(name):
    nodes, where, reason = REFUSED[name]
    graph = parse_text("".join(nodes).encode())
    with pytest.raises(UnsupportedError, match=f"{re.escape(where)}.*{reason}.*engine="):
        differences.refuse(graph)


ALIKE = {
    "float32": [feed("float32"), node("y", "Neg", "x", T="float32")],
    "float64 cast": [feed("float64"), node("y", "Cast", "x", SrcT="float64", DstT="float32")],
    "float64 moved": [feed("float64"), node("y", "Reshape", "x", "x", T="float64")],
    "bytes cast": [feed("uint8"), node("y", "Cast", "x", SrcT="uint8", DstT="float32")],
    "ids": [feed("int64"), node("y", "AddV2", "x", "x", T="int64")],
    "shape": [
        *(feed("int64"), node("s", "Shape", "x", T="int64", out_type="int64")),
        node("y", "Prod", "s", "s", T="int64"),
    ],
    "counts": [
        *(feed("int32"), node("b", "Equal", "x", "x", T="int32")),
        *(node("c", "Cast", "b", SrcT="bool", DstT="int32"), node("y", "Sum", "c", T="int32")),
    ],
    "to the end": [
        *(feed("float32"), constant("c", "int64", (1 << 63) - 1)),
        node("y", "StridedSlice", "x", "c", "c", "c", T="float32", Index="int64"),
    ],
    "scatter": [
        *(feed("float32"), constant("i", "int32", 1, 0)),
        node("y", "ScatterNd", "i", "x", "i", T="float32"),
    ],
    "random numbers": [feed("int32"), node("y", "RandomUniform", "x", seed=3)],
}


@pytest.mark.parametrize("name", ALIKE)
def test_what_is_computed_alike_is_not_refused(name):
    graph = parse_text("".join(ALIKE[name]).encode())
    assert {"x", "y"} <= graph.nodes.keys()
    differences.refuse(graph)


def test_bodies_of_functions_are_looked_into():
    body = node("y", "Mul", "a", "a", T="int64").replace("node {", "node_def {", 1)
    graph = parse_text(f'library {{ function {{ signature {{ name: "f" }} {body} }} }}'.encode())
    with pytest.raises(UnsupportedError, match=r"node y \(Mul\)"):
        differences.refuse(graph)


def test_a_long_list_of_nodes_is_cut():
    many = "".join(node(f"n{number}", "Assert") for number in range(10))
    with pytest.raises(UnsupportedError, match=r"node n7 \(Assert\) and 2 more: OpenVINO"):
        differences.refuse(parse_text(many.encode()))


def test_ranges_include_their_ends():
    assert differences.is_int32(np.array([-(1 << 31), (1 << 31) - 1]))
    assert not differences.is_int32(np.array([-(1 << 31) - 1]))
    assert not differences.is_int32(np.array([1 << 63], np.uint64))
    assert differences.is_within(np.zeros(0, np.int64), 1, 0)
