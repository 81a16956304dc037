"""Nodes of a graph or of a function, as rewordings see and change them."""

from __future__ import annotations

import numpy as np
import pytest

from tfpersist.formats.graphdef import parse_text
from tfpersist.graph.runtimes.body import Body

NUMBER = """node { name: "%s" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
  attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape { %s } float_val: 2 } } } } """
GRAPH = (
    NUMBER % ("two", "")
    + NUMBER % ("three", "dim { size: 3 }")
    + NUMBER % ("many", "dim { size: 1000000 }")
    + """node { name: "x" op: "Placeholder" } node { name: "same" op: "Identity" input: "two" }
    node { name: "twice" op: "Mul" input: "x" input: "same"
      attr { key: "T" value { type: DT_FLOAT } } }
    node { name: "less" op: "Less" input: "two" input: "twice:0" input: "^x" }
    node { name: "wide" op: "Mul" input: "x" input: "three" }
    node { name: "shape" op: "Shape" input: "x" }
    node { name: "extent" op: "StridedSlice" input: "shape"
      attr { key: "shrink_axis_mask" value { i: 1 } } }
    node { name: "part" op: "StridedSlice" input: "shape" }
    node { name: "third" op: "StridedSlice" input: "three"
      attr { key: "shrink_axis_mask" value { i: 1 } } }
    node { name: "table" op: "HashTableV2" } node { name: "dense" op: "MutableDenseHashTableV2" }
    node { name: "found" op: "LookupTableFindV2" input: "table" input: "twice" input: "two" }
    node { name: "other" op: "LookupTableFindV2" input: "dense" input: "twice" input: "two" }
    node { name: "sum" op: "AddV2" input: "x" input: "extent" }"""
)


@pytest.fixture
def body():
    return Body(parse_text(GRAPH.encode()).proto.node)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["x", "twice", "less:0", "found", "sum"], True),
        (["x", "wide"], False),
        (["x", "other"], False),
        (["two", "same"], True),
        (["three", "many"], False),
    ],
)
def test_shapes_that_are_the_same_for_sure(body, texts, expected):
    assert body.have_one_shape(texts) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("two", True), ("same", True), ("extent", True), ("third", True)),
        *(("three", False), ("part", False), ("x", False), ("gone", False), ("^two", False)),
    ],
)
def test_scalars(body, text, expected):
    assert body.is_scalar(text) == expected


def test_only_small_constants_have_a_value(body):
    """Large ones have their elements elsewhere."""
    assert body.constant("three").tolist() == [2, 2, 2]
    assert body.constant("many") is None


def test_a_number_waits_where_it_belongs(body):
    assert body.add_number(body.nodes["twice"], "half", 0.5) == "twice/half"
    node = body.nodes["twice/half"]
    assert list(node.input) == ["^x"]
    value = body.constant("twice/half")
    assert (value.dtype, float(value)) == (np.float32, 0.5)
    assert body.add_number(body.nodes["twice"], "half", 0.5) == "twice/half_1"


def test_outputs_in_a_function_have_names():
    graph = parse_text(
        b"""library { function { signature { name: "f" }
          node_def { name: "n" op: "AddV2" input: "a" input: "a" }
          node_def { name: "bn" op: "FusedBatchNormV3" input: "n:z:0" }
          node_def { name: "y" op: "Neg" input: "n:z:0" }
          ret { key: "r" value: "n:z:0" } ret { key: "s" value: "bn:reserve_space_3:0" } } }"""
    )
    (function,) = graph.proto.library.function
    body = Body(function.node_def, function)
    assert body.reads("bn", "reserve_space_3")
    assert not body.reads("bn", "reserve_space_2")
    body.nodes["n"].op = "Select"
    body.rename_output(body.nodes["n"], "AddV2")
    assert list(body.nodes["y"].input) == ["n:output:0"]
    assert function.ret["r"] == "n:output:0"
    body.nodes["n"].attr["T"].type = 1
    assert body.add(body.nodes["n"], "zeros", "ZerosLike", ["a"]) == "n/zeros:y:0"
