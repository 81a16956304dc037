"""HDF5 files that Keras 3 and tf-keras write, into models of Keras 3 and of tf-keras.

A restored model predicts what the saved one does. Where the file has the state of an optimizer,
both go on in the same way.
"""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import pytest
import tf_keras

import tfpersist as tfp


def dense(library, names=("stem", "body")):
    layers = library.layers
    x = inputs = layers.Input((4,))
    for name in names:
        x = layers.Dense(4, activation="tanh", name=name)(x)
    return library.Model(inputs, layers.Dense(2, name="head")(x))


def automatic(library):
    return dense(library, (None, None))


def nested(library):
    layers = library.layers
    inner = library.Sequential(
        [layers.Input((4,)), layers.Dense(4, name="first"), layers.LayerNormalization()], name="net"
    )
    x = inputs = layers.Input((4,))
    x = layers.BatchNormalization()(layers.Dense(4)(inner(x)))
    return library.Model(inputs, layers.Dense(2)(x))


def convolutional(library):
    layers = library.layers
    return library.Sequential(
        [
            layers.Input((4,)),
            layers.Reshape((2, 2, 1)),
            layers.Conv2D(3, 2, padding="same"),
            layers.BatchNormalization(name="norm"),
            layers.DepthwiseConv2D(2, padding="same"),
            layers.SeparableConv2D(2, 1),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


def recurrent(library):
    layers = library.layers
    x = inputs = layers.Input((4,))
    x = layers.Reshape((2, 2))(x)
    x = layers.Bidirectional(layers.LSTM(2, return_sequences=True), name="both")(x)
    x = layers.GRU(3, return_sequences=True)(x)
    x = layers.TimeDistributed(layers.Dense(3))(x)
    return library.Model(inputs, layers.Dense(2)(layers.SimpleRNN(2)(x)))


def attention(library):
    layers = library.layers
    x = inputs = layers.Input((4,))
    x = layers.Reshape((2, 2))(x)
    y = layers.MultiHeadAttention(2, 2)(x, x)
    x = layers.LayerNormalization(name="norm")(layers.Add()([x, y]))
    x = layers.MultiHeadAttention(2, 2, name="second")(x, x)
    return library.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def subclassed(library):
    class Net(library.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [library.layers.Dense(4), library.layers.Dense(4)]
            self._norm = library.layers.LayerNormalization()
            self.wide = library.layers.Dense(5)
            self.head = library.layers.Dense(2)

        def call(self, x):
            for block in self.blocks:
                x = block(x)
            return self.head(self.wide(self._norm(x)))

    return Net()


GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "2.4.4" / "hdf5"
LIBRARIES = {"keras": keras, "tf_keras": tf_keras}
MODELS = [dense, automatic, nested, convolutional, recurrent, attention, subclassed]
OPTIMIZERS = {
    "adam": lambda library: library.optimizers.Adam(0.05),
    "amsgrad": lambda library: library.optimizers.Adam(0.05, amsgrad=True),
    "momentum": lambda library: library.optimizers.SGD(0.05, momentum=0.9),
    "rmsprop": lambda library: library.optimizers.RMSprop(0.05, momentum=0.5),
    "nadam": lambda library: library.optimizers.Nadam(0.05),
    "ftrl": lambda library: library.optimizers.Ftrl(0.05),
    "average": lambda library: library.optimizers.Adam(0.05, use_ema=True),
}


def batch(seed, count=6):
    numbers = np.random.default_rng(seed)
    return numbers.normal(size=(count, 4)).astype("f4"), numbers.normal(size=(count, 2)).astype(
        "f4"
    )


def built(make, library, optimizer=None, steps=0):
    model = make(library)
    if optimizer is not None:
        model.compile(optimizer, "mse", run_eagerly=True)
    model(batch(0)[0])
    for step in range(steps):
        model.train_on_batch(*batch(step))
    return model


def assert_same(one, other, tolerance=1e-5):
    x, _ = batch(99)
    expected, found = (np.asarray(model(x, training=False)) for model in (one, other))
    np.testing.assert_allclose(expected, found, atol=tolerance)


def assert_goes_on(one, other, steps=3):
    assert int(other.optimizer.iterations) == int(one.optimizer.iterations) > 0
    for step in range(steps):
        for model in (one, other):
            model.train_on_batch(*batch(50 + step))
    assert_same(one, other, 1e-4)


def trained(make, library, optimizer):
    return built(make, LIBRARIES[library], OPTIMIZERS[optimizer](LIBRARIES[library]), steps=3)


def untrained(make, library, optimizer):
    return built(make, LIBRARIES[library], OPTIMIZERS[optimizer](LIBRARIES[library]))


def write(model, folder, ending):
    """Save a model, by `save_weights` where the ending says so; return the path."""
    path = str(folder / f"model.{ending}")
    if "weights" in ending:
        model.save_weights(path)
    else:
        model.save(path)
    return path


def is_written(make, ending, writer):
    """Return whether a Keras writes such a file: no .h5 of a subclass, or of weights in Keras 3."""
    return (
        make is not subclassed
        if ending == "h5"
        else ending != "old_weights.h5" or writer != "keras"
    )


WRITTEN = [
    pytest.param(make, ending, writer, id=f"{make.__name__}-{ending}-{writer}")
    for make in MODELS
    for ending in ("h5", "old_weights.h5", "keras", "weights.h5")
    for writer in LIBRARIES
    if is_written(make, ending, writer)
]


@pytest.mark.parametrize("reader", LIBRARIES)
@pytest.mark.parametrize(("make", "ending", "writer"), WRITTEN)
def test_weights(tmp_path, make, ending, writer, reader):
    saved = built(make, LIBRARIES[writer])
    model = built(make, LIBRARIES[reader])
    report = tfp.ModelStore(write(saved, tmp_path, ending)).restore(model)
    assert not report.kept
    assert_same(saved, model)


@pytest.mark.parametrize("ending", ["h5", "keras"])
@pytest.mark.parametrize("writer", LIBRARIES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_in_keras_3(tmp_path, optimizer, writer, ending):
    saved = trained(dense, writer, optimizer)
    path = write(saved, tmp_path, ending)
    model = untrained(dense, "keras", optimizer)
    # Nadam of tf-keras keeps a product that it does not save.
    lost = optimizer == "nadam" and writer == "tf_keras"
    report = tfp.ModelStore(path).restore(model, missing="skip" if lost else "error")
    assert len(report.kept) == lost
    assert lost or assert_goes_on(saved, model) is None


@pytest.mark.parametrize("ending", ["h5", "keras"])
@pytest.mark.parametrize("optimizer", ["adam", "momentum", "rmsprop"])
def test_training_goes_on_in_tf_keras(tmp_path, optimizer, ending):
    saved = trained(dense, "keras", optimizer)
    model = untrained(dense, "tf_keras", optimizer)
    tfp.ModelStore(write(saved, tmp_path, ending)).restore(model)
    assert_goes_on(saved, model)


@pytest.mark.parametrize(
    ("make", "ending"),
    [(nested, "h5"), (recurrent, "keras"), (attention, "h5"), (subclassed, "keras")],
)
def test_training_of_other_models_goes_on(tmp_path, make, ending):
    saved = trained(make, "keras", "momentum")
    model = untrained(make, "keras", "momentum")
    tfp.ModelStore(write(saved, tmp_path, ending)).restore(model)
    assert_goes_on(saved, model)


LEGACY = ["Adam", "Adagrad", "Adadelta", "Ftrl", "Adamax"]


@pytest.mark.parametrize(
    ("kind", "reader"),
    [("SGD", "keras"), *((kind, reader) for kind in LEGACY for reader in LIBRARIES)],
)
def test_training_with_a_legacy_optimizer_goes_on(tmp_path, kind, reader):
    saved = built(dense, tf_keras, getattr(tf_keras.optimizers.legacy, kind)(0.05), steps=3)
    path = write(saved, tmp_path, "h5")
    optimizers = {"keras": keras.optimizers, "tf_keras": tf_keras.optimizers.legacy}[reader]
    model = built(dense, LIBRARIES[reader], getattr(optimizers, kind)(0.5))
    tfp.ModelStore(path).restore(model)
    assert_goes_on(saved, model)


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_training_with_scaled_losses_goes_on(tmp_path, ending):
    def scaled():
        return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.05), initial_scale=8.0)

    saved = built(dense, keras, scaled(), steps=3)
    path = write(saved, tmp_path, ending)
    model, plain = built(dense, keras, scaled()), untrained(dense, "keras", "adam")
    for one in (model, plain):
        tfp.ModelStore(path).restore(one)
    assert float(model.optimizer.dynamic_scale) == float(saved.optimizer.dynamic_scale)
    assert_goes_on(saved, model)


# --- files of TensorFlow 2.4 ---------------------------------------------------------------------


def golden_nested(library):
    layers = library.layers
    inner = library.Sequential(
        [layers.Input((4,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(4)],
        name="encoder",
    )
    x = inputs = layers.Input((4,))
    x = layers.BatchNormalization()(layers.Dense(4)(inner(x)))
    return library.Model(inputs, layers.Dense(2)(x))


def golden_recurrent(library):
    layers = library.layers
    x = inputs = layers.Input((4,))
    x = layers.Reshape((2, 2))(x)
    x = layers.Bidirectional(layers.LSTM(2, return_sequences=True), name="both")(x)
    x = layers.GRU(3, return_sequences=True)(x)
    x = layers.TimeDistributed(layers.Dense(2), name="steps")(x)
    return library.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def golden_subclassed(library):
    class Subclassed(library.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [library.layers.Dense(4), library.layers.Dense(4)]
            self.norm = library.layers.LayerNormalization()
            self.head = library.layers.Dense(2)

        def call(self, x):
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    return Subclassed()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("named", dense),
        ("named_weights", dense),
        ("nested", golden_nested),
        ("recurrent_weights", golden_recurrent),
        ("subclassed_weights", golden_subclassed),
    ],
)
def test_golden_weights(name, make, library):
    values = np.load(GOLDEN / "values.npz")
    model = built(make, LIBRARIES[library])
    tfp.ModelStore(GOLDEN / f"{name}.h5").restore(model)
    expected = values[f"{name.removesuffix('_weights')}_out"]
    np.testing.assert_allclose(model(values["x"], training=False), expected, atol=1e-5)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("name", "make", "optimizer"),
    [("named", dense, "adam"), ("nested", golden_nested, "momentum")],
)
def test_golden_training_goes_on(name, make, optimizer, library):
    values = np.load(GOLDEN / "values.npz")
    model = untrained(make, library, optimizer)
    tfp.ModelStore(GOLDEN / f"{name}.h5").restore(model)
    assert int(model.optimizer.iterations) == 3
    for _ in range(3):
        model.train_on_batch(values["x"], values["y"])
    found = model(values["x"], training=False)
    np.testing.assert_allclose(found, values[f"{name}_next"], atol=1e-4)


# --- layers of one's own, edits, and what is refused ---------------------------------------------


def custom(library, shapes, name="mine"):
    class Mine(library.layers.Layer):
        def build(self, _shape):
            for at, shape in enumerate(shapes):
                weight = self.add_weight(name=f"p{at}", shape=shape, initializer="random_normal")
                setattr(self, f"part_{at}", weight)

        def call(self, x):
            return x

    layers = library.layers
    x = inputs = layers.Input((4,))
    x = Mine(name=name)(layers.Dense(4, name="stem")(x))
    return library.Model(inputs, layers.Dense(2, name="head")(x))


def parts_of(model):
    return [np.asarray(part) for part in model.layers[2].weights]


@pytest.mark.parametrize("ending", ["weights.h5", "keras"])
@pytest.mark.parametrize("name", ["special", None])
def test_shapes_tell_the_tensors_of_a_layer_of_ones_own(tmp_path, ending, name):
    saved, model = (built(lambda k: custom(k, [(4, 3), (3,)], name), keras) for _ in range(2))
    tfp.ModelStore(write(saved, tmp_path, ending)).restore(model)
    for one, other in zip(parts_of(saved), parts_of(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_tensors_of_one_shape_are_not_told_apart(tmp_path):
    saved, model = (
        built(lambda k: custom(k, [(3, 3), (3, 3)], "special"), keras) for _ in range(2)
    )
    path = write(saved, tmp_path, "weights.h5")
    before = parts_of(model)
    with pytest.raises(tfp.RestoreError, match="nothing tells which") as caught:
        tfp.ModelStore(path).restore(model)
    assert "layers/mine/vars/0 or layers/mine/vars/1" in str(caught.value)
    keys = {f"layers/mine/vars/{at}": part for at, part in enumerate(model.layers[2].weights)}
    tfp.ModelStore(path).rename(keys).restore(model)
    for one, other, old in zip(parts_of(saved), parts_of(model), before, strict=True):
        np.testing.assert_array_equal(one, other)
        assert not np.array_equal(one, old)


@pytest.mark.parametrize("ending", ["h5", "keras", "weights.h5"])
def test_names_decide_over_places(tmp_path, ending):
    saved = built(dense, keras)
    model = built(lambda k: dense(k, ("new", "body", "stem")), keras)
    before = np.asarray(model.get_layer("new").kernel)
    store = tfp.ModelStore(write(saved, tmp_path, ending))
    report = store.restore(model, missing="skip")
    assert report.kept == ("new/kernel", "new/bias")
    np.testing.assert_array_equal(model.get_layer("new").kernel, before)
    for name in ("stem", "body", "head"):
        np.testing.assert_array_equal(model.get_layer(name).kernel, saved.get_layer(name).kernel)


def test_the_order_of_attributes_is_not_guessed(tmp_path):
    """A file numbers the slots of two layers of one shape in an order that it does not say."""

    def net(first, second):
        class Net(keras.Model):
            def __init__(self):
                super().__init__()
                for name in (first, second):
                    setattr(self, name, keras.layers.Dense(4, name=f"{name}_layer"))

            def call(self, x):
                return self.a(self.b(x))[:, :2]

        return Net()

    saved = built(lambda _: net("a", "b"), keras, keras.optimizers.Adagrad(0.05), steps=2)
    model = built(lambda _: net("b", "a"), keras, keras.optimizers.Adagrad(0.05))
    store = tfp.ModelStore(write(saved, tmp_path, "weights.h5"))
    with pytest.raises(tfp.RestoreError, match="does not say which variables"):
        store.restore(model)
    report = store.restore(model, missing="skip")
    assert int(model.optimizer.iterations) == 0
    assert "optimizer" in " ".join(report.kept) or "adagrad" in " ".join(report.kept)
    np.testing.assert_array_equal(model.a.kernel, saved.a.kernel)


def test_automatic_names_tell_an_order_that_the_target_confirms(tmp_path):
    def net(*names):
        class Net(keras.Model):
            def __init__(self):
                super().__init__()
                for name in names:
                    setattr(self, name, keras.layers.Dense(4))

            def call(self, x):
                return self.a(self.b(x))[:, :2]

        return Net()

    optimizer = keras.optimizers.Adagrad
    saved = built(lambda _: net("b", "a"), keras, optimizer(0.05), steps=2)
    store = tfp.ModelStore(write(saved, tmp_path, "weights.h5"))
    model = built(lambda _: net("b", "a"), keras, optimizer(0.05))
    store.restore(model)
    assert_goes_on(saved, model)
    swapped = built(lambda _: net("a", "b"), keras, optimizer(0.05))
    with pytest.raises(tfp.RestoreError):
        store.restore(swapped)
