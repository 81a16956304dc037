"""A Keras model becomes a graph whose inputs and outputs have Keras' names."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tf_keras

from tfpersist.errors import FeedError, FreezeError, TargetError
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


class TestModelsThatGetTheirInputsFromACall:
    @staticmethod
    def subclassed(module, call):
        class Net(module.Model):
            def __init__(self):
                super().__init__()
                self.dense = module.layers.Dense(3)

        Net.call = call
        return Net()

    @pytest.mark.parametrize("module", [keras, tf_keras], ids=["keras", "tf_keras"])
    def test_a_subclassed_model(self, module):
        net = self.subclassed(module, lambda self, x: self.dense(x) * 2.0)
        x = weights(5, 4)
        want = np.asarray(net(x))
        model = Freezer(net).freeze()
        assert model.inputs[0].spec.shape == (None, 4)
        for count in (2, 5):
            found = model.run(model.outputs[0], {model.inputs[0]: x[:count]})
            np.testing.assert_allclose(found, want[:count], 1e-5, 1e-6)

    @pytest.mark.parametrize("module", [keras, tf_keras], ids=["keras", "tf_keras"])
    def test_an_argument_of_several_tensors(self, module):
        def call(self, inputs, training=None):
            first, (second, third) = inputs["first"], inputs["others"]
            return {"total": self.dense(first) + second, "third": third}

        net = self.subclassed(module, call)
        x, y, z = weights(5, 4), weights(5, 3), weights(5, 2)
        net({"first": x, "others": [y, z]})
        want = net({"first": x[:2], "others": [y[:2], z[:2]]})
        model = Freezer(net).freeze()
        feeds = {"first": x[:2], "others_0": y[:2], "others_1": z[:2]}
        np.testing.assert_allclose(model.run("total", feeds), want["total"], 1e-5, 1e-6)
        assert np.array_equal(model.run("third", feeds), z[:2])

    def test_several_arguments(self):
        def call(self, first, second):
            return self.dense(first) + second

        x, y = weights(5, 4), weights(5, 3)
        old = self.subclassed(tf_keras, call)
        want = np.asarray(old(x, y))
        found = Freezer(old).freeze().bind()(x, y)
        np.testing.assert_allclose(found, want, 1e-5, 1e-6)
        new = self.subclassed(keras, call)
        new(x, y)
        # Keras 3 records the first argument only, and cannot export such a model itself.
        with pytest.raises(TargetError, match="several arguments"):
            Freezer(new).freeze()

    @pytest.mark.parametrize("module", [keras, tf_keras], ids=["keras", "tf_keras"])
    def test_a_sequential_without_an_input(self, module):
        net = module.Sequential([module.layers.Dense(3), module.layers.BatchNormalization()])
        x = weights(5, 4)
        want = np.asarray(net(x))
        model = Freezer(net).freeze()
        found = model.run(model.outputs[0], {model.inputs[0]: x[:2]})
        np.testing.assert_allclose(found, want[:2], 1e-5, 1e-6)

    def test_a_layer_with_state_keeps_the_size_of_its_batch(self):
        net = keras.Sequential(
            [keras.Input(batch_shape=(2, 3, 4)), keras.layers.LSTM(3, stateful=True)]
        )
        lowered = lower_live_model(net)
        shape = lowered.graph.nodes["input"].attr["shape"].shape
        assert [dim.size for dim in shape.dim] == [2, 3, 4]


@pytest.mark.parametrize("module", [keras, tf_keras], ids=["keras", "tf_keras"])
@pytest.mark.parametrize("how", ["layer", "output", "name"])
@pytest.mark.parametrize("sequential", [False, True])
def test_the_output_of_a_layer(module, how, sequential):
    given = module.Input((4,), name="x")
    hidden = module.layers.Dense(3, activation="relu", name="hidden")
    end = module.layers.Dense(2, name="end")
    if sequential:
        net = module.Sequential([given, hidden, end])
    else:
        net = module.Model(given, end(hidden(given)))
    chosen = {"layer": hidden, "output": hidden.output, "name": "hidden"}[how]
    x = weights(5, 4)
    model = Freezer(net).outputs(chosen, "end").freeze()
    found = model.run(list(model.outputs), {"x": x})
    np.testing.assert_allclose(found[0], np.asarray(hidden(x)), 1e-5, 1e-6)
    np.testing.assert_allclose(found[1], np.asarray(net(x)), 1e-5, 1e-6)
    assert [node.op for node in model.graph.proto.node].count("MatMul") == 2


@pytest.mark.parametrize("library", [keras, tf_keras])
def test_a_model_is_traced_with_the_batch_that_is_fixed(library):
    layers = library.layers
    model = library.Sequential([layers.Input((5, 3)), layers.GRU(4)])
    freezer = Freezer(model).batch(2)
    frozen = freezer.freeze()
    (given,), (output,) = frozen.inputs, frozen.outputs
    assert given.spec.shape == (2, 5, 3)
    x = weights(2, 5, 3)
    freezer.parity({given: x}, 1e-6).freeze()
    np.testing.assert_allclose(frozen.run(output, {given: x}), model(x), atol=1e-6)
    with pytest.raises(FeedError, match=r"expected float32\[2,5,3\], got float32\[1,5,3\]"):
        frozen.run(output, {given: x[:1]})
    assert [ref.spec.shape for ref in Freezer(frozen).batch(2).freeze().inputs] == [(2, 5, 3)]
    with pytest.raises(FreezeError, match="or 3, got input"):
        Freezer(frozen).batch(3).freeze()


def test_a_subclassed_model_is_traced_with_the_batch_that_is_fixed():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    model = Net()
    model(weights(4, 2))
    (given,) = Freezer(model).batch(7).freeze().inputs
    assert given.spec.shape == (7, 2)
