"""The variables and tables of a graph, and the operations that read and assign them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from session_graphs import (
    RESOURCE,
    initialize,
)

import tfpersist as tfp
from tfpersist.tf.targets import graph_state

v1 = tf.compat.v1


@RESOURCE
def test_a_partitioned_variable_can_have_any_of_its_names(tmp_path, resource):
    graph = tf.Graph()
    with graph.as_default():
        whole = v1.get_variable(
            "p", [6, 2], partitioner=v1.fixed_size_partitioner(2), use_resource=resource
        )
        store = tfp.ModelStore(tmp_path / "ours")
        with v1.Session(graph=graph) as session:
            initialize(session)
            expected = np.concatenate(session.run(list(whole)))
            v1.train.Saver({"x": whole}).save(session, str(tmp_path / "theirs"))
            for choice in ({"x": whole}, {"x": list(whole)}, {"x": "p"}):
                saved = store.only(choice).save(session)
                assert set(saved) == {"x"}
                assert saved["x"].tolist() == expected.tolist()
                assert not saved.diff(tfp.Checkpoint(tmp_path / "theirs")).changed
            assert set(store.only([whole]).save(session)) == {"p"}
            tfp.ModelStore(tmp_path, name="theirs").rename({"x": whole}).restore(session)
            assert np.concatenate(session.run(list(whole))).tolist() == expected.tolist()
        other = v1.get_variable("q", initializer=expected, use_resource=resource)
        with v1.Session(graph=graph) as session:
            tfp.ModelStore(tmp_path, name="theirs").only({"x": other}).restore(session)
            assert session.run(other).tolist() == expected.tolist()


def test_a_local_variable_is_saved_if_it_is_named():
    store = tfp.ModelStore("memory://session/local")
    graph = tf.Graph()
    with graph.as_default():
        v1.get_variable("w", initializer=[1.0])
        local = v1.get_variable("seen", initializer=[2.0], collections=["local_variables"])
        free = v1.get_variable("free", initializer=[3.0], collections=["mine"])
    with v1.Session(graph=graph) as session:
        initialize(session)
        session.run([local.initializer, free.initializer])
        assert set(store.save(session)) == {"w"}
        assert set(store.only([local, free]).save(session)) == {"seen", "free"}


def entry_named(graph, name):
    return next(entry for entry in graph_state.entries_of(graph) if entry.name == name)


def test_variables_that_a_saver_saves_come_first_then_tables_then_others():
    with tf.Graph().as_default() as graph:
        v1.get_variable("local", initializer=1.0, collections=["local_variables"])
        v1.get_variable("w", initializer=1.0)
        tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1, name="words")
        v1.train.Saver()
    listed = [(entry.name, entry.default) for entry in graph_state.entries_of(graph)]
    assert listed == [
        *(("w", True), ("words-keys", True), ("words-values", True)),
        ("local", False),
    ]


def test_all_variables_are_saved_if_the_collection_is_empty():
    with tf.Graph().as_default() as graph:
        v1.get_variable("free", initializer=1.0, collections=["mine"])
    assert [entry.default for entry in graph_state.entries_of(graph)] == [True]


@RESOURCE
def test_existing_operations_read_and_assign_a_variable(resource):
    with tf.Graph().as_default() as graph:
        v1.get_variable("v", initializer=[1.0, 2.0], use_resource=resource)
    version = graph.version
    entry = entry_named(graph, "v")
    assert graph_state.is_resource(entry) == resource
    assert not graph_state.is_table(entry)
    (write,) = graph_state.writes_of(entry)
    with v1.Session(graph=graph) as session:
        flag = graph_state.is_initialized_of(entry)
        assert flag is None or not session.run(flag)
        session.run(write.op, {write.feeds[0]: [3.0, 4.0]})
        assert flag is None or session.run(flag)
        assert session.run(graph_state.read_of(entry)).tolist() == [3.0, 4.0]
    assert graph.version == version


def test_a_read_with_control_inputs_is_not_used():
    with tf.Graph().as_default() as graph:
        handle = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[1], shared_name="v", name="v")
        with tf.control_dependencies([tf.no_op()]):
            tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
        assert graph_state.read_of(entry_named(graph, "v")) is None
        plain = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
        assert graph_state.read_of(entry_named(graph, "v")) is plain


def test_assignments_without_side_effects_come_first():
    with tf.Graph().as_default() as graph:
        handle = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[1], shared_name="v", name="v")
        one, two = tf.constant([1.0]), tf.constant([2.0])
        with tf.control_dependencies([tf.no_op()]):
            tf.raw_ops.AssignVariableOp(resource=handle, value=one, name="second")
        tf.raw_ops.AssignVariableOp(resource=handle, value=two, name="first")
    names = [write.op.name for write in graph_state.writes_of(entry_named(graph, "v"))]
    assert names == ["first", "second"]
