"""A part has what the fetches need, and ends of its own."""

from __future__ import annotations

import numpy as np
import pytest

from tfpersist.errors import GraphError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph, parse_text, with_payload
from tfpersist.formats.tensors import TensorSpec, payload_of, spec_of
from tfpersist.graph.runtimes.part import SMALLEST_WEIGHT, cut, known_value, without_weights
from tfpersist.graph.structure.names import find_tensor

GRAPH = parse_text(
    b"""
    node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
    node { name: "other" op: "Placeholder" attr { key: "dtype" value { type: DT_INT32 } } }
    node { name: "c" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
      attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { } int_val: 3 } } } }
    node { name: "default" op: "PlaceholderWithDefault" input: "c"
      attr { key: "dtype" value { type: DT_INT32 } } attr { key: "shape" value { shape { } } } }
    node { name: "same" op: "Identity" input: "default" attr { key: "T" value { type: DT_INT32 } } }
    node { name: "split" op: "Split" input: "same" input: "x"
      attr { key: "T" value { type: DT_FLOAT } } attr { key: "num_split" value { i: 2 } } }
    node { name: "y" op: "Add" input: "split" input: "split:1"
      attr { key: "T" value { type: DT_FLOAT } } }
    node { name: "z" op: "Neg" input: "y:0" input: "^other"
      attr { key: "T" value { type: DT_FLOAT } } }
    """
)
VECTOR = TensorSpec("float32", (None,))


def part(feeds, *fetches, graph=GRAPH):
    return cut(graph, feeds, [find_tensor(graph, name) for name in fetches])


def edges(cut_part):
    return {node.name: list(node.input) for node in cut_part.graph.proto.node}


def test_a_part_begins_at_its_feeds_and_ends_at_its_fetches():
    before = GRAPH.proto.SerializeToString()
    found = part({"split:1": VECTOR, "split:0": VECTOR}, "y", "y")
    assert edges(found) == {
        "tfpersist_part/feed/0": [],
        "tfpersist_part/feed/1": [],
        "y": ["tfpersist_part/feed/1", "tfpersist_part/feed/0"],
        "tfpersist_part/fetch/0": ["y"],
        "tfpersist_part/fetch/1": ["y"],
    }
    assert found.feeds == ("tfpersist_part/feed/0", "tfpersist_part/feed/1")
    assert found.missing == ()
    fed = found.graph.nodes["tfpersist_part/feed/0"]
    assert (fed.op, fed.attr["dtype"].type, fed.attr["shape"].shape.dim[0].size) == (
        "Placeholder",
        1,
        -1,
    )
    assert GRAPH.proto.SerializeToString() == before


def test_what_is_not_fed_is_missing_or_has_a_default():
    found = part({"x:0": VECTOR}, "z")
    assert [str(ref) for ref in found.missing] == ["other:0 int32[...]"]
    default = found.graph.nodes["default"]
    assert (default.op, default.attr["T"].type, list(default.attr)) == ("Identity", 3, ["T"])
    fed = part({"x:0": VECTOR, "default:0": TensorSpec("int32", ())}, "y")
    assert "c" not in edges(fed)
    assert edges(fed)["same"] == ["tfpersist_part/feed/1"]


def test_the_second_output_of_a_node_is_fetched_by_its_number():
    assert edges(part({"x:0": VECTOR}, "split:1"))["tfpersist_part/fetch/0"] == ["split:1"]


def test_the_names_of_a_part_are_not_those_of_the_graph():
    proto = schema.GraphDef()
    proto.CopyFrom(GRAPH.proto)
    for node in proto.node:
        if node.name == "y":
            node.name = "tfpersist_part/feed/0"
        node.input[:] = ["tfpersist_part/feed/0" if each == "y:0" else each for each in node.input]
    found = part({"x:0": VECTOR, "other:0": TensorSpec("int32", ())}, "z", graph=Graph(proto))
    assert found.feeds[0] == "tfpersist_part_1/feed/0"
    assert edges(found)["z"] == ["tfpersist_part/feed/0", "^other"]


def test_large_numbers_are_apart_and_all_other_constants_inside():
    large = np.arange(SMALLEST_WEIGHT // 4, dtype=np.float32)
    values = {"large": large, "small": large[:-1], "flags": np.ones(SMALLEST_WEIGHT, bool)}
    values["in_a_loop"] = large
    nodes = []
    for name, value in values.items():
        nodes.append(schema.NodeDef(name=name))
        with_payload(nodes[-1], spec_of(value))
    nodes[-1].input.append("^flags")
    payloads = {name: payload_of(value) for name, value in values.items()}
    graph = Graph(schema.GraphDef(node=nodes), payloads)
    found, weights = without_weights(part({}, *values, graph=graph))
    assert list(weights) == ["large"]
    assert np.shares_memory(weights["large"].load(), large)
    inside = {name: node.attr["value"].tensor for name, node in found.nodes.items()}
    assert found.nodes["large"].op == "Placeholder"
    for name in ("small", "flags", "in_a_loop"):
        assert inside[name].tensor_content == values[name].tobytes()
    assert graph.nodes["large"].op == "Const"


def test_a_constant_is_known_through_what_passes_it_on():
    same = find_tensor(GRAPH, "same")
    assert known_value(GRAPH, same, ()) == 3
    assert known_value(GRAPH, same, {"default:0"}) is None
    assert known_value(GRAPH, same, {"c:0"}) is None
    assert known_value(GRAPH, find_tensor(GRAPH, "y"), ()) is None
    ring = parse_text(
        b'node { name: "a" op: "Identity" input: "b" } node { name: "b" op: "Identity" input: "a" }'
    )
    assert known_value(ring, find_tensor(ring, "a"), ()) is None


def test_an_input_that_is_not_in_the_graph_is_an_error():
    graph = parse_text(b'node { name: "y" op: "Neg" input: "gone" }')
    with pytest.raises(GraphError, match="node y"):
        part({}, "y", graph=graph)
