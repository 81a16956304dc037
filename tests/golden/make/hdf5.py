"""Models of Keras 2 in the HDF5 files that TensorFlow 2.4 writes.

Usage: python hdf5.py FOLDER

It writes into FOLDER/hdf5:

- <model>.h5: `save` of each model below that has an optimizer, whose state is in it.
- <model>_weights.h5: `save_weights` of the others, and of "named".
- values.npz: an input x and a target y; for each model what it computes, `<model>_out`, and what it
  computes after three more steps of training, `<model>_next`.

The models: "named" with Adam; "nested", a model in a model, with momentum and automatic names;
"recurrent" with layers around cells; "subclassed". Those with an optimizer are trained in three
steps.
"""

import functools
import os
import shutil
import time

import h5py
import numpy as np
import tensorflow as tf
import writing

L = tf.keras.layers
STEPS = 3


def layer(kind, *args, **options):
    """Make a layer whose first kernel is the same in each run."""
    layer.seed += 1
    starts = {"kernel_initializer": tf.keras.initializers.GlorotUniform(layer.seed)}
    if kind in (L.LSTM, L.GRU):
        starts["recurrent_initializer"] = tf.keras.initializers.Orthogonal(seed=layer.seed)
    return kind(*args, **starts, **options)


layer.seed = 0


def named():
    x = inputs = tf.keras.Input((4,))
    for name in ("stem", "body"):
        x = layer(L.Dense, 4, activation="tanh", name=name)(x)
    return tf.keras.Model(inputs, layer(L.Dense, 2, name="head")(x))


def nested():
    inner = tf.keras.Sequential(
        [layer(L.Dense, 4, input_shape=(4,)), L.BatchNormalization(), layer(L.Dense, 4)],
        name="encoder",
    )
    x = inputs = tf.keras.Input((4,))
    x = L.BatchNormalization()(layer(L.Dense, 4)(inner(x)))
    return tf.keras.Model(inputs, layer(L.Dense, 2)(x))


def recurrent():
    x = inputs = tf.keras.Input((4,))
    x = L.Reshape((2, 2))(x)
    x = L.Bidirectional(layer(L.LSTM, 2, return_sequences=True), name="both")(x)
    x = layer(L.GRU, 3, return_sequences=True)(x)
    x = L.TimeDistributed(layer(L.Dense, 2), name="steps")(x)
    return tf.keras.Model(inputs, layer(L.Dense, 2)(L.Flatten()(x)))


class Subclassed(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [layer(L.Dense, 4), layer(L.Dense, 4)]
        self.norm = L.LayerNormalization()
        self.head = layer(L.Dense, 2)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


MODELS = {
    "named": (named, lambda: tf.keras.optimizers.Adam(0.05)),
    "nested": (nested, lambda: tf.keras.optimizers.SGD(0.05, momentum=0.9)),
    "recurrent": (recurrent, None),
    "subclassed": (Subclassed, None),
}


def built(name):
    make, optimizer = MODELS[name]
    tf.keras.backend.clear_session()
    layer.seed = 0
    model = make()
    if optimizer is not None:
        model.compile(optimizer(), "mse")
    return model


def main():
    folder = os.path.join(writing.start(tf.__version__, "2.4.4"), "hdf5")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    os.chdir(folder)
    time.time = lambda: 1600000000.0
    create = h5py.Group.create_dataset
    h5py.Group.create_dataset = functools.partialmethod(create, track_times=False)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    numbers = np.random.RandomState(1)
    x = numbers.normal(size=(6, 4)).astype(np.float32)
    y = numbers.normal(size=(6, 2)).astype(np.float32)
    values = {"x": x, "y": y}
    for name, (_, optimizer) in MODELS.items():
        model = built(name)
        model(x)
        for _ in range(STEPS if optimizer else 0):
            model.train_on_batch(x, y)
        values[name + "_out"] = model(x, training=False).numpy()
        if optimizer is None or name == "named":
            model.save_weights(name + "_weights.h5")
        if optimizer is not None:
            model.save(name + ".h5")
            for _ in range(STEPS):
                model.train_on_batch(x, y)
            values[name + "_next"] = model(x, training=False).numpy()
    writing.write_values("values.npz", values)
    verify(values)


def verify(values):
    """Load what was written, with the release that wrote it, and compare the results."""
    x = values["x"]
    for name, (_, optimizer) in MODELS.items():
        if optimizer is None or name == "named":
            model = built(name)
            model(x)
            model.load_weights(name + "_weights.h5")
            np.testing.assert_array_equal(model(x, training=False), values[name + "_out"])
        if optimizer is not None:
            model = tf.keras.models.load_model(name + ".h5")
            np.testing.assert_array_equal(model(x, training=False), values[name + "_out"])
            for _ in range(STEPS):
                model.train_on_batch(x, values["y"])
            found = model(x, training=False)
            np.testing.assert_allclose(found, values[name + "_next"], rtol=1e-4, err_msg=name)


if __name__ == "__main__":
    main()
