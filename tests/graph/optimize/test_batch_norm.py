from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.formats.graphdef import parse_text, split
from tfpersist.frozen.model import FrozenModel
from tfpersist.graph.optimize.batch_norm import fold_batch_norm
from tfpersist.graph.optimize.passes import optimize
from tfpersist.graph.optimize.weights import expand

RNG = np.random.default_rng(7)
IMAGES = RNG.normal(size=(2, 9, 9, 6)).astype(np.float32)


def values(*shape, low=None):
    found = RNG.normal(size=shape) if low is None else RNG.uniform(low, 2, size=shape)
    return tf.constant(found.astype(np.float32))


def normal(channels):
    return values(channels, low=0.5), values(channels), values(channels), values(channels, low=0.5)


def fused(x, channels, **options):
    gamma, beta, mean, variance = normal(channels)
    given = {"epsilon": 1e-3, "is_training": False, **options}
    op = given.pop("op", tf.raw_ops.FusedBatchNormV3)
    return op(x=x, scale=gamma, offset=beta, mean=mean, variance=variance, **given)


def keras_form(x, channels, *, swapped=False):
    gamma, beta, mean, variance = normal(channels)
    scale = tf.math.rsqrt(variance + 1e-3) * gamma
    if swapped:
        return (beta - mean * scale) + scale * x
    return x * scale + (beta - mean * scale)


def conv(x, out, **options):
    kernel = values(3, 3, x.shape[-1], out)
    return tf.nn.conv2d(x, kernel, **{"strides": 1, "padding": "SAME", **options})


def depthwise(x, times):
    return tf.nn.depthwise_conv2d(x, values(3, 3, x.shape[-1], times), (1, 2, 2, 1), "VALID")


def transposed_conv(x, out):
    shape = (tf.shape(x)[0], 18, 18, out)
    return tf.nn.conv2d_transpose(x, values(3, 3, out, x.shape[-1]), shape, 2)


def volumes(x):
    return tf.reshape(x, (-1, 3, 3, 9, 6))


BUILDS = {
    "fused": lambda x: fused(conv(x, 5), 5).y,
    "fused 1": lambda x: fused(conv(x, 5), 5, op=tf.raw_ops.FusedBatchNorm).y,
    "fused 2": lambda x: fused(conv(x, 5), 5, op=tf.raw_ops.FusedBatchNormV2).y,
    "default epsilon": lambda x: fused(conv(x, 5), 5, epsilon=0.0001).y,
    "bias before": lambda x: fused(conv(x, 5) + values(5), 5).y,
    "BiasAdd before": lambda x: fused(tf.nn.bias_add(conv(x, 5), values(5)), 5).y,
    "keras form": lambda x: keras_form(conv(x, 5), 5),
    "keras form swapped": lambda x: keras_form(conv(x, 5, dilations=2), 5, swapped=True),
    "subtracted": lambda x: (values(5) - conv(x, 5)) * values(5) - values(1, 1, 1, 5),
    "scaled": lambda x: conv(x, 5, strides=2) * values(5) * 0.5,
    "depthwise": lambda x: fused(depthwise(x, 3), 18).y,
    "depthwise keras": lambda x: keras_form(depthwise(x, 1), 6),
    "matmul": lambda x: keras_form(tf.reshape(x, (-1, 6)) @ values(6, 5) + values(5), 5),
    "transposed": lambda x: keras_form(
        tf.matmul(tf.reshape(x, (-1, 6)), values(5, 6), transpose_b=True), 5
    ),
    "transposed convolution": lambda x: fused(transposed_conv(x, 5), 5).y,
    "transposed convolution, keras": lambda x: keras_form(transposed_conv(x, 5) + values(5), 5),
    "volumes": lambda x: keras_form(
        tf.nn.conv3d(volumes(x), values(2, 2, 2, 6, 5), [1] * 5, "SAME"), 5
    ),
    "volumes, fused": lambda x: (
        fused(
            tf.nn.conv3d(volumes(x), values(2, 2, 2, 6, 5), [1] * 5, "SAME"), 5, data_format="NDHWC"
        ).y
    ),
    "volumes, transposed": lambda x: keras_form(
        tf.nn.conv3d_transpose(volumes(x), values(2, 2, 2, 5, 6), (2, 6, 6, 18, 5), 2), 5
    ),
    "two in a row": lambda x: fused(conv(tf.nn.relu(fused(conv(x, 4), 4).y), 5), 5).y,
    "large kernel": lambda x: fused(conv(conv(x, 40), 30), 30).y,
    "explicit padding": lambda x: (
        fused(tf.nn.conv2d(x, values(3, 3, 6, 5), 1, [[0, 0], [1, 2], [0, 1], [0, 0]]), 5).y
    ),
}


def frozen(build):
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (None, 9, 9, 6), name="x")
        tf.identity(build(x), name="y")
    return split(graph.as_graph_def().SerializeToString())


def ops_of(graph):
    return [node.op for node in graph.proto.node]


def result(graph, fetches="y:0"):
    with FrozenModel(graph) as model:
        return model.run(fetches, {"x:0": IMAGES})


@pytest.mark.parametrize("name", BUILDS)
def test_it_is_folded(name):
    graph = frozen(BUILDS[name])
    optimized = optimize(graph, ["y:0"])
    kinds = ops_of(optimized)
    assert not any(op.startswith("FusedBatchNorm") or op in ("Mul", "Rsqrt") for op in kinds)
    assert kinds.count("BiasAdd") == (2 if name == "two in a row" else 1)
    expected, found = result(graph), result(optimized)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    again = optimize(optimized, ["y:0"])
    assert again.proto.SerializeToString(deterministic=True) == optimized.proto.SerializeToString(
        deterministic=True
    )


def shared_kernel(x):
    kernel = values(3, 3, 6, 5)
    one, other = (tf.nn.conv2d(each, kernel, 1, "SAME") for each in (x, x * 2.0))
    return fused(one, 5).y + other


def read_twice(x):
    inner = conv(x, 5)
    return fused(inner, 5).y + inner


def statistics(x):
    found = fused(conv(x, 5), 5)
    return found.y + found.batch_mean


LEFT = {
    "shared kernel": shared_kernel,
    "read twice": read_twice,
    "training": lambda x: fused(conv(x, 5), 5, is_training=True).y,
    "statistics": statistics,
    "no convolution": lambda x: fused(tf.nn.relu(x), 6).y,
    "kernel that is computed": lambda x: (
        fused(tf.nn.conv2d(x, tf.reshape(x[0, :, :, :3], (3, 3, 9, 3))[:, :, :6], 1, "SAME"), 3).y
    ),
    "variance zero": lambda x: (
        tf.raw_ops.FusedBatchNormV3(
            x=conv(x, 5),
            scale=values(5),
            offset=values(5),
            mean=values(5),
            variance=tf.zeros(5),
            epsilon=0.0,
            is_training=False,
        ).y
    ),
    "by pixel": lambda x: conv(x, 1) * values(1, 1, 9, 1),
    "larger rank": lambda x: tf.reshape(x, (-1, 6)) @ values(6, 5) * values(1, 1, 5),
    "a number": lambda x: conv(x, 5) * 0.5,
}


@pytest.mark.parametrize("name", LEFT)
def test_it_is_left(name):
    graph = frozen(LEFT[name])
    optimized = optimize(graph, ["y:0"])
    assert any(op.startswith("FusedBatchNorm") or op == "Mul" for op in ops_of(optimized))
    np.testing.assert_array_equal(result(optimized), result(graph))


def test_an_output_inside_the_chain_stays():
    def build(x):
        return fused(tf.identity(conv(x, 5), name="inner"), 5).y

    graph = frozen(build)
    optimized = optimize(graph, ["y:0", "inner:0"])
    for one, other in zip(
        result(graph, ["y:0", "inner:0"]), result(optimized, ["y:0", "inner:0"]), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)
    convolution = next(node.name for node in graph.proto.node if node.op == "Conv2D")
    kept = optimize(graph, ["y:0", f"{convolution}:0"])
    np.testing.assert_array_equal(
        result(kept, f"{convolution}:0"), result(graph, f"{convolution}:0")
    )
    assert convolution not in optimize(graph, ["y:0"]).nodes


@pytest.mark.parametrize("extent", [10**9, 1 << 40, -1])
def test_a_kernel_that_is_larger_than_its_bytes_is_left(extent):
    graph = parse_text(
        f"""
        node {{ name: "x" op: "Placeholder" attr {{ key: "dtype" value {{ type: DT_FLOAT }} }} }}
        node {{ name: "k" op: "Const" attr {{ key: "dtype" value {{ type: DT_FLOAT }} }}
          attr {{ key: "value" value {{ tensor {{ dtype: DT_FLOAT float_val: 1 tensor_shape {{
            dim {{ size: 1 }} dim {{ size: {extent} }} }} }} }} }} }}
        node {{ name: "s" op: "Const" attr {{ key: "dtype" value {{ type: DT_FLOAT }} }}
          attr {{ key: "value" value {{ tensor {{ dtype: DT_FLOAT float_val: 2 tensor_shape {{
            dim {{ size: {extent} }} }} }} }} }} }}
        node {{ name: "none" op: "Const" }}
        node {{ name: "other" op: "MatMul" input: "x" input: "none" }}
        node {{ name: "half" op: "Cast" input: "none" }}
        node {{ name: "p" op: "MatMul" input: "x" input: "k" }}
        node {{ name: "y" op: "Mul" input: "p" input: "s" attr {{ key: "T" value {{ type: 1 }} }} }}
        """.encode()
    )
    before = graph.proto.SerializeToString(deterministic=True)
    assert fold_batch_norm(graph, ["y"]) is graph
    assert expand(graph) is graph
    assert ops_of(optimize(graph, ["y", "other", "half"])).count("MatMul") == 2
    assert graph.proto.SerializeToString(deterministic=True) == before


def test_channels_first():
    """TensorFlow's processors do not compute it, so the weights are looked at."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (1, 6, 9, 9), name="x")
        kernel = np.ones((1, 1, 6, 2), np.float32)
        y = tf.nn.conv2d(x, tf.constant(kernel), 1, "SAME", data_format="NCHW")
        y = tf.nn.bias_add(y, tf.constant([1.0, 2.0]), data_format="NCHW")
        parts = {"scale": [2.0, 4.0], "offset": [0.5, 0.25], "mean": [1.0, 0.0]}
        tf.raw_ops.FusedBatchNormV3(
            x=y,
            variance=tf.constant([1.0, 4.0]),
            epsilon=0.0,
            is_training=False,
            data_format="NCHW",
            name="bn",
            **{k: tf.constant(v) for k, v in parts.items()},
        )
    optimized = optimize(split(graph.as_graph_def().SerializeToString()), ["bn:0"])
    assert [node.op for node in optimized.proto.node] == [
        "Placeholder",
        "Conv2D",
        "BiasAdd",
        "Const",
        "Const",
    ]
    bias = optimized.nodes["bn"]
    assert bias.attr["data_format"].s == b"NCHW"
    from tfpersist.graph.optimize.fold import constant_value
    from tfpersist.graph.optimize.simplify import load_constant

    np.testing.assert_allclose(constant_value(optimized.nodes[bias.input[1]]), [0.5, 4.25])
    kernel = optimized.nodes[optimized.nodes[bias.input[0]].input[1]]
    scaled = load_constant(kernel, optimized.payloads)
    np.testing.assert_allclose(scaled[0, 0, 0], [2.0, 2.0])


def test_a_keras_model_gets_smaller(tmp_path):
    from tfpersist.freezer.freezer import Freezer

    tf.keras.utils.set_random_seed(1)
    model = tf.keras.applications.MobileNetV2(
        weights=None, input_shape=(32, 32, 3), include_top=False, alpha=0.35
    )
    for variable in model.variables:
        if "moving_variance" in variable.path or "gamma" in variable.path:
            variable.assign(RNG.uniform(0.5, 1.5, size=variable.shape))
        elif "moving_mean" in variable.path or "beta" in variable.path:
            variable.assign(RNG.normal(size=variable.shape) * 0.1)
    x = RNG.normal(size=(2, 32, 32, 3)).astype(np.float32)
    plain = Freezer(model).write(tmp_path / "plain.pb")
    small = Freezer(model).optimize().parity({"input": x}, 1e-4).write(tmp_path / "small.pb")
    Freezer(model).optimize().parity({"input": x}, 1e-4).freeze().write(tmp_path / "again.pb")
    assert (tmp_path / "small.pb").read_bytes() == (tmp_path / "again.pb").read_bytes()
    assert len(small.graph.nodes) < len(plain.graph.nodes) / 3
    assert (tmp_path / "small.pb").stat().st_size < (tmp_path / "plain.pb").stat().st_size
    assert (small.inputs[0].name, small.outputs[0].name) == (
        plain.inputs[0].name,
        plain.outputs[0].name,
    )
    assert small.signature.outputs == plain.signature.outputs
    expected = model(x, training=False).numpy()
    found = small.run(small.outputs[0], {"input": x})
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
