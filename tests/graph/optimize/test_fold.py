"""Constants that numpy computes are those that TensorFlow computes."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.formats import schema
from tfpersist.graph.optimize import fold

F = np.array([[1.5, -2.25], [1e-30, 3e38]], np.float32)
N = np.array([2**31 - 1, -7, 3], np.int32)


def ops():
    yield tf.logical_not(np.array([True, False]))
    yield tf.logical_and(True, False)
    yield tf.logical_or(True, False)
    for compare in (tf.equal, tf.not_equal, tf.less, tf.less_equal, tf.greater, tf.greater_equal):
        yield compare(F, F.T)
    for compute in (tf.add, tf.subtract, tf.multiply):
        yield compute(F, F.T)
        yield compute(N, N[::-1])
    yield tf.raw_ops.Add(x=F, y=np.float32(0.1))
    yield tf.realdiv(F, np.float32(0))
    yield tf.negative(F)
    yield tf.cast(F[0], tf.int32)
    yield tf.cast(N, tf.float32)
    yield tf.cast(F, tf.bool)
    yield tf.reshape(F, [-1])
    yield tf.expand_dims(F, 1)
    yield tf.squeeze(F[None, ..., None], [0])
    yield tf.squeeze(F[None, ..., None])
    yield tf.stack([F, F], axis=1)
    yield tf.concat([F, F], axis=-1)
    yield tf.transpose(F[None], [2, 0, 1])
    yield tf.range(2, 9, 3)
    yield tf.equal(np.array([b"train", b"eval"]), b"eval")
    yield tf.not_equal(tf.constant("train"), "eval")
    for choose in (tf.maximum, tf.minimum):
        yield choose(F, np.float32([[3], [1]]))
        yield choose(N, 3)
    for reduce in (tf.reduce_max, tf.reduce_min):
        yield reduce(F, 1)
        yield reduce(N, [0], keepdims=True)
    yield tf.reduce_sum(N[:, None] * N, [0, -1])
    yield tf.reduce_prod(N)
    yield tf.reduce_any(F > 0, 0)
    yield tf.reduce_all(F > 0, 1, keepdims=True)
    for compute in (tf.abs, tf.square):
        yield compute(F)
        yield compute(N)
    spread = (
        np.random.default_rng(0).integers(0x0080_0000, 0x7F80_0000, 4099, np.int32).view(np.float32)
    )
    yield tf.sqrt(spread)
    yield tf.sqrt(np.random.default_rng(1).random(4099))
    yield tf.floor(F)
    yield tf.math.ceil(F)
    yield tf.fill([2, 3], np.float32(0.1))


def test_they_agree_bit_by_bit():
    seen = set()
    with tf.Graph().as_default() as graph:
        outputs = list(ops())
    with v1.Session(graph=graph) as session:
        for output in outputs:
            node = schema.NodeDef.FromString(output.op.node_def.SerializeToString())
            expected, *inputs = session.run([output, *output.op.inputs])
            inputs = [np.asarray(one, object if isinstance(one, bytes) else None) for one in inputs]
            found = fold.evaluate(node, inputs)
            assert found is not None, node.op
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
            assert found.tobytes() == np.ascontiguousarray(expected).tobytes()
            seen.add(node.op)
    assert seen | {"Identity"} == set(fold._EVALUATORS)


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        ("Exp", [F]),
        ("RealDiv", [N, N]),
        ("Add", [F, N.reshape(3, 1)]),
        ("Reshape", [F, np.array([7])]),
        ("Add", [F[0].astype(np.float16)] * 2),
        ("Maximum", [np.float32([0.0]), np.float32([-0.0])]),
        ("Minimum", [np.float32([np.nan]), np.float32([1.0])]),
        ("Max", [np.float32([np.nan, 1.0]), np.array(0)]),
        ("Sum", [F, np.array(0)]),
        ("Sqrt", [np.float32([-1.0])]),
        ("Sqrt", [np.float32([1e-40])]),
        ("Mul", [np.float32([1e-30]), np.float32([1e-10])]),
        ("Greater", [np.float32([1e-40]), np.float32([0])]),
        ("Fill", [np.array([1 << 20, 1 << 20]), np.array(0, np.int32)]),
        ("Add", [np.array([b"a"], object)] * 2),
        ("Equal", [np.array(["a"], object), np.array([b"a"], object)]),
        ("Fill", [np.array([2, 2]), F[0]]),
    ],
)
def test_other_ops_are_not_folded(op, inputs):
    node = schema.NodeDef(name="n", op=op)
    node.attr["T"].type = 1
    assert fold.evaluate(node, inputs) is None


@pytest.mark.parametrize("value", [3e38, 2.0**31, -(2.0**31) * 1.01, np.nan])
def test_a_number_that_an_integer_cannot_hold(value):
    node = schema.NodeDef(name="n", op="Cast")
    node.attr["SrcT"].type, node.attr["DstT"].type = 1, 3
    assert fold.evaluate(node, [np.array(value, np.float32)]) is None
    assert fold.evaluate(node, [np.array(-1.5, np.float32)]) == -1


def test_tiny_numbers_can_be_moved():
    node = schema.NodeDef(name="n", op="Reshape")
    node.attr["T"].type, node.attr["Tshape"].type = 1, 3
    found = fold.evaluate(node, [np.float32([[1e-40, 1]]), np.int32([2])])
    assert found.tolist() == [np.float32(1e-40), 1]


def test_a_damaged_constant_has_no_value():
    node = schema.NodeDef(name="c", op="Const")
    node.attr["value"].tensor.dtype = 1
    node.attr["value"].tensor.tensor_shape.dim.add(size=3)
    node.attr["value"].tensor.tensor_content = b"123"
    assert fold.constant_value(node) is None


def test_a_result_larger_than_its_graph_is_left():
    side = np.ones(100_000, np.float32)
    multiply = schema.NodeDef(name="n", op="Mul")
    multiply.attr["T"].type = 1
    assert fold.evaluate(multiply, [side[:, None], side]) is None
    count = schema.NodeDef(name="n", op="Range")
    count.attr["Tidx"].type = 9
    limits = [np.array(each, np.int64) for each in (0, 2**62, 1)]
    assert fold.evaluate(count, limits) is None
