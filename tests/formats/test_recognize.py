"""Files that are taken for a graph and are something else."""

from __future__ import annotations

import pytest

from tfpersist.formats import recognize, schema

KINDS = {
    "keras HDF5": (b"\x89HDF\r\n\x1a\n\0\0", "model.h5", "HDF5"),
    "keras zip": (b"PK\x03\x04....", "model.keras", "zip"),
    "gzip": (b"\x1f\x8b\x08\0", "model.pb.gz", "gzip"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3....", "model.tflite", "Lite"),
    "index": (bytes(40) + bytes.fromhex("57fb808b247547db"), "m.index", "index"),
    "data shard": (bytes(16), "model.ckpt.data-00000-of-00001", "data shard"),
    "state file": (b'model_checkpoint_path: "m"\n', "checkpoint", "state file"),
    "meta as text": (b"meta_info_def {\n}", "m.meta.pbtxt", "MetaGraphDef"),
    "SavedModel as text": (b"saved_model_schema_version: 1\n", "saved_model.pbtxt", "SavedModel"),
}


@pytest.mark.parametrize(("data", "name", "kind"), KINDS.values(), ids=KINDS)
def test_a_file_is_recognized(data, name, kind):
    kind_of_file = recognize.by_magic(memoryview(data), name)
    assert kind_of_file is not None
    assert kind in kind_of_file.name
    assert kind_of_file.advice.endswith(".")


def graph_def() -> object:
    return schema.GraphDef(node=[schema.NodeDef(name="a", op="NoOp")])


def test_messages_are_recognized_by_their_content():
    meta = schema.MetaGraphDef(graph_def=graph_def())
    meta.meta_info_def.tensorflow_version = "1.15.5"
    saved = schema.SavedModel(saved_model_schema_version=1, meta_graphs=[meta])
    assert "meta" in recognize.by_content(memoryview(meta.SerializeToString())).name
    assert "SavedModel" in recognize.by_content(memoryview(saved.SerializeToString())).name
    assert recognize.by_content(memoryview(graph_def().SerializeToString())) is None
    assert recognize.by_content(memoryview(b"no message at all")) is None


def test_a_graph_is_real_if_each_node_has_a_name_and_an_op():
    assert recognize.is_real_graph(graph_def())
    assert not recognize.is_real_graph(schema.GraphDef())
    assert not recognize.is_real_graph(schema.GraphDef(node=[schema.NodeDef(name="a")]))
    assert not recognize.is_real_graph(schema.GraphDef(node=[schema.NodeDef(op="NoOp")]))
    assert not recognize.is_real_graph(
        schema.GraphDef(node=[schema.NodeDef(name="a", op="two words")])
    )


@pytest.mark.parametrize(
    "text", [b"node {", b'\n# made by hand\nnode: { name: "a" }', b"versions <", b"library{}"]
)
def test_a_graph_in_text_form_is_recognized(text):
    assert recognize.is_text_graph(memoryview(text))


@pytest.mark.parametrize("length", [0, 4, 5, 32, 58, 123])
def test_a_binary_graph_does_not_count_as_text(length):
    name = "node" + "x" * length
    data = schema.GraphDef(node=[schema.NodeDef(name=name, op="NoOp")]).SerializeToString()
    assert not recognize.is_text_graph(memoryview(data))
    assert recognize.by_magic(memoryview(data), "model.pb") is None
