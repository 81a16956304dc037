from __future__ import annotations

import json

import pytest

from tfpersist.formats import schema, varint
from tfpersist.formats.graphdef import Graph, parse_text, split
from tfpersist.graph.describe.signature import FIELD, Signature, describe, inputs, outputs, sign
from tfpersist.graph.structure.lowered import Lowered, Origin
from tfpersist.graph.structure.names import TensorRef

FULL = Signature(
    {"Bild": "x:0"},
    {"naïve": "y:1"},
    "tfpersist/init",
    Origin("00ff", 7, "1.15.5"),
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
def test_strange_bytes_say_nothing(data):
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


def test_what_has_no_label_goes_by_its_operation():
    graph = parse_text(
        b"""
        node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "z" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "tfpersist/init" op: "NoOp" }
        """
    )
    lowered = Lowered(graph, {}, labels={"image": "x:0", "other": "gone:0"})
    found = describe(lowered, graph, [TensorRef("y", 0), TensorRef("split", 1)])
    assert found.inputs == {"image": "x:0", "z": "z:0"}
    assert found.outputs == {"y": "y:0", "split:1": "split:1"}
    assert found.init == "tfpersist/init"


def test_outputs_are_in_the_order_asked_for_and_inputs_in_the_source_s():
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


def test_a_label_that_is_another_output_s_name_hides_none():
    graph = parse_text(b'node { name: "a" op: "NoOp" } node { name: "b" op: "NoOp" }')
    lowered = Lowered(graph, {}, labels={"a": "b:0"})
    found = describe(lowered, graph, [TensorRef("b"), TensorRef("a")])
    assert found.outputs == {"a": "b:0", "a:0": "a:0"}
