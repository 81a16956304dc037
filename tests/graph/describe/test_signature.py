from __future__ import annotations

import json

import pytest

from tfpersist.formats import schema, varint
from tfpersist.formats.graphdef import Graph, parse_text, split
from tfpersist.graph.describe.own_fields import read_field
from tfpersist.graph.describe.signature import (
    FIELD,
    Proof,
    Signature,
    describe,
    inputs,
    labels_of,
    outputs,
    sign,
)
from tfpersist.graph.structure.lowered import Lowered, Origin
from tfpersist.graph.structure.names import Labels, TensorRef

FULL = Signature(
    {"Bild": "x:0"},
    {"naïve": "y:1"},
    "tfpersist/init",
    Origin("00ff", 7, "1.15.5"),
    Proof("ab" * 32, 1e-5),
)


def signed(data):
    tag = varint.encode(FIELD << 3 | 2)
    return split(tag + varint.encode(len(data)) + data)


@pytest.mark.parametrize("signature", [FULL, Signature()])
def test_it_travels_in_the_bytes_of_the_graph(signature):
    graph = Graph(schema.GraphDef(node=[schema.NodeDef(name="x")]))
    sign(graph, signature)
    loaded = split(graph.proto.SerializeToString())
    assert Signature.of(loaded) == signature
    assert [node.name for node in loaded.proto.node] == ["x"]


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[]", b"[" * 5000, b'{"inputs": 1, "origin": [], "init": {}}']
)
def test_unreadable_bytes_are_not_a_signature(data):
    found = Signature.of(signed(data))
    assert found is None or found == Signature()


def test_names_of_a_strange_kind_are_left_out():
    data = json.dumps(
        {
            "inputs": {"a": 1, "b": "b:0"},
            "origin": {"step": "x", "checkpoint": 3, "tensorflow": "2"},
        }
    )
    found = Signature.of(signed(data.encode()))
    assert found.inputs == {"b": "b:0"}
    assert found.origin == Origin(tensorflow="2")


def test_a_tensor_without_a_label_has_the_name_of_its_operation():
    graph = parse_text(
        b"""
        node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "z" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "tfpersist/init" op: "NoOp" }
        """
    )
    lowered = Lowered(graph, {}, labels=Labels({"image": "x:0", "other": "gone:0"}))
    found = describe(lowered, graph, [TensorRef("y", 0), TensorRef("split", 1)])
    assert found.inputs == {"image": "x:0", "z": "z:0"}
    assert found.outputs == {"y": "y:0", "split:1": "split:1"}
    assert found.init == "tfpersist/init"


def test_outputs_are_in_the_requested_order_and_inputs_in_that_of_the_source():
    graph = parse_text(
        b"""
        node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "z" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "mid" op: "Neg" input: "x" attr { key: "T" value { type: DT_FLOAT } } }
        node { name: "end" op: "Add" input: "mid" input: "z"
          attr { key: "T" value { type: DT_FLOAT } } }
        """
    )
    assert [ref.name for ref in inputs(graph)] == ["x:0", "z:0"]
    assert [ref.name for ref in outputs(graph)] == ["end:0"]
    asked = [TensorRef(name) for name in ("mid", "end", "mid", "z")]
    sign(graph, describe(Lowered(graph, {}, inputs=("z:0", "x:0")), graph, asked))
    loaded = split(graph.proto.SerializeToString())
    assert [ref.name for ref in inputs(loaded)] == ["z:0", "x:0"]
    assert [str(ref) for ref in outputs(loaded)] == [
        "mid:0 float32[...]",
        "end:0 float32[...]",
        "z:0 float32[...]",
    ]
    del loaded.proto.node[2:]
    assert outputs(Graph(loaded.proto)) == ()


def test_a_label_equal_to_another_output_s_name_keeps_both():
    graph = parse_text(b'node { name: "a" op: "NoOp" } node { name: "b" op: "NoOp" }')
    lowered = Lowered(graph, {}, labels=Labels({}, {"a": "b:0"}))
    found = describe(lowered, graph, [TensorRef("b"), TensorRef("a")])
    assert found.outputs == {"a": "b:0", "a:0": "a:0"}


def test_the_labels_of_a_graph_are_those_of_its_signature():
    graph = parse_text(b'node { name: "x" } node { name: "y" }')
    assert labels_of(graph) == Labels()
    sign(graph, Signature({"both": "x:0"}, {"both": "y:0"}))
    assert labels_of(graph) == Labels({"both": "x:0"}, {"both": "y:0"})


def test_an_operation_is_run_and_not_listed_as_a_tensor():
    graph = parse_text(
        b"""
        node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "all" op: "NoOp" }
        """
    )
    lowered = Lowered(graph, {}, labels=Labels({}, {"train": "all"}))
    sign(graph, describe(lowered, graph, [TensorRef("x")], ["all"]))
    assert Signature.of(graph).outputs == {"x": "x:0", "train": "all"}
    assert [ref.name for ref in outputs(graph)] == ["x:0"]
    alone = parse_text(b'node { name: "y" op: "MyOwn" } node { name: "all" op: "NoOp" }')
    sign(alone, describe(Lowered(alone, {}), alone, [], ["all"]))
    assert outputs(alone) == ()


def test_only_what_is_known_is_written():
    graph = Graph(schema.GraphDef())
    sign(graph, Signature({"x": "x:0"}, origin=Origin(step=0)))
    assert json.loads(read_field(graph, FIELD)) == {"inputs": {"x": "x:0"}, "origin": {"step": 0}}


@pytest.mark.parametrize(
    ("proof", "expected"),
    [
        ({"digest": "ab", "tolerance": 1}, Proof("ab", 1.0)),
        ({"digest": "ab"}, None),
        ({"tolerance": 0.1}, None),
        ({"digest": 7, "tolerance": 0.1}, None),
        ("ab", None),
    ],
)
def test_a_proof_has_a_digest_and_a_tolerance(proof, expected):
    assert Signature.of(signed(json.dumps({"proof": proof}).encode())).proof == expected
