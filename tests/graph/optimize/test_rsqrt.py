"""Reciprocal square roots of constants become constants, rounded correctly."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.formats.graphdef import split
from tfpersist.frozen.model import FrozenModel
from tfpersist.graph.optimize.passes import optimize
from tfpersist.graph.optimize.rsqrt import fold_rsqrt, rsqrt

RNG = np.random.default_rng(5)


def built(variance, build=lambda x, root: x * root):
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (2, 9, 9, variance.shape[-1]), name="x")
        build(x, tf.math.rsqrt(tf.constant(variance), name="root"))
        tf.identity(graph.get_operations()[-1].outputs[0], name="y")
    return split(graph.as_graph_def().SerializeToString())


def ops_of(graph):
    return sorted(node.op for node in graph.proto.node)


@pytest.mark.parametrize("channels", [6, 2000])
def test_a_batch_norm_of_its_own_is_one_product_and_one_sum(channels):
    """As that of a ResNet which normalizes before it convolves; few channels and a payload."""
    variance = RNG.uniform(1e-3, 10, channels).astype(np.float32)
    gamma, beta, mean = (RNG.normal(size=channels).astype(np.float32) for _ in range(3))
    graph = built(variance, lambda x, root: x * (root * gamma) + (beta - mean * (root * gamma)))
    found = optimize(graph, ["y:0"])
    assert ops_of(found) == ["AddV2", "Const", "Const", "Identity", "Mul", "Placeholder"]
    feeds = {"x:0": RNG.normal(size=(2, 9, 9, channels)).astype(np.float32)}
    with FrozenModel(graph) as plain, FrozenModel(found) as small:
        expected, result = plain.run("y:0", feeds), small.run("y:0", feeds)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_what_tensorflow_computes_but_for_the_last_bit(dtype):
    values = np.exp(RNG.uniform(-60, 60, 5000)).astype(dtype)
    expected = tf.math.rsqrt(values).numpy()
    np.testing.assert_array_max_ulp(rsqrt(values), expected, 2)


@pytest.mark.parametrize("variance", [[0.0, 1.0], [-1.0, 1.0], [np.nan, 1.0], [np.inf, -np.inf]])
def test_what_is_no_finite_number_stays(variance):
    graph = built(np.float32(variance))
    assert "Rsqrt" in ops_of(optimize(graph, ["y:0"]))


def test_one_that_a_user_reads_stays_computed():
    graph = built(np.float32([4.0, 1.0]))
    before = graph.proto.SerializeToString(deterministic=True)
    assert fold_rsqrt(graph, ["root"]).nodes["root"].op == "Rsqrt"
    assert fold_rsqrt(graph, []).nodes["root"].op == "Const"
    assert graph.proto.SerializeToString(deterministic=True) == before
