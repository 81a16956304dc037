"""Recognize graphs in memory, and find names in a graph."""

from __future__ import annotations

import pytest

from tfpersist.errors import ArgumentError, NameNotFoundError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph, parse_text
from tfpersist.graph.describe.lookup import as_graph, contains, find, graph_in
from tfpersist.graph.describe.signature import Signature, sign
from tfpersist.graph.structure.names import TensorRef

TEXT = b"""node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
  node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: DT_FLOAT } } }"""


def test_a_graph_and_a_graphdef_are_graphs():
    graph = parse_text(TEXT)
    assert graph_in(graph) is graph
    assert as_graph(graph) is graph
    assert as_graph(graph.proto).proto == graph.proto
    assert as_graph(graph.proto).proto is not graph.proto


def test_a_graphdef_of_tensorflow_is_a_graph():
    import tensorflow as tf

    graph = parse_text(TEXT)
    foreign = tf.compat.v1.GraphDef.FromString(graph.proto.SerializeToString())
    assert as_graph(foreign).proto == graph.proto


@pytest.mark.parametrize(
    "value", [None, "model.pb", b"", schema.MetaGraphDef(), schema.NodeDef, 3], ids=repr
)
def test_anything_else_is_not(value):
    assert graph_in(value) is None
    with pytest.raises(ArgumentError, match=r"expected a GraphDef, got .*FrozenModel.load"):
        as_graph(value)


def test_names_of_the_graph_come_before_those_of_its_signature():
    graph = parse_text(TEXT)
    sign(graph, Signature({"image": "x:0", "y": "x:0"}, {"digit": "y:0"}))
    for name, expected in (
        ("x", "x:0"),
        ("y", "y:0"),
        ("image", "x:0"),
        ("digit", "y:0"),
        (TensorRef("y"), "y:0"),
    ):
        assert str(find(graph, name)) == f"{expected} float32[...]"
    with pytest.raises(NameNotFoundError):
        find(graph, "label")


def test_a_name_is_there_if_the_lookup_finds_it():
    graph = Graph(parse_text(TEXT).proto)
    assert contains(lambda name: find(graph, name), "y:0")
    assert not contains(lambda name: find(graph, name), "y:1")
