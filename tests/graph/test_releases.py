"""Older releases: what they know, what is said in their words, what is named instead."""

import pytest
import tensorflow as tf

from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import parse_text
from tfpersist.freezer import Freezer
from tfpersist.graph import ops, releases


def frozen(output, *inputs):
    """Give a freezer of what a function of some inputs computes."""
    return Freezer(tf.function(output, input_signature=[tf.TensorSpec(*one) for one in inputs]))


def test_each_release_knows_what_the_one_before_knew():
    older, newer = releases.known("1.15"), releases.known("2.4")
    assert len(older) > 1300
    assert len(newer) > 1500
    common = older.keys() & newer.keys()
    assert all(newer[name] <= older[name] for name in common)
    assert {"Conv2D", "MatMul", "FusedBatchNormV3", "AddV2"} <= common
    assert len(common & ops.table().keys()) > 1200


def test_the_usual_ops_are_known():
    freezer = frozen(
        lambda x: tf.nn.softmax(tf.nn.relu(tf.matmul(x, x, transpose_b=True) + 1.0)),
        ([None, 3], tf.float32),
    )
    assert freezer.check("1.15").ok
    assert freezer.portable("1.15").freeze().summary().operations["MatMul"] == 1


def test_a_newer_op_is_named():
    freezer = frozen(lambda x: tf.nn.gelu(x) + tf.raw_ops.Erfinv(x=x), ([2], tf.float32))
    newer = frozen(lambda x: tf.raw_ops.Roll(input=x, shift=[1], axis=[0]), ([4], tf.float32))
    assert newer.check("2.4").ok
    lacking = frozen(lambda x: tf.raw_ops.ApproxTopK(input=x, k=2)[0], ([8], tf.float32))
    found = lacking.check("2.4")
    assert [blocker.op for blocker in found.blockers] == ["ApproxTopK"]
    assert "ApproxTopK" in str(found)
    with pytest.raises(FreezeError, match=r"TensorFlow 2\.4 does not know 1 node: .*ApproxTopK"):
        lacking.portable("2.4").freeze()
    assert freezer.check("2.4").ok


def test_a_newer_attr_is_named_where_it_matters():
    lacking = frozen(
        lambda x: tf.raw_ops.TopKV2(input=x, k=2, index_type=tf.int64)[1], ([8], tf.float32)
    )
    (blocker,) = lacking.check("2.4").blockers
    assert (blocker.op, blocker.attrs) == ("TopKV2", ("index_type",))
    plain = frozen(lambda x: tf.math.top_k(x, 2)[1], ([8], tf.float32))
    assert plain.check("1.15").ok


def test_what_older_ops_can_say():
    graph = parse_text(
        b"""
        node { name: "mm" op: "BatchMatMulV3" input: "x" input: "x"
          attr { key: "Ta" value { type: DT_FLOAT } } attr { key: "Tb" value { type: DT_FLOAT } }
          attr { key: "Tout" value { type: DT_FLOAT } } attr { key: "adj_y" value { b: true } } }
        node { name: "wide" op: "BatchMatMulV3" input: "i" input: "i"
          attr { key: "Ta" value { type: DT_INT8 } } attr { key: "Tb" value { type: DT_INT8 } }
          attr { key: "Tout" value { type: DT_INT32 } } }
        node { name: "bn" op: "FusedBatchNormV3" attr { key: "is_training" value { b: false } }
          attr { key: "exponential_avg_factor" value { f: 0.5 } } }
        node { name: "trains" op: "FusedBatchNormV3"
          attr { key: "exponential_avg_factor" value { f: 0.5 } } }
        """
    )
    before = graph.proto.SerializeToString(deterministic=True)
    nodes = releases.rewrite(graph, "1.15").nodes
    assert (nodes["mm"].op, sorted(nodes["mm"].attr)) == ("BatchMatMulV2", ["T", "adj_y"])
    assert nodes["wide"].op == "BatchMatMulV3"
    assert sorted(nodes["bn"].attr) == ["is_training"]
    assert "exponential_avg_factor" in nodes["trains"].attr
    assert graph.proto.SerializeToString(deterministic=True) == before


def test_a_node_in_a_function_is_named_with_it():
    graph = parse_text(
        b"""library { function { signature { name: "f" } node_def { name: "n" op: "NewOp" } } }
        node { name: "call" op: "f" }"""
    )
    assert str(releases.check(graph, "1.15")).endswith("node n (NewOp) in function f")


def test_a_release_that_is_not_known():
    with pytest.raises(FreezeError, match=r"'1\.15' or '2\.4'"):
        releases.known("1.4")
