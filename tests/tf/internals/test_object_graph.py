"""A walk finds the objects and keys that TensorFlow itself writes, in the same order."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tfpersist.errors import TargetError
from tfpersist.tf.internals.object_graph import live_graph

v1 = tf.compat.v1


class Note(tf.train.experimental.PythonState):
    def __init__(self, text):
        self.text = text

    def serialize(self):
        return self.text

    def deserialize(self, text):
        self.text = text.decode()


class Zoo(tf.Module):
    """One of everything that a checkpoint can hold."""

    def __init__(self):
        super().__init__()
        self.w = tf.Variable([1.0, 2.0], name="w")
        self.same = self.w
        self.items = [tf.Variable(1), {"a/b.c": tf.Variable(2)}, (tf.Variable(3.0),)]
        self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        self.table.insert(["a", "b"], [1, 2])
        self.dense = tf.lookup.experimental.DenseHashTable(tf.int64, tf.float32, -1.0, 0, -2)
        self.dense.insert([5], [0.5])
        self.note = Note("hello")
        self.random = tf.random.Generator.from_seed(3)
        self.static = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1]), 0)
        self.constant = tf.constant(3.0)
        self.function = tf.function(lambda x: x)
        self.loop = self


class Falsy(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = tf.Variable(1.0)

    def __len__(self):
        return 0


def trained():
    zoo = Zoo()
    optimizer = v1.train.AdamOptimizer(0.1)
    optimizer.minimize(lambda: tf.reduce_sum(zoo.w), var_list=[zoo.w])
    return zoo, optimizer


def roots():
    zoo, optimizer = trained()
    counted = tf.train.Checkpoint(zoo=zoo, optimizer=optimizer)
    assert int(counted.save_counter) == 0
    return {
        "module": (zoo, tf.train.Checkpoint(zoo)),
        "checkpoint": (counted, counted),
        "dict": (
            {"zoo": zoo, "optimizer": optimizer},
            tf.train.Checkpoint(zoo=zoo, optimizer=optimizer),
        ),
        "attached": ((both := tf.train.Checkpoint(zoo, step=tf.Variable(1))), both),
    }


def test_the_object_graph_and_the_keys_are_those_that_tensorflow_writes(tmp_path):
    for name, (target, checkpoint) in roots().items():
        reader = tf.train.load_checkpoint(checkpoint.write(str(tmp_path / name)))
        live = live_graph(target)
        assert live.graph.message.SerializeToString() == reader.get_tensor(
            "_CHECKPOINTABLE_OBJECT_GRAPH"
        ), name
        keys = {state.key for node in live.nodes for state in node.states}
        assert keys | {"_CHECKPOINTABLE_OBJECT_GRAPH"} == reader.get_variable_to_shape_map().keys()


def test_a_root_whose_truth_value_is_false_is_still_a_root():
    live = live_graph(Falsy())
    assert [state.key for node in live.nodes for state in node.states] == [
        "w/.ATTRIBUTES/VARIABLE_VALUE"
    ]


def test_walking_makes_no_save_counter():
    checkpoint = tf.train.Checkpoint(w=tf.Variable(1.0))
    live_graph(checkpoint)
    assert checkpoint._save_counter is None


def test_a_variable_of_a_strategy_that_is_not_known_is_refused_by_its_path():
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        variable = tf.Variable(1.0)
    variable.__class__ = type("OtherVariable", (type(variable),), {})
    module = tf.Module()
    module.inner = tf.Module()
    module.inner.v = variable
    with pytest.raises(TargetError, match=r"inner/v.*OtherVariable.*strategy"):
        live_graph(module)


def test_a_dict_with_something_that_cannot_be_tracked_is_refused():
    with pytest.raises(TargetError, match="Pass trackables only"):
        live_graph({"module": tf.Module(), "other": object()})
