"""Checkpoints of small modules of Sonnet 2, with TensorFlow 2.4.

Usage: python sonnet2.py FOLDER

Each module is saved by tf.train.Checkpoint(module=...) in a folder of its own. The values are in
golden.npz, under the name of the folder and the key of the checkpoint.
"""

import os
import shutil

import sonnet as snt
import tensorflow as tf
import writing

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def mlp():
    module = snt.nets.MLP([3, 2])
    module(tf.ones([1, 2]))
    return module


def lstm():
    module = snt.LSTM(2)
    module(tf.ones([1, 3]), module.initial_state(1))
    return module


def gru():
    module = snt.GRU(2)
    module(tf.ones([1, 3]), module.initial_state(1))
    return module


def batch_norm():
    module = snt.BatchNorm(create_scale=True, create_offset=True)
    for number in range(3):
        module(tf.range(8.0)[:, None] * tf.ones([1, 2]) + number, is_training=True)
    return module


def moving_average():
    module = snt.ExponentialMovingAverage(decay=0.9)
    for number in range(3):
        module(tf.constant([1.0, 2.0]) * number)
    return module


def quantizer():
    module = snt.nets.VectorQuantizerEMA(2, num_embeddings=3, commitment_cost=0.25, decay=0.9)
    module(tf.reshape(tf.range(8.0), [4, 2]), is_training=True)
    return module


def on_two_devices():
    """Make a module whose variables are on two devices, so that a save writes two shards."""
    module = snt.Module(name="pair")
    for number in range(2):
        with tf.device(f"/cpu:{number}"):
            setattr(module, "xy"[number], tf.Variable(tf.ones([2, 2]) * number))
    return module


def save(module, name):
    """Save a module, and return its values by their keys."""
    shutil.rmtree(name, ignore_errors=True)
    root = tf.train.Checkpoint(module=module)
    prefix = root.save(os.path.join(name, "checkpoint"))
    reader = tf.train.load_checkpoint(prefix)
    keys = [key for key in reader.get_variable_to_shape_map() if key.endswith(VALUE)]
    values = {key: reader.get_tensor(key) for key in sorted(keys)}
    held = sorted(v.numpy().tobytes() for v in module.variables)
    saved = sorted(v.tobytes() for key, v in values.items() if key.startswith("module/"))
    assert held == saved, name
    return {name + "/" + key: value for key, value in values.items()}


def main():
    os.chdir(writing.start(tf.__version__, "2.4.4"))
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    os.makedirs("sonnet", exist_ok=True)
    os.chdir("sonnet")
    values = {}
    for make in (mlp, lstm, gru, batch_norm, moving_average, quantizer, on_two_devices):
        tf.random.set_seed(1)
        values.update(save(make(), make.__name__))
    writing.write_values("golden.npz", values)


if __name__ == "__main__":
    main()
