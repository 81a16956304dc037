"""A graph that is saved again is described as TensorFlow describes it now."""

from __future__ import annotations

import gc
import weakref

import pytest
import tensorflow as tf

from tfpersist.formats import schema
from tfpersist.tf.targets import export_meta as exporting
from tfpersist.tf.targets.export_meta import export_meta

v1 = tf.compat.v1


def build():
    graph = tf.Graph()
    with graph.as_default():
        variable = v1.get_variable("v", initializer=[1.0, 2.0])
        fed = v1.placeholder(tf.float32, name="fed")
        tf.add(variable, fed, name="add")
    return graph


def theirs(graph):
    savers = graph.get_collection(v1.GraphKeys.SAVERS)
    saver_def = savers[-1].as_saver_def() if savers else None
    with graph.as_default():
        meta = v1.train.export_meta_graph(graph=graph, saver_def=saver_def)
    return meta.SerializeToString(deterministic=True)


def add_op(graph):
    tf.constant(1.0, name="more")


def add_saver(graph):
    v1.train.Saver()
    v1.add_to_collection(v1.GraphKeys.SAVERS, v1.train.Saver())


def fill_collection(graph):
    v1.add_to_collection("names", "a name")


def empty_collection(graph):
    graph.clear_collection(v1.GraphKeys.GLOBAL_VARIABLES)


def move_to_a_device(graph):
    graph.get_operation_by_name("add")._set_device("/device:CPU:0")


def set_attr(graph):
    value = v1.AttrValue(s=b"here")
    graph.get_operation_by_name("add")._set_attr("_mark", value)


def add_function(graph):
    tf.function(lambda: 1.0).get_concrete_function().add_to_graph(graph)


@pytest.mark.parametrize(
    "change",
    [
        add_op,
        add_saver,
        fill_collection,
        empty_collection,
        move_to_a_device,
        set_attr,
        add_function,
    ],
    ids=lambda change: change.__name__,
)
def test_the_meta_has_the_changes_since_the_last_save(change):
    graph = build()
    assert export_meta(graph) == theirs(graph) == export_meta(graph)
    before = export_meta(graph)
    with graph.as_default():
        change(graph)
    after = export_meta(graph)
    assert after == theirs(graph) == export_meta(graph)
    assert after != before


def test_the_shapes_of_an_unchanged_graph_are_not_listed_again():
    graph = build()
    before = export_meta(graph)
    graph.get_tensor_by_name("fed:0").set_shape([None, 2])
    assert export_meta(graph) == before != theirs(graph)
    with graph.as_default():
        add_op(graph)
    assert export_meta(graph) == theirs(graph)


def test_a_graph_is_not_kept_alive():
    graph = build()
    export_meta(graph)
    gone = weakref.ref(graph)
    del graph
    gc.collect()
    assert gone() is None


def test_a_graph_that_holds_weights_is_not_remembered(monkeypatch):
    graph = build()
    monkeypatch.setattr(exporting, "_REMEMBERED", 10)
    export_meta(graph)
    graph.get_tensor_by_name("fed:0").set_shape([None, 2])
    assert export_meta(graph) == theirs(graph)


@pytest.mark.parametrize(("key", "kept"), [("v", True), ("my_key", False)])
def test_a_saver_of_other_keys_than_those_that_are_saved_is_left_out(key, kept):
    graph = build()
    with graph.as_default():
        saver = v1.train.Saver({key: graph.get_collection("variables")[0]})
        v1.add_to_collection(v1.GraphKeys.SAVERS, saver)
    meta = schema.MetaGraphDef.FromString(export_meta(graph, {"v": "v"}))
    assert meta.HasField("saver_def") == kept
    assert schema.MetaGraphDef.FromString(export_meta(graph)).HasField("saver_def")
