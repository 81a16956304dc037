"""The list of children that TensorFlow keeps is compared; all other sources of them are asked."""

import gc
import weakref

import keras
import pytest
import tensorflow as tf

from tfpersist.tf.internals import live, plain_objects
from tfpersist.tf.internals.object_graph import live_graph


def network():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.extras = tf.Module()
    model.extras.numbers = [tf.Variable(1.0)]
    model.extras.named = {"a": tf.Variable(2.0)}
    return model


def keys_of(root):
    return [state.key for _, states in live_graph(root).states for state in states]


def new_keys_of(root):
    """Return the keys of a walk that remembers nothing."""
    return [
        state.key for _, states in live_graph(root, lambda thing: ()).states for state in states
    ]


def add_a_layer(model):
    model.layers[0]._tracker.unlock()  # Keras lets built layers have no more
    model.layers[0].below = keras.layers.Dense(2)
    model.layers[0].below.build((None, 3))


def add_a_variable(model):
    model.layers[1].scale = tf.Variable(1.0)


def replace_the_optimizer(model):
    model.optimizer = keras.optimizers.SGD()
    model.optimizer.build(model.trainable_variables)


def remove_an_attribute(model):
    del model.extras.numbers


def rename_a_child(model):
    model.extras.other = model.extras.numbers
    del model.extras.numbers


def append_to_a_list(model):
    model.extras.numbers.append(tf.Variable(3.0))


def put_into_a_dict(model):
    model.extras.named["b"] = tf.Variable(3.0)


def put_into_a_dict_a_key_of_another_type(model):
    model.extras.named[7] = tf.Variable(3.0)


def give_an_object_children_of_its_own(model):
    child = tf.Variable(5.0)
    model.layers[1]._trackable_children = lambda *_, **named: {"hidden": child}


def give_an_object_a_state(model):
    model.extras._serialize_to_tensors = lambda: {"mine": tf.constant(1.0)}


CHANGES = [
    add_a_layer,
    add_a_variable,
    append_to_a_list,
    give_an_object_a_state,
    give_an_object_children_of_its_own,
    put_into_a_dict,
    put_into_a_dict_a_key_of_another_type,
    remove_an_attribute,
    rename_a_child,
    replace_the_optimizer,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_since_the_last_walk_is_seen(change):
    model = network()
    before = keys_of(model)
    assert keys_of(model) == before
    change(model)
    after = keys_of(model)
    assert after != before
    assert after == new_keys_of(model)


def test_a_list_that_was_changed_without_its_wrapper_is_seen():
    module = tf.Module()
    module.numbers = own = [tf.Variable(1.0)]
    assert len(keys_of(module)) == 1
    own.append(tf.Variable(2.0))
    assert len(keys_of(module)) == len(new_keys_of(module)) == 2


def test_layers_are_compared_by_their_lists():
    model = network()
    live_graph(model)
    outline = live.recall(model)
    compared = {
        type(outline.objects[number]()).__name__ for number in (*outline.listed, *outline.wrapped)
    }
    assert {"Dense", "Adam", "ListWrapper", "_DictWrapper"} <= compared


class Other(keras.layers.Layer):
    def _trackable_children(self, save_type="checkpoint", **named):
        return super()._trackable_children(save_type, **named)


class Table(tf.Module):
    def _serialize_to_tensors(self):
        return {}


def test_classes_with_methods_of_their_own_are_asked():
    assert plain_objects.has_list(network().layers[0])
    assert plain_objects.is_stateless(keras.layers.Dense(1))
    assert not plain_objects.has_list(Other())
    assert not plain_objects.is_stateless(Table())
    assert not plain_objects.is_stateless(tf.Variable(1.0))
    assert not plain_objects.is_stateless(
        tf.lookup.experimental.DenseHashTable(
            tf.int64, tf.int64, default_value=-1, empty_key=-2, deleted_key=-3
        )
    )


def test_savers_are_counted():
    before = plain_objects.count_of_savers()
    from tensorflow.python.saved_model.registration import registration

    registration.register_checkpoint_saver(
        name=f"saver{before}",
        predicate=lambda thing: False,
        save_fn=lambda *_: [],
        restore_fn=lambda *_: None,
    )
    assert plain_objects.count_of_savers() == before + 1


def test_no_object_is_kept_alive():
    model = network()
    live_graph(model)
    layer = weakref.ref(model.layers[0])
    del model
    keras.backend.clear_session()
    gc.collect()
    assert layer() is None
