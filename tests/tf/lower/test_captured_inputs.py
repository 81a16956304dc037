"""Captured tensors of a function become variables, constants and tables of its graph."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import split
from tfpersist.freezer.freezer import Freezer
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


class TestWhatNoFileCanHold:
    @pytest.mark.parametrize("kind", ["data set", "optional", "list"])
    def test_it_is_refused(self, kind):
        data = tf.data.Dataset.range(5)
        optional = tf.experimental.Optional.from_value(tf.constant(3, tf.int64))
        tensors = tf.raw_ops.TensorListFromTensor(
            tensor=tf.ones([3], tf.int64), element_shape=tf.constant([], tf.int32)
        )

        @tf.function(input_signature=[tf.TensorSpec((), tf.int64, name="k")])
        def function(k):
            if kind == "data set":
                return data.reduce(k, lambda total, one: total + one)
            if kind == "optional":
                return optional.get_value() * k
            return tf.raw_ops.TensorListLength(input_handle=tensors) + tf.cast(k, tf.int32)

        with pytest.raises(FreezeError, match="a data set, an Optional or a list of tensors"):
            Freezer(function).freeze()

    def test_a_data_set_that_the_function_makes_is_frozen(self):
        @tf.function(input_signature=[tf.TensorSpec((), tf.int64, name="k")])
        def function(k):
            return tf.data.Dataset.range(5).reduce(k, lambda total, one: total + one * k)

        model = Freezer(function).freeze()
        assert model.run(model.outputs[0], {"k": 2}) == function(tf.constant(2, tf.int64))
