"""Recognize trackable objects, and read what they save."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf
from tensorflow.python.distribute.sharded_variable import ShardedVariable
from tensorflow.python.saved_model import registration

import tfpersist as tfp
from tfpersist.errors import UnsupportedError
from tfpersist.tf.internals import trackables

v1 = tf.compat.v1


def test_symbolic_and_eager_variables_are_distinguished():
    assert not trackables.is_symbolic(tf.Variable(1.0))
    with tf.Graph().as_default():
        for resource in (True, False):
            assert trackables.is_symbolic(
                v1.get_variable(f"v{resource}", [2], use_resource=resource)
            )


def test_a_variable_of_keras_is_a_variable_with_one_of_tensorflow_inside():
    variable = keras.Variable([1.0, 2.0], name="k")
    assert trackables.is_variable(variable)
    assert not trackables.is_variable(tf.Module())
    assert isinstance(trackables.variable_in(variable), tf.Variable)
    assert trackables.path_of(variable) == "k"
    assert trackables.path_of(tf.Variable(1.0, name="t")) == ""
    assert trackables.name_of(tf.Variable(1.0, name="t")) == "t"
    assert trackables.name_of(tf.Module()) == ""


def test_children_that_were_added_to_a_variable_are_noticed():
    variable = tf.Variable(1.0)
    assert trackables.has_no_children(variable)
    assert not trackables.has_added_children(variable)
    variable._track_trackable(tf.Variable(2.0), "child")
    assert trackables.has_added_children(variable)


@pytest.mark.parametrize("text", ["é", "é".encode()])
def test_python_state_is_bytes(text):
    class Note(tf.train.experimental.PythonState):
        def serialize(self):
            return text

        def deserialize(self, value):
            raise NotImplementedError

    assert trackables.serialized(Note()) == "é".encode()
    assert trackables.export(Note())["py_state"].numpy() == "é".encode()


def test_containers_are_wrapped_and_other_objects_are_not():
    assert trackables.is_trackable(trackables.container([tf.Variable(1.0)]))
    assert trackables.is_trackable(trackables.container((1, 2)))
    assert trackables.is_trackable(trackables.container({"a": 1}))
    assert trackables.container("ab") is None


def test_an_object_with_a_saver_of_its_own_is_refused():
    class Registered(tf.Module):
        pass

    registration.register_checkpoint_saver(
        package="tests",
        name="Registered",
        predicate=lambda thing: isinstance(thing, Registered),
        save_fn=lambda trackables, file_prefix: [],
        restore_fn=lambda trackables, merged_prefix: None,
    )
    with pytest.raises(UnsupportedError, match="inner: a Registered writes its checkpoint itself"):
        trackables.states_of(Registered(), "inner")


def sharded(value):
    parts = [[[value, value]], [[value + 1, value], [value, value]]]
    made = tf.Module()
    made.table = ShardedVariable([tf.Variable(part) for part in parts], name="table")
    return made


def test_a_sharded_variable_is_one_tensor(tmp_path):
    store = tfp.ModelStore(tmp_path)
    saved = store.save(old := sharded(3.0))
    whole = [[3.0, 3.0], [4.0, 3.0], [3.0, 3.0]]
    assert saved["table/.ATTRIBUTES/VARIABLE_VALUE"].tolist() == whole
    tf.train.Checkpoint(old).write(str(tmp_path / "theirs"))
    assert not saved.diff(tmp_path / "theirs")
    for name in ("model.ckpt", "theirs"):
        new = sharded(0.0)
        assert tfp.ModelStore(tmp_path, name=name).restore(new).fits
        assert new.table.numpy().tolist() == whole
    theirs = sharded(0.0)
    tf.train.Checkpoint(theirs).read(saved.prefix).assert_consumed()
    assert theirs.table.numpy().tolist() == whole


def test_a_table_saves_keys_and_values_of_open_sizes():
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
    states = trackables.states_of(table, "t")
    assert [(s.local, s.spec.dtype, s.spec.shape) for s in states] == [
        ("-keys", "string", (None,)),
        ("-values", "int64", (None,)),
    ]
    assert [state.key for state in states] == [
        "t/.ATTRIBUTES/table-keys",
        "t/.ATTRIBUTES/table-values",
    ]
    assert [state.suffix for state in states] == ["-keys", "-values"]
