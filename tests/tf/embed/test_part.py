"""A part of a frozen model is called with tensors, and infers shapes without running."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import tensorflow as tf

from tfpersist.errors import FeedError
from tfpersist.formats import graphdef
from tfpersist.graph.describe import endpoints
from tfpersist.tf.embed.part import existing_part, part_of

v1 = tf.compat.v1


@pytest.fixture
def part():
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [None, 3], name="x")
        n = v1.placeholder(tf.int32, [], name="n")
        tf.multiply(x, tf.cast(n, tf.float32), name="y")
        tf.reduce_sum(x, name="z")
    made = graphdef.split(graph.as_graph_def(add_shapes=True).SerializeToString())
    names = ("x", "n"), ("y", "z")
    return part_of(made, *([endpoints.find(made, name) for name in some] for some in names))


def test_outputs_are_in_the_order_of_the_part(part):
    y, z = part.call([np.ones((2, 3)), 4])
    assert y.numpy().tolist() == [[4.0] * 3] * 2
    assert float(z) == 6
    assert part.variables == []


def test_floats_of_another_size_are_cast_and_integers_are_not(part):
    for dtype in (tf.float16, tf.float64):
        assert part.call([tf.ones((1, 3), dtype), 2])[0].dtype == tf.float32
    with pytest.raises(FeedError, match="x:0: the input has the wrong data type"):
        part.call([tf.ones((1, 3), tf.int32), 2])
    with pytest.raises(FeedError, match="n:0: the input has the wrong data type"):
        part.call([tf.ones((1, 3)), 2.0])


def test_shapes_of_outputs_follow_from_those_of_inputs(part):
    y, z = part.infer([((5, 3), "float32"), ((), "int32")])
    assert (y.shape, z.shape) == ((5, 3), ())
    assert part.infer([((None, 3), "float16"), ((), "int32")])[0].shape == (None, 3)
    with pytest.raises(FeedError, match="x:0: the input has the wrong shape"):
        part.infer([((5, 4), "float32"), ((), "int32")])


def test_a_part_is_found_by_its_identity_as_long_as_it_lives(part):
    identity = part.identity
    assert existing_part(identity) is part
    assert existing_part("of another process") is None
    other = part_of(part.graph, part.inputs, part.outputs)
    assert other.identity != identity
    identity = other.identity
    del other
    gc.collect()
    assert existing_part(identity) is None
