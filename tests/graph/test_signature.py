from __future__ import annotations

import json

import pytest

from tfpersist.formats import schema, varint
from tfpersist.formats.graphdef import Graph, parse_text, split
from tfpersist.graph.lowered import Lowered, Origin
from tfpersist.graph.names import TensorRef
from tfpersist.graph.signature import FIELD, Signature, describe, sign

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
