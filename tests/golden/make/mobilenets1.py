"""Short MobileNets with the scopes of TF-Slim's, with TensorFlow 1.15.

Usage: python mobilenets1.py FOLDER

They have the layers of MobilenetV1 and MobilenetV2, but few of them. Their checkpoints are
mobilenets/<name>/model.ckpt, without a graph. mobilenets.npz holds the images, "x", and the logits
of each network under its name.
"""

import os

import numpy as np
import tensorflow as tf
import writing
from tensorflow.contrib import slim

IMAGES = np.random.RandomState(1).uniform(-1, 1, [2, 16, 16, 3]).astype(np.float32)
NORM = {"center": True, "scale": True, "is_training": False, "epsilon": 0.001}
CLASSES = 3


def conv(x, size, scope, kernel=1, stride=1, activation=tf.nn.relu6):
    return slim.conv2d(x, size, [kernel, kernel], stride, activation_fn=activation, scope=scope)


def depthwise(x, scope, stride):
    return slim.separable_conv2d(x, None, [3, 3], 1, stride, activation_fn=tf.nn.relu6, scope=scope)


def logits(x):
    x = tf.reduce_mean(x, [1, 2], keep_dims=True)
    with tf.variable_scope("Logits"):
        options = {"activation_fn": None, "normalizer_fn": None}
        x = slim.conv2d(x, CLASSES, [1, 1], scope="Conv2d_1c_1x1", **options)
    return tf.squeeze(x, [1, 2])


def v1(x):
    with tf.variable_scope("MobilenetV1"):
        x = conv(x, 4, "Conv2d_0", 3, 2)
        for number, (size, stride) in enumerate(((6, 1), (8, 2)), 1):
            prefix = "Conv2d_" + str(number)
            x = conv(depthwise(x, prefix + "_depthwise", stride), size, prefix + "_pointwise")
        return logits(x)


def bottleneck(x, size, scope, stride=1, expanded=True):
    with tf.variable_scope(scope):
        inner = conv(x, 6 * int(x.shape[-1]), "expand") if expanded else x
        inner = conv(depthwise(inner, "depthwise", stride), size, "project", activation=None)
    return x + inner if inner.shape.as_list() == x.shape.as_list() else inner


def v2(x):
    with tf.variable_scope("MobilenetV2"):
        x = conv(x, 4, "Conv", 3, 2)
        x = bottleneck(x, 3, "expanded_conv", expanded=False)
        x = bottleneck(x, 4, "expanded_conv_1", 2)
        x = bottleneck(x, 4, "expanded_conv_2")
        return logits(conv(x, 8, "Conv_1"))


def compute(name, make):
    """Make a network, give its variables values, save them, and return the logits."""
    with tf.Graph().as_default(), tf.Session() as session:
        options = {"normalizer_fn": slim.batch_norm, "normalizer_params": NORM}
        with slim.arg_scope([slim.conv2d, slim.separable_conv2d], padding="SAME", **options):
            outputs = make(tf.constant(IMAGES))
        random = np.random.RandomState(2)
        session.run(tf.global_variables_initializer())
        for variable in tf.global_variables():
            low = 0.5 if variable.op.name.endswith("moving_variance") else -1
            value = random.uniform(low, 1, variable.shape.as_list())
            variable.load(value.astype(np.float32), session)
        expected = session.run(outputs)
        prefix = os.path.join("mobilenets", name, "model.ckpt")
        os.makedirs(os.path.dirname(prefix), exist_ok=True)
        saver = tf.train.Saver()
        saver.save(session, prefix, write_meta_graph=False, write_state=False)
        session.run(tf.global_variables_initializer())
        saver.restore(session, prefix)
        np.testing.assert_array_equal(session.run(outputs), expected)
        return expected


def main():
    os.chdir(writing.start(tf.__version__, "1.15.5"))
    values = {name: compute(name, make) for name, make in (("v1", v1), ("v2", v2))}
    writing.write_values(os.path.join("mobilenets", "mobilenets.npz"), dict(values, x=IMAGES))


if __name__ == "__main__":
    main()
