"""Models of given sizes, of each kind that a contender saves."""

from __future__ import annotations

import numpy as np

TENSORS = 48


def arrays(megabytes, tensors=TENSORS):
    """Make `tensors` float32 arrays of unequal sizes, `megabytes` together."""
    generator = np.random.default_rng(0)
    weights = np.linspace(0.25, 1.75, tensors)
    total = megabytes * (1 << 20) // 4
    rows = (weights / weights.sum() * total / 1024).astype(int).clip(1)
    return {
        f"layer{n:02}/kernel": generator.random((size, 1024), np.float32)
        for n, size in enumerate(rows)
    }


def module(values):
    """Make a tf.Module of eager variables."""
    import tensorflow as tf

    made = tf.Module()
    made.weights = [tf.Variable(value, name=name) for name, value in values.items()]
    return made


def session(values):
    """Make a TF1 session of variables, and a Saver for them."""
    import tensorflow as tf

    v1 = tf.compat.v1
    running = v1.Session(graph=tf.Graph())
    with running.graph.as_default():
        made = [
            v1.get_variable(name, value.shape, initializer=v1.zeros_initializer)
            for name, value in values.items()
        ]
        running.run(v1.global_variables_initializer())
        for variable, value in zip(made, values.values(), strict=True):
            variable.load(value, running)
        saver = v1.train.Saver()
    return running, saver


def keras_model(values):
    """Make a Keras model."""
    import keras

    class Held(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            for number, value in enumerate(values.values()):
                weight = self.add_weight(shape=value.shape, initializer="zeros", name=f"w{number}")
                weight.assign(value)
            self.built = True

        def call(self, inputs):
            return inputs

    model = keras.Sequential([Held()])
    model.build((None, 1))
    return model


def many(count, size):
    """Make a tf.train.Checkpoint of `count` eager variables of `size` bytes."""
    import tensorflow as tf

    made = tf.Module()
    value = np.random.default_rng(0).random(size // 4, np.float32)
    made.weights = [tf.Variable(value) for _ in range(count)]
    return tf.train.Checkpoint(model=made)
