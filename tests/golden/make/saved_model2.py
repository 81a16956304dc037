"""SavedModels of TensorFlow 2.4 that later releases do not load, or not as a layer.

Usage: python saved_model2.py FOLDER

- saved_models/slots/: a module that holds a v1 optimizer with slots. `tf.saved_model.load` of
  TensorFlow 2.21 fails in `add_slot`, even for what it wrote itself.
- saved_models/inputs/: a Keras model of two inputs and two outputs with the optimizer that
  Keras 3 calls legacy. Keras 3 loads no SavedModel as a model, and one of several inputs not as a
  layer either.
- saved_models/golden.npz: inputs and outputs of both.

The clock stands still while this runs, so that each run writes the same times.
"""

import os
import shutil
import time

import numpy as np
import tensorflow as tf
import writing
from tensorflow.core.protobuf import saved_model_pb2


def two_ends():
    """Return a Keras model that was trained for one step."""
    first, second = tf.keras.Input((3,), name="first"), tf.keras.Input((2,), name="second")
    weights = tf.keras.initializers.GlorotUniform(1)
    hidden = tf.keras.layers.Dense(2, kernel_initializer=weights, name="hidden")(first)
    total = tf.keras.layers.Add(name="total")([hidden, second])
    mean = tf.keras.layers.GlobalAveragePooling1D(name="mean")(
        tf.keras.layers.Reshape((2, 1), name="column")(total)
    )
    model = tf.keras.Model([first, second], [total, mean])
    model.compile(tf.keras.optimizers.Adam(0.01), "mse")
    ones = np.ones((4, 3), np.float32)
    model.train_on_batch([ones, ones[:, :2]], [ones[:, :2], ones[:, :1]])
    return model


def with_slots():
    """Return a module whose v1 optimizer made one step."""
    module = tf.Module()
    module.scale = tf.Variable([1.0, 2.0], name="scale")
    module.optimizer = tf.compat.v1.train.AdamOptimizer(0.5)
    module.optimizer.apply_gradients([(tf.constant([1.0, -1.0]), module.scale)])
    spec = [tf.TensorSpec((None, 2), tf.float32, name="x")]
    module.call = tf.function(lambda x: {"y": x * module.scale}, spec, autograph=False)
    return module


def main():
    os.chdir(writing.start(tf.__version__, "2.4.4"))
    time.time = lambda: 1600000000.0
    shutil.rmtree("saved_models", ignore_errors=True)
    os.makedirs("saved_models")
    os.chdir("saved_models")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.random.set_seed(1)
    numbers = np.random.RandomState(1)
    module, model = with_slots(), two_ends()
    x = numbers.rand(2, 2).astype(np.float32)
    first = numbers.rand(2, 3).astype(np.float32)
    total, mean = model([first, x], training=False)
    values = {"x": x, "y": module.call(x)["y"].numpy(), "first": first, "second": x}
    values.update({"total": total.numpy(), "mean": mean.numpy()})
    tf.saved_model.save(module, "slots", signatures=module.call)
    specs = [tf.TensorSpec((None, 3), name="first"), tf.TensorSpec((None, 2), name="second")]
    serve = tf.function(
        lambda first, second: dict(zip(model.output_names, model([first, second], training=False))),
        specs,
        autograph=False,
    )
    model.save("inputs", save_traces=False, signatures=serve)
    for name in ("slots", "inputs"):
        writing.rewrite(os.path.join(name, "saved_model.pb"), saved_model_pb2.SavedModel())
    writing.write_values("golden.npz", values)
    loaded = tf.keras.models.load_model("inputs")
    np.testing.assert_array_equal(loaded([first, x], training=False)[0], values["total"])


if __name__ == "__main__":
    main()
