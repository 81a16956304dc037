"""Keras says and does what its private APIs are asked for."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpersist.tf.internals.keras import (
    build_optimizer,
    in_safe_mode,
    is_optimizer_built,
    keeps_state,
    name_scopes_restored,
    outputs_of_layers,
    recorded_inputs,
)


def network():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def test_an_optimizer_is_built_for_variables():
    model = network()
    optimizer = keras.optimizers.Adam()
    assert not is_optimizer_built(optimizer)
    build_optimizer(optimizer, model.trainable_variables)
    assert is_optimizer_built(optimizer)
    assert len(optimizer.variables) > 2
    assert not is_optimizer_built(object())


def test_a_scaled_optimizer_of_tf_keras_is_built_with_the_one_inside():
    import tf_keras

    scaled = tf_keras.mixed_precision.LossScaleOptimizer(tf_keras.optimizers.Adam())
    assert not is_optimizer_built(scaled)
    build_optimizer(scaled, [tf.Variable([1.0])])
    assert is_optimizer_built(scaled)


def test_a_legacy_optimizer_without_slots_is_built_by_its_numbers():
    import tf_keras

    optimizer = tf_keras.optimizers.legacy.SGD()
    assert not is_optimizer_built(optimizer)
    build_optimizer(optimizer, [tf.Variable([1.0])])
    assert is_optimizer_built(optimizer)


@pytest.mark.parametrize("safe", [True, False])
def test_safe_mode_is_known_while_a_model_is_made_from_a_config(tmp_path, safe):
    modes = []

    @keras.saving.register_keras_serializable(package=f"mode{safe}")
    class Asking(keras.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            modes.append(in_safe_mode())

        def call(self, inputs):
            return inputs

    keras.Sequential([keras.Input((1,)), Asking()]).save(tmp_path / "net.keras")
    keras.models.load_model(tmp_path / "net.keras", safe_mode=safe)
    assert modes == [None, safe]


def test_a_name_scope_that_a_refused_name_leaves_open_is_closed():
    refused = keras.layers.ReLU(name="é")
    x = keras.Input((1,))
    net = keras.Model(x, refused(x), name="net")
    with keras.name_scope("mine"):
        for _ in range(2):
            with pytest.raises(ValueError, match="not a valid scope name"), name_scopes_restored():
                tf.function(net)(tf.ones((1, 1)))
        assert keras.Variable(1.0, name="v").path == "mine/v"
    assert keras.Variable(1.0, name="v").path == "v"


def test_a_subclassed_model_records_what_it_was_called_with():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, inputs):
            return self.dense(inputs["a"]) + inputs["b"][0]

    net = Net()
    assert recorded_inputs(net) is None
    net({"a": np.ones((5, 4)), "b": [np.ones((5, 3))]})
    [argument] = recorded_inputs(net)
    assert argument == {
        "a": tf.TensorSpec((None, 4), tf.float32),
        "b": [tf.TensorSpec((None, 3), tf.float32)],
    }
    assert not keeps_state(network())
    assert keeps_state(keras.Sequential([keras.layers.LSTM(2, stateful=True)]))


def test_the_outputs_of_layers_that_are_called_once():
    given = keras.Input((3,), name="given")
    once, twice = keras.layers.Dense(3, name="once"), keras.layers.Dense(3, name="twice")
    hidden = once(given)
    model = keras.Model(given, twice(twice(hidden)))
    assert outputs_of_layers(model) == {"given": [given], "once": [hidden]}
