"""Test which attrs with default values a node has, and that TensorFlow reads the same."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tfpersist.formats import schema
from tfpersist.graph.runtimes.default_attrs import settle_defaults


def node(op, **attrs):
    made = schema.NodeDef(name="n", op=op)
    for name, value in attrs.items():
        made.attr[name].b = value
    return made


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (node("MatMul"), ["transpose_a", "transpose_b"]),
        (node("MatMul", grad_a=False, transpose_b=True), ["transpose_a", "transpose_b"]),
        (node("MatMul", grad_a=True), ["grad_a", "transpose_a", "transpose_b"]),
        (node("MatMul", own=False), ["own", "transpose_a", "transpose_b"]),
        (node("LRN"), ["T", "alpha", "beta", "bias", "depth_radius"]),
        (node("MyOwnOp", own=False), ["own"]),
        (node("Identity"), []),
        (node("VariableV2"), []),
        (node("Placeholder"), []),
    ],
)
def test_a_node_has_the_attrs_that_its_op_came_with(given, names):
    settle_defaults(given)
    assert sorted(given.attr) == names


def test_values_that_are_given_stay():
    given = schema.NodeDef(name="n", op="LRN")
    given.attr["alpha"].f = 0.5
    settle_defaults(given)
    assert (given.attr["alpha"].f, given.attr["bias"].f) == (0.5, 1.0)


def test_tensorflow_reads_the_same_before_and_after():
    """Importing fills every default in."""
    with tf.Graph().as_default() as graph:
        x = tf.constant([[1.0]], name="x")
        tf.matmul(x, x, transpose_b=True, name="m")
        tf.nn.leaky_relu(x, name="l")
        tf.nn.lrn(tf.zeros((1, 2, 2, 3)), name="r")
        tf.strided_slice(x, [0], [1], name="s")
    full = schema.GraphDef.FromString(graph.as_graph_def().SerializeToString())
    bare = schema.GraphDef.FromString(full.SerializeToString())
    for each in bare.node:
        each.attr.pop("alpha", None)
        each.attr.pop("begin_mask", None)
    for proto in (full, bare):
        for each in proto.node:
            settle_defaults(each)
        settled = tf.compat.v1.GraphDef.FromString(proto.SerializeToString())
        with tf.Graph().as_default() as again:
            tf.import_graph_def(settled, name="")
        for op in graph.get_operations():
            assert again.get_operation_by_name(op.name).node_def.attr == op.node_def.attr
    assert full == bare
