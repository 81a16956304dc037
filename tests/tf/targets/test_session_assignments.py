"""A restore feeds values to assignments that the graph has, and adds none."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from session_graphs import (
    RESOURCE,
    initialize,
    table_graph,
    unchanged,
    values_of,
)

import tfpersist as tfp
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import RestoreError, SelectionError, TargetError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.storage import open_storage

v1 = tf.compat.v1


DTYPES = [
    "bfloat16",
    "bool",
    "complex128",
    "complex64",
    "double",
    "float32",
    "float8_e4m3fn",
    "float8_e5m2",
    "half",
    "int16",
    "int32",
    "int4",
    "int64",
    "int8",
    "qint32",
    "qint8",
    "quint8",
    "string",
    "uint16",
    "uint32",
    "uint4",
    "uint64",
    "uint8",
]


@pytest.mark.parametrize("name", DTYPES)
def test_every_data_type_comes_back(name):
    dtype = tf.dtypes.as_dtype(name)
    if name == "string":
        array = np.array([b"", b"\xff\0", b"long" * 99], object)
    elif dtype.as_numpy_dtype is not None and np.dtype(dtype.as_numpy_dtype).names:
        array = np.array([(0,), (1,), (2,)], dtype.as_numpy_dtype)
    else:
        array = np.array([0, 1, 3]).astype(dtype.as_numpy_dtype)
    graph = tf.Graph()
    with graph.as_default():
        value = v1.placeholder(dtype, [3])
        handle = tf.raw_ops.VarHandleOp(dtype=dtype, shape=[3], shared_name="v", name="v")
        assign = tf.raw_ops.AssignVariableOp(resource=handle, value=value)
        read = tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)
    store = tfp.ModelStore(f"memory://session/dtype/{name}")
    with v1.Session(graph=graph) as session:
        session.run(assign, {value: array})
        store.save(session)
    with v1.Session(graph=graph) as session, unchanged(graph):
        store.restore(session)
        restored = session.run(read)
    assert restored.tobytes() == array.tobytes() or list(restored) == list(array)
    assert restored.dtype.itemsize == array.dtype.itemsize


def test_a_shape_that_does_not_fit_assigns_nothing():
    """TensorFlow's Saver restores (3, 2) into a declared (4, 2) without an error."""
    store = tfp.ModelStore("memory://session/shape")
    store.save({"v": np.ones((3, 2), np.float32), "w": np.ones(2, np.float32)})
    graph = tf.Graph()
    with graph.as_default():
        v = v1.get_variable("v", initializer=np.zeros((4, 2), np.float32))
        w = v1.get_variable("w", initializer=np.zeros(2, np.float32))
    with v1.Session(graph=graph) as session, unchanged(graph):
        session.run([v.initializer, w.initializer])
        with pytest.raises(RestoreError) as caught:
            store.restore(session)
        assert session.run(v).shape == (4, 2)
        assert not session.run(w).any()
    assert caught.value.report.mismatched == ("v",)
    assert caught.value.report.restored == ()
    assert "float32[4,2]" in str(caught.value)
    assert "float32[3,2]" in str(caught.value)


def test_variables_that_share_an_initial_value_are_restored_each():
    graph = tf.Graph()
    with graph.as_default():
        shared = tf.zeros([2])
        variables = [v1.Variable(shared, name=f"v{i}", use_resource=bool(i % 2)) for i in range(5)]
        dependent = v1.Variable(variables[0].initialized_value(), name="dependent")
        again = v1.Variable(variables[1], name="again", use_resource=False)
    store = tfp.ModelStore("memory://session/shared")
    arrays = {f"v{i}": np.float32([i, i + 1]) for i in range(5)}
    arrays |= {"dependent": np.float32([7, 8]), "again": np.float32([9, 10])}
    store.save(arrays)
    with v1.Session(graph=graph) as session, unchanged(graph):
        store.restore(session)
        restored = session.run([*variables, dependent, again])
    assert np.array_equal(restored, list(arrays.values()))


@RESOURCE
def test_a_variable_of_unknown_shape_takes_any(resource):
    graph = tf.Graph()
    with graph.as_default():
        initial = v1.placeholder_with_default([0.0], None)
        v = v1.Variable(initial, name="v", validate_shape=False, use_resource=resource)
    store = tfp.ModelStore(f"memory://session/unknown/{resource}")
    store.save({"v": np.float32([[1, 2, 3]])})
    with v1.Session(graph=graph) as session, unchanged(graph):
        store.restore(session)
        assert session.run(v).tolist() == [[1, 2, 3]]


def test_a_shape_that_no_assignment_takes_is_refused_before_anything_is_assigned():
    graph = tf.Graph()
    with graph.as_default():
        v = v1.Variable(tf.zeros([2]), name="v", validate_shape=False, use_resource=False)
    store = tfp.ModelStore("memory://session/no-assignment")
    store.save({"v": np.float32([[1, 2, 3]])})
    with v1.Session(graph=graph) as session, pytest.raises(TargetError, match=r"train\.Saver"):
        store.restore(session)
    with graph.as_default():
        v1.train.Saver()
    with v1.Session(graph=graph) as session:
        store.restore(session)
        assert session.run(v).tolist() == [[1, 2, 3]]


def test_an_initializer_with_control_dependencies_needs_no_feed():
    graph = tf.Graph()
    with graph.as_default():
        fed = v1.placeholder(tf.float32, [2], name="fed")
        with tf.control_dependencies([v1.debugging.assert_positive(fed)]):
            v = v1.Variable(tf.identity(fed), name="v", use_resource=False)
        v1.train.Saver()
    store = tfp.ModelStore("memory://session/control")
    store.save({"v": np.float32([-1, 2])})
    with v1.Session(graph=graph) as session, unchanged(graph):
        store.restore(session)
        assert session.run(v).tolist() == [-1, 2]


@pytest.mark.parametrize("alignment", [1, 4, 16, 32, 64])
def test_a_restored_variable_does_not_lie_in_the_file(tmp_path, alignment):
    graph = tf.Graph()
    with graph.as_default():
        v = v1.get_variable("v", initializer=np.zeros(1024, np.float32), use_resource=True)
    items = [Item("a", payload_of(np.int8(1))), Item("v", payload_of(np.ones(1024, np.float32)))]
    write_checkpoint(open_storage(tmp_path), "model.ckpt", items, alignment=alignment)
    with v1.Session(graph=graph) as session:
        tfp.ModelStore(tmp_path).restore(session)
        with (tmp_path / "model.ckpt.data-00000-of-00001").open("r+b") as file:
            file.write(bytes(5000))
        assert session.run(v).sum() == 1024


def test_tables_are_saved_and_restored(tmp_path):
    graph, fill, _ = table_graph(saver=True)
    store = tfp.ModelStore(tmp_path)
    with v1.Session(graph=graph) as session, unchanged(graph):
        initialize(session)
        session.run(fill)
        checkpoint = store.save(session)
    assert set(checkpoint) == {"w", "words-keys", "words-values"}
    graph, _, found = table_graph(saver=True)
    with v1.Session(graph=graph) as session, unchanged(graph):
        store.restore(session)
        assert session.run(found).tolist() == [1, 2, -1]
    graph, _, found = table_graph(saver=False)
    with graph.as_default(), v1.Session(graph=graph) as session:
        v1.train.Saver().restore(session, checkpoint.prefix)
        assert session.run(found).tolist() == [1, 2, -1]


def test_a_table_that_no_op_fills_is_refused_before_anything_is_assigned():
    graph, fill, _ = table_graph(saver=False)
    store = tfp.ModelStore("memory://session/table")
    with v1.Session(graph=graph) as session, unchanged(graph):
        initialize(session)
        session.run(fill)
        store.save(session)
    with v1.Session(graph=graph) as session:
        with pytest.raises(TargetError, match=r"Create a tf\.compat\.v1\.train\.Saver"):
            store.restore(session)
        store.only(["w"]).restore(session)
        assert values_of(session)["w"] == [1.0]


def test_half_of_a_table_cannot_be_restored():
    graph, fill, _ = table_graph(saver=True)
    store = tfp.ModelStore("memory://session/half-table")
    with v1.Session(graph=graph) as session:
        initialize(session)
        session.run(fill)
        store.save(session)
        with pytest.raises(SelectionError, match="both its keys and its values"):
            store.only(["words-keys"]).restore(session)
