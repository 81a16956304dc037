"""Captured tensors of a function become variables, constants and tables of its graph."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfpersist.formats.graphdef import split
from tfpersist.tf.lower.captured_inputs import replace_captured_inputs


def replaced(function, *specs):
    concrete = function.get_concrete_function(*specs)
    graph = split(memoryview(concrete.graph.as_graph_def(add_shapes=True).SerializeToString()))
    before = graph.proto.SerializeToString(deterministic=True)
    captured = replace_captured_inputs(concrete, graph)
    assert graph.proto.SerializeToString(deterministic=True) == before
    return captured, {node.name: node for node in captured.proto.node}


def test_variables_of_one_name_get_names_of_their_own():
    first, second = tf.Variable([1.0], name="a b"), tf.Variable([2.0, 3.0], name="a b")
    captured, nodes = replaced(tf.function(lambda: tf.concat([second, first], 0)))
    assert set(captured.variables) == {"a_b", "a_b_1"}
    assert {name: captured.objects[name] is not None for name in captured.variables}
    for old, new in captured.new_names.items():
        assert nodes[old].op == "VarHandleOp"
        assert nodes[old].attr["shared_name"].s == new.encode()
        shape = [dim.size for dim in nodes[old].attr["shape"].shape.dim]
        value = captured.variables[new].load()
        assert list(value.shape) == shape
        np.testing.assert_array_equal(value, captured.objects[new].numpy())


def test_a_large_tensor_becomes_a_payload_and_an_empty_one_a_constant():
    large, empty = tf.constant(np.arange(500.0)), tf.constant(np.zeros((0, 3)))
    captured, nodes = replaced(tf.function(lambda: (large + 1.0, empty + 1.0)))
    constants = [node for node in nodes.values() if node.op == "Const"]
    assert [len(payload.load()) for payload in captured.payloads.values()] == [500]
    assert {node.name for node in constants} >= captured.payloads.keys()
    assert not captured.variables


@pytest.mark.parametrize("dense", [False, True])
def test_a_table_becomes_an_empty_one_with_its_contents_beside_it(dense):
    if dense:
        table = tf.lookup.experimental.DenseHashTable(tf.int64, tf.float32, -1.0, 0, -2)
    else:
        table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, -1.0)
    table.insert([5, 7], [0.5, 0.7])
    captured, nodes = replaced(tf.function(table.lookup), tf.TensorSpec([2], tf.int64))
    ((name, contents),) = captured.tables.items()
    assert nodes[name].op == "MutableHashTableV2"
    keys, values = contents()
    assert dict(zip(keys.tolist(), values.tolist(), strict=True)) == pytest.approx({5: 0.5, 7: 0.7})


def test_values_that_are_vectors_keep_their_shape():
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, [-1.0, -1.0])
    table.insert(["a"], [[1.0, 2.0]])
    captured, nodes = replaced(tf.function(table.lookup), tf.TensorSpec([1], tf.string))
    ((name, contents),) = captured.tables.items()
    assert nodes[name].op == "MutableHashTableOfTensorsV2"
    assert [dim.size for dim in nodes[name].attr["value_shape"].shape.dim] == [2]
    assert contents()[1].tolist() == [[1.0, 2.0]]


def test_a_table_that_is_only_counted_has_as_many_keys():
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, -1.0)
    table.insert(["a", "b", "c"], [1.0, 2.0, 3.0])
    captured, _ = replaced(tf.function(table.size))
    (contents,) = captured.tables.values()
    keys, _ = contents()
    assert keys.tolist() == [0, 1, 2]
