"""Models of Keras 2 in every form that TensorFlow 2.4 writes.

Usage: python keras2.py FOLDER

- keras_weights/, lstm_weights/: save_weights of a convolutional and of a recurrent model.
- mgr/: a CheckpointManager with model, optimizer and step.
- keras_savedmodel/: the convolutional model. keras.h5: a dense layer.
- frozen_v2_*.pb: the models with their variables as constants.
- golden.npz: inputs and outputs.
- model.tflite: a dense layer for TensorFlow Lite.

The clock stands still while this runs, so that each run writes the same times. Only
frozen_v2_lstm.pb differs from run to run: in the order of its nodes, and in the names of unused
nodes.
"""

import functools
import os
import shutil
import time

import h5py
import numpy as np
import tensorflow as tf
import writing
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import convert_to_constants


def layer(kind, *args, seed=1, **options):
    return kind(*args, kernel_initializer=tf.keras.initializers.GlorotUniform(seed), **options)


def convolutional():
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            layer(layers.Conv2D, 2, 3, activation="relu", input_shape=(4, 4, 1), name="c1"),
            layers.BatchNormalization(name="bn"),
            layers.Flatten(name="f"),
            layer(layers.Dense, 3, activation="softmax", name="d", seed=2),
        ]
    )


def recurrent():
    layers = tf.keras.layers
    table = tf.keras.initializers.RandomUniform(seed=3)
    orthogonal = tf.keras.initializers.Orthogonal(seed=4)
    return tf.keras.Sequential(
        [
            layers.Embedding(5, 2, embeddings_initializer=table, input_length=4, name="e"),
            layer(layers.LSTM, 3, recurrent_initializer=orthogonal, name="lstm"),
            layer(layers.Dense, 2, name="d"),
        ]
    )


def freeze(model, name, ends):
    """Write the model as a frozen graph. With "_nolower", its loops and calls stay functions."""
    shape = [None, *model.input_shape[1:]]
    call = tf.function(lambda x: model(x, training=False), autograph=False)
    concrete = call.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="x"))
    for end in ends:
        frozen = convert_to_constants.convert_variables_to_constants_v2(
            concrete, lower_control_flow=not end
        )
        writing.write_message(f"frozen_v2_{name}{end}.pb", frozen.graph.as_graph_def())


def save_served(model):
    """Write a SavedModel that computes the model, and is not for training: it is smaller."""
    spec = tf.TensorSpec([None, 4, 4, 1], tf.float32, name="c1_input")
    serve = tf.function(lambda c1_input: {"d": model(c1_input, training=False)}, autograph=False)
    model.save(
        "keras_savedmodel",
        include_optimizer=False,
        save_traces=False,
        signatures={"serving_default": serve.get_concrete_function(spec)},
    )


def save_dense():
    """Write a dense layer as HDF5 and for TensorFlow Lite."""
    model = tf.keras.Sequential([layer(tf.keras.layers.Dense, 1, input_shape=(1,))])
    create = h5py.Group.create_dataset
    h5py.Group.create_dataset = functools.partialmethod(create, track_times=False)
    model.save("keras.h5")
    with open("model.tflite", "wb") as file:
        file.write(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def main():
    os.chdir(writing.start(tf.__version__, "2.4.4"))
    time.time = lambda: 1600000000.0
    for name in ("keras_weights", "lstm_weights", "mgr", "keras_savedmodel"):
        shutil.rmtree(name, ignore_errors=True)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.random.set_seed(1)
    numbers = np.random.RandomState(1)
    model, other = convolutional(), recurrent()
    optimizer = tf.keras.optimizers.Adam(0.01)
    model.compile(optimizer, "mse")
    for _ in range(2):
        model.train_on_batch(numbers.rand(8, 4, 4, 1), numbers.rand(8, 3))
    conv_in = numbers.rand(2, 4, 4, 1).astype(np.float32)
    lstm_in = numbers.randint(0, 5, (2, 4)).astype(np.float32)
    values = {
        "conv_in": conv_in, "conv_out": model(conv_in, training=False).numpy(),
        "lstm_in": lstm_in, "lstm_out": other(lstm_in).numpy(),
    }  # fmt: skip
    model.save_weights("keras_weights/ckpt")
    other.save_weights("lstm_weights/ckpt")
    step = tf.Variable(7, dtype=tf.int64)
    root = tf.train.Checkpoint(model=model, optimizer=optimizer, step=step)
    tf.train.CheckpointManager(root, "mgr", max_to_keep=3).save(checkpoint_number=7)
    save_served(model)
    save_dense()
    writing.rewrite("keras_savedmodel/saved_model.pb", saved_model_pb2.SavedModel())
    freeze(model, "conv", [""])
    freeze(other, "lstm", ["", "_nolower"])
    writing.write_values("golden.npz", values)
    verify(values)


def verify(values):
    """Load what was written, with the release that wrote it, and compare the results."""
    model = convolutional()
    model.load_weights("keras_weights/ckpt").expect_partial()
    for loaded in (model, tf.keras.models.load_model("keras_savedmodel")):
        result = loaded(values["conv_in"], training=False)
        np.testing.assert_array_equal(result, values["conv_out"])
    model = recurrent()
    model.load_weights("lstm_weights/ckpt").expect_partial()
    np.testing.assert_array_equal(model(values["lstm_in"]), values["lstm_out"])
    tf.keras.models.load_model("keras.h5", compile=False)


if __name__ == "__main__":
    main()
