"""Narrow networks of TF-Slim, with TensorFlow 1.15.

Usage: python slim_nets1.py FOLDER

resnet_v1, resnet_v2 and inception_v3 are those of tf.contrib.slim.nets, with few channels and, for
the ResNets, two units in each block. inception_resnet_v2 has the layers and the scopes of the
network of that name in the models of TF-Slim, with few channels. Their checkpoints are
slim_nets/<name>/model.ckpt, without a graph. slim_nets.npz holds the logits of each network under
its name.
"""

import os

import numpy as np
import tensorflow as tf
import writing
from tensorflow.contrib import slim
from tensorflow.contrib.slim.nets import inception, resnet_v1, resnet_v2

CLASSES = 3
NARROW = 0.01


def images(size):
    """Return two images, which are too large for a file."""
    return np.sin(np.arange(2 * size * size * 3)).reshape([2, size, size, 3]).astype(np.float32)


def residual(nets, function, block):
    """Return a ResNet with two units of one to four channels in each block."""

    def make(x):
        blocks = [
            block("block" + str(number), base_depth=number, num_units=2, stride=stride)
            for number, stride in enumerate((2, 2, 2, 1), 1)
        ]
        with slim.arg_scope(nets.resnet_arg_scope()):
            scope = function.__name__ + "_50"
            return function(x, blocks, CLASSES, is_training=False, scope=scope)[0]

    return make


def inception_v3(x):
    with slim.arg_scope(inception.inception_v3_arg_scope()):
        options = {"is_training": False, "min_depth": 2, "depth_multiplier": NARROW}
        return inception.inception_v3(x, CLASSES, **options)[0]


def narrow(size):
    return max(int(size * NARROW), 2)


def conv(x, size, kernel, scope, **options):
    return slim.conv2d(x, narrow(size), kernel, scope="Conv2d_" + scope, **options)


def block(x, scale=1.0, scope=None, branches=(), activation=tf.nn.relu):
    with tf.variable_scope(scope):
        ends = []
        for number, layers in enumerate(branches):
            with tf.variable_scope("Branch_" + str(number)):
                end = x
                for size, kernel, name in layers:
                    end = conv(end, size, kernel, name)
                ends.append(end)
        options = {"normalizer_fn": None, "activation_fn": None, "scope": "Conv2d_1x1"}
        up = slim.conv2d(tf.concat(ends, 3), x.shape[3], 1, **options)
        x = x + scale * up
        return activation(x) if activation else x


BLOCK35 = (
    ((32, 1, "1x1"),),
    ((32, 1, "0a_1x1"), (32, 3, "0b_3x3")),
    ((32, 1, "0a_1x1"), (48, 3, "0b_3x3"), (64, 3, "0c_3x3")),
)
BLOCK17 = (
    ((192, 1, "1x1"),),
    ((128, 1, "0a_1x1"), (160, [1, 7], "0b_1x7"), (192, [7, 1], "0c_7x1")),
)
BLOCK8 = (
    ((192, 1, "1x1"),),
    ((192, 1, "0a_1x1"), (224, [1, 3], "0b_1x3"), (256, [3, 1], "0c_3x1")),
)


def repeat(x, outer, number, name, scale, branches):
    with tf.variable_scope(outer):
        for at in range(1, number + 1):
            x = block(x, scale, name + "_" + str(at), branches)
    return x


def branch(x, number, *layers):
    """Return the end of a branch. The last layer of a reduction has a stride."""
    with tf.variable_scope("Branch_" + str(number)):
        for size, kernel, name in layers:
            options = {"stride": 2, "padding": "VALID"} if name.startswith("1a") else {}
            x = conv(x, size, kernel, name, **options)
    return x


def inception_resnet_v2(x):
    norm = {"is_training": False, "epsilon": 0.001}
    with tf.variable_scope("InceptionResnetV2"), slim.arg_scope(
        [slim.conv2d], normalizer_fn=slim.batch_norm, normalizer_params=norm
    ):
        x = conv(x, 32, 3, "1a_3x3", stride=2, padding="VALID")
        x = conv(x, 32, 3, "2a_3x3", padding="VALID")
        x = slim.max_pool2d(conv(x, 64, 3, "2b_3x3"), 3, 2)
        x = conv(x, 80, 1, "3b_1x1", padding="VALID")
        x = slim.max_pool2d(conv(x, 192, 3, "4a_3x3", padding="VALID"), 3, 2)
        with tf.variable_scope("Mixed_5b"):
            ends = [
                branch(x, 0, (96, 1, "1x1")),
                branch(x, 1, (48, 1, "0a_1x1"), (64, 5, "0b_5x5")),
                branch(x, 2, (64, 1, "0a_1x1"), (96, 3, "0b_3x3"), (96, 3, "0c_3x3")),
                branch(slim.avg_pool2d(x, 3, 1, "SAME"), 3, (64, 1, "0b_1x1")),
            ]
        x = repeat(tf.concat(ends, 3), "Repeat", 10, "block35", 0.17, BLOCK35)
        with tf.variable_scope("Mixed_6a"):
            ends = [
                branch(x, 0, (384, 3, "1a_3x3")),
                branch(x, 1, (256, 1, "0a_1x1"), (256, 3, "0b_3x3"), (384, 3, "1a_3x3")),
                slim.max_pool2d(x, 3, 2),
            ]
        x = repeat(tf.concat(ends, 3), "Repeat_1", 20, "block17", 0.1, BLOCK17)
        with tf.variable_scope("Mixed_7a"):
            ends = [
                branch(x, 0, (256, 1, "0a_1x1"), (384, 3, "1a_3x3")),
                branch(x, 1, (256, 1, "0a_1x1"), (288, 3, "1a_3x3")),
                branch(x, 2, (256, 1, "0a_1x1"), (288, 3, "0b_3x3"), (320, 3, "1a_3x3")),
                slim.max_pool2d(x, 3, 2),
            ]
        x = repeat(tf.concat(ends, 3), "Repeat_2", 9, "block8", 0.2, BLOCK8)
        x = conv(block(x, scope="Block8", branches=BLOCK8, activation=None), 1536, 1, "7b_1x1")
        with tf.variable_scope("Logits"):
            x = tf.reduce_mean(x, [1, 2])
            return slim.fully_connected(x, CLASSES, activation_fn=None, scope="Logits")


def value(random, variable):
    """Return a value with which numbers neither vanish nor grow from layer to layer."""
    name, shape = variable.op.name, variable.shape.as_list()
    if name.endswith("weights"):
        return random.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))
    if name.endswith("moving_mean"):
        return random.uniform(-0.2, 0.2, shape)
    if name.endswith("beta"):
        # Few channels are always below zero.
        return random.uniform(0.2, 0.6, shape)
    if name.endswith("resnet_v2_50/conv1/biases"):
        # All that the first pooling sees is above zero, so that padding with zeros changes nothing.
        return random.uniform(9, 10, shape)
    return random.uniform(0.5, 1.5, shape)


def compute(name, make, size):
    """Make a network, give its variables values, save them, and return the logits."""
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = tf.reshape(make(tf.constant(images(size))), [2, CLASSES])
        random = np.random.RandomState(2)
        variables = tf.trainable_variables()
        variables += [one for one in tf.global_variables() if "/moving_" in one.op.name]
        values = {one.initializer.inputs[1]: value(random, one) for one in variables}
        session.run([one.initializer for one in variables], values)
        expected = session.run(outputs)
        prefix = os.path.join("slim_nets", name, "model.ckpt")
        os.makedirs(os.path.dirname(prefix), exist_ok=True)
        saver = tf.train.Saver()
        saver.save(session, prefix, write_meta_graph=False, write_state=False)
        session.run(tf.global_variables_initializer())
        saver.restore(session, prefix)
        np.testing.assert_array_equal(session.run(outputs), expected)
        return expected


def main():
    os.chdir(writing.start(tf.__version__, "1.15.5"))
    values = {}
    # One more than a multiple of 32, as TF-Slim recommends for its ResNets; and the smallest images
    # for which Inception has its auxiliary logits.
    for name, make, size in (
        ("resnet_v1", residual(resnet_v1, resnet_v1.resnet_v1, resnet_v1.resnet_v1_block), 65),
        ("resnet_v2", residual(resnet_v2, resnet_v2.resnet_v2, resnet_v2.resnet_v2_block), 65),
        ("inception_v3", inception_v3, 107),
        ("inception_resnet_v2", inception_resnet_v2, 107),
    ):
        values[name] = compute(name, make, size)
    writing.write_values(os.path.join("slim_nets", "slim_nets.npz"), values)


if __name__ == "__main__":
    main()
