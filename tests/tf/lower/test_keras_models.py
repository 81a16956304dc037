"""A Keras model becomes a graph whose inputs and outputs have Keras' names."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfpersist.errors import TargetError
from tfpersist.freezer.freezer import Freezer
from tfpersist.tf.lower.live_model import lower_live_model


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_names_of_inputs_and_outputs():
    image, other = keras.Input((4,), name="image"), keras.Input((4,))
    y = keras.layers.Dense(2, name="head")(keras.layers.Add()([image, other]))
    z = keras.layers.Dense(3, name="tail")(image)
    lowered = lower_live_model(keras.Model([image, other], [y, z]))
    assert lowered.inputs == ("image:0", "input:0")
    assert lowered.outputs == ("head:0", "tail:0")
    assert "head/kernel" in lowered.variables
    lowered = lower_live_model(keras.Model({"a": image, "b": other}, {"q": y, "p": z}))
    assert lowered.outputs == ("p:0", "q:0")


def test_an_output_keeps_its_name_when_frozen():
    layers = [keras.Input((4,), name="x"), keras.layers.Dense(2, name="y")]
    model = keras.Sequential(layers)
    frozen = Freezer(model).freeze()
    assert [ref.name for ref in frozen.inputs] == ["x:0"]
    assert [ref.name for ref in frozen.outputs] == ["y:0"]
    x = weights(3, 4)
    np.testing.assert_allclose(frozen.run("y:0", {"x:0": x}), model(x), 1e-6)


def test_inputs_and_outputs_are_in_the_order_of_the_model():
    i, j = keras.Input((3,), name="zz"), keras.Input((2,), name="aa")
    hidden = keras.layers.Dense(2, name="hidden")(i)
    total = keras.layers.Add(name="total")([hidden, j])
    net = keras.Model([i, j], [total, hidden])
    model = Freezer(net).freeze()
    values = np.ones((1, 3), np.float32), np.ones((1, 2), np.float32)
    for made in (model, Freezer(model).freeze(), Freezer(model).outputs("total").freeze()):
        assert [ref.name for ref in made.inputs] == ["zz:0", "aa:0"]
        assert made.outputs[0].name == "total:0"
    for found, wanted in zip(model.bind()(*values), net(values), strict=True):
        np.testing.assert_allclose(found, wanted)


def test_a_layer_whose_name_tensorflow_refuses():
    x = keras.Input((3,))
    net = keras.Model(x, keras.layers.ReLU(name="é")(x))
    with pytest.raises(TargetError, match=r"^'é' is not a valid scope name"):
        lower_live_model(net)
    assert keras.Variable(1.0, name="w").path == "w"


def test_a_model_that_does_not_tell_its_inputs():

    class Net(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(TargetError, match="get_concrete_function"):
        lower_live_model(Net())
