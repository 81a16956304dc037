"""Our own fields in the bytes of a GraphDef."""

from __future__ import annotations

from tfpersist.formats import schema, varint, wire
from tfpersist.formats.graphdef import Graph, split
from tfpersist.graph.describe.own_fields import add_field, read_field
from tfpersist.graph.structure.prune import prune


def test_a_field_travels_beside_those_of_tensorflow():
    graph = Graph(schema.GraphDef(node=[schema.NodeDef(name="x")]))
    data = bytes(range(256)) * 2
    add_field(graph, 18932, data)
    add_field(graph, 18933, b"")
    loaded = split(graph.proto.SerializeToString())
    assert read_field(loaded, 18932) == data
    assert read_field(loaded, 18933) == b""
    assert read_field(loaded, 18934) is None
    assert list(loaded.nodes) == ["x"]


def test_the_first_value_counts_and_varints_are_skipped():
    graph = Graph(schema.GraphDef())
    number = varint.encode(18932 << 3 | wire.VARINT) + varint.encode(5)
    graph.proto.versions.MergeFromString(number)
    assert read_field(graph, 18932) is None
    add_field(graph, 18932, b"first")
    add_field(graph, 18932, b"second")
    assert read_field(graph, 18932) == b"first"


def test_a_field_of_an_early_file_is_found():
    proto = schema.GraphDef()
    proto.MergeFromString(varint.encode(18932 << 3 | wire.BYTES) + b"\x02{}")
    assert read_field(Graph(proto), 18932) == b"{}"


def test_a_graph_with_such_fields_has_only_fields_of_tensorflow():
    graph = Graph(schema.GraphDef(versions={"producer": 21}))
    add_field(graph, 18932, b"{}")
    data = graph.proto.SerializeToString()
    assert [field.number for field in wire.fields(memoryview(data), 0, len(data), "")] == [4]
    assert graph.proto.versions.producer == 21


def test_a_pruned_graph_does_not_keep_the_fields():
    graph = Graph(schema.GraphDef(node=[schema.NodeDef(name="x", op="NoOp")]))
    add_field(graph, 18932, b"{}")
    assert read_field(prune(graph, ["x"]), 18932) is None


def test_tensorflow_reads_a_graph_with_such_fields():
    import tensorflow as tf

    graph = Graph(schema.GraphDef(node=[schema.NodeDef(name="x", op="NoOp")]))
    add_field(graph, 18932, b"{}")
    proto = tf.compat.v1.GraphDef.FromString(graph.proto.SerializeToString())
    with tf.Graph().as_default() as imported:
        tf.import_graph_def(proto, name="")
    assert [operation.name for operation in imported.get_operations()] == ["x"]
