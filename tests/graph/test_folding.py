"""Constants that numpy computes are those that TensorFlow computes."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.formats import schema
from tfpersist.graph import folding

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


def test_they_agree_bit_by_bit():
    seen = set()
    with tf.Graph().as_default() as graph:
        outputs = list(ops())
    with v1.Session(graph=graph) as session:
        for output in outputs:
            node = schema.NodeDef.FromString(output.op.node_def.SerializeToString())
            expected, *inputs = session.run([output, *output.op.inputs])
            found = folding.evaluate(node, inputs)
            assert found is not None, node.op
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
            assert found.tobytes() == np.ascontiguousarray(expected).tobytes()
            seen.add(node.op)
    assert seen | {"Identity"} == set(folding._OPS)


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        ("Exp", [F]),
        ("RealDiv", [N, N]),
        ("Add", [F, N.reshape(3, 1)]),
        ("Reshape", [F, np.array([7])]),
        ("Add", [F[0].astype(np.float16)] * 2),
    ],
)
def test_what_it_does_not_compute_it_leaves(op, inputs):
    node = schema.NodeDef(name="n", op=op)
    node.attr["T"].type = 1
    assert folding.evaluate(node, inputs) is None


def test_a_number_that_an_integer_cannot_hold():
    node = schema.NodeDef(name="n", op="Cast")
    node.attr["SrcT"].type, node.attr["DstT"].type = 1, 3
    assert folding.evaluate(node, [np.array(3e38, np.float32)]) is None
    assert folding.evaluate(node, [np.array(-1.5, np.float32)]) == -1


def test_a_damaged_constant_has_no_value():
    node = schema.NodeDef(name="c", op="Const")
    node.attr["value"].tensor.dtype = 1
    node.attr["value"].tensor.tensor_shape.dim.add(size=3)
    node.attr["value"].tensor.tensor_content = b"123"
    assert folding.constant(node) is None


def test_a_result_larger_than_its_graph_is_left():
    side = np.ones(100_000, np.float32)
    multiply = schema.NodeDef(name="n", op="Mul")
    multiply.attr["T"].type = 1
    assert folding.evaluate(multiply, [side[:, None], side]) is None
    count = schema.NodeDef(name="n", op="Range")
    count.attr["Tidx"].type = 9
    limits = [np.array(each, np.int64) for each in (0, 2**62, 1)]
    assert folding.evaluate(count, limits) is None
