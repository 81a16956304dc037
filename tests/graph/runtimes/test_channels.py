"""The channels of images in a graph, from the constants around them."""

import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.formats.graphdef import Graph, split
from tfpersist.graph.runtimes.body import Body
from tfpersist.graph.runtimes.channels import channels, shape_of


def body_of(build):
    with tf.Graph().as_default() as graph:
        build()
    graph = split(graph.as_graph_def().SerializeToString())
    assert isinstance(graph, Graph)
    return Body(graph.proto.node)


def image(*shape):
    return v1.placeholder(tf.float32, shape, name="x")


WIDE = (None, 8, 8, 6)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: image(*WIDE), 6),
        (lambda: image(None, 8, 8, None), None),
        (lambda: v1.placeholder(tf.float32, name="x"), None),
        (lambda: tf.nn.relu(tf.nn.max_pool2d(image(*WIDE), 2, 2, "SAME")), 6),
        (lambda: tf.nn.conv2d(image(*WIDE), tf.ones((3, 3, 6, 5)), 1, "SAME"), 5),
        (lambda: tf.nn.conv2d(image(*WIDE), tf.ones((3, 3, 2, 9)), 1, "SAME"), 9),
        (
            lambda: tf.nn.conv2d_transpose(
                image(1, 8, 8, 6), tf.ones((3, 3, 5, 6)), (1, 8, 8, 5), 1
            ),
            5,
        ),
        (lambda: tf.nn.depthwise_conv2d(image(*WIDE), tf.ones((3, 3, 6, 2)), [1] * 4, "SAME"), 12),
        (lambda: tf.nn.bias_add(image(*WIDE), tf.ones(6)), 6),
        (lambda: image(None, 8, 8, None) * tf.constant([2.0] * 7), 7),
        (lambda: 2.0 - image(*WIDE), 6),
        (lambda: image(*WIDE) - 2.0, 6),
        (lambda: image(*WIDE) + tf.constant([[1.0]] * 8), 6),
        (lambda: tf.reduce_sum(image(*WIDE), -1), None),
    ],
)
def test_channels_last(make, expected):
    assert channels("y", body_of(lambda: tf.identity(make(), name="y")), -1) == expected


def test_channels_first():
    def x():
        return image(None, 6, 8, 8)

    assert channels("x", body_of(x), 1) == 6
    body = body_of(lambda: tf.add(image(None, None, 8, 8), tf.constant([[[1.0]]] * 5), name="y"))
    assert channels("y", body, 1) == 5
    body = body_of(lambda: tf.add(x(), tf.constant([1.0] * 8), name="y"))
    assert channels("y", body, 1) == 6


def test_the_shape_of_a_constant():
    body = body_of(
        lambda: (
            tf.cast(tf.constant([[1, 2, 3]], tf.float16, name="c"), tf.float32, name="y"),
            tf.identity(image(2), name="z"),
        )
    )
    assert shape_of("c", body) == shape_of("y", body) == [1, 3]
    assert shape_of("z", body) is shape_of("elsewhere", body) is None
