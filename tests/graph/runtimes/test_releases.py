"""Older releases: what they know, what is said in their words, what is named instead."""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import parse_text
from tfpersist.freezer.freezer import Freezer
from tfpersist.graph.runtimes import releases
from tfpersist.graph.runtimes.downgrade import reword
from tfpersist.graph.structure import ops


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
    nodes = reword(graph, releases.known("1.15")).nodes
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
    with pytest.raises(FreezeError, match=r"'1\.15' or '2\.4'") as caught:
        releases.known("1.4")
    assert caught.value.advice is None
    with pytest.raises(FreezeError, match=r"Take '2\.4'"):
        releases.known("2.10")
    with pytest.raises(FreezeError, match=r"Take '1\.15'"):
        releases.known("2.1")
    with pytest.raises(FreezeError, match="no table of what newest knows"):
        releases.known("newest")


def test_a_release_by_its_patches():
    assert [releases.meant(each) for each in ("1.15.5", "v1.15", "2.4.0rc1")] == [
        *("1.15", "1.15", "2.4")
    ]
    freezer = frozen(lambda x: x + x, ([2], tf.float32))
    assert str(freezer.check("v1.15.5")) == "TensorFlow 1.15 knows every op and attr"
    assert freezer.portable("2.4.4").freeze().run("Identity", {"x": [1, 2]}).tolist() == [2, 4]


def test_a_release_that_is_a_number():
    freezer = frozen(lambda x: x + x, ([2], tf.float32))
    with pytest.raises(FreezeError, match=r"2\.1 and 2\.10 .* Write it as a string: '1\.15'"):
        freezer.portable(1.15).freeze()
    with pytest.raises(FreezeError, match=r"as a string: '2\.4'"):
        freezer.check(2.4)


@pytest.mark.parametrize("name", ["float8_e5m2", "int4"])
def test_a_newer_data_type_is_named(name):
    held = tf.constant(np.array([1, 2], getattr(ml_dtypes, name)))
    freezer = frozen(lambda: tf.identity(held))
    found = freezer.check("2.4")
    assert {(blocker.op, *blocker.types) for blocker in found.blockers} >= {("Const", name)}
    assert f"(Const) needs its newer {name}" in str(found)
    with pytest.raises(FreezeError, match=name):
        freezer.portable("1.15").freeze()


def test_one_diagonal_is_older_than_many():
    def one(x):
        square = tf.linalg.set_diag(tf.linalg.diag(x, k=1)[:3, :3], x)
        return tf.linalg.diag_part(square, k=-1), tf.linalg.diag_part(square)

    freezer = frozen(one, ([3], tf.float32))
    assert freezer.check("1.15").ok
    model = freezer.portable("1.15").freeze()
    older = {"MatrixDiagV2", "MatrixSetDiagV2", "MatrixDiagPartV2"}
    assert older < model.summary().operations.keys()
    for ours, theirs in zip(
        model.run(list(model.outputs), {"x": [1, 2, 3]}), one(tf.constant([1.0, 2, 3])), strict=True
    ):
        assert ours.tolist() == theirs.numpy().tolist()

    def many(x, align):
        return tf.linalg.diag_part(x, k=(-1, 1), align=align)

    left = frozen(lambda x: many(x, "LEFT_LEFT"), ([3, 3], tf.float32))
    assert left.check("1.15").ok
    right = frozen(lambda x: many(x, "RIGHT_LEFT"), ([3, 3], tf.float32))
    assert [blocker.op for blocker in right.check("1.15").blockers] == ["MatrixDiagPartV3"]
    fed = tf.function(
        lambda x, k: tf.linalg.diag_part(x, k=k),
        input_signature=[tf.TensorSpec([3, 3]), tf.TensorSpec([], tf.int32)],
    )
    assert not Freezer(fed).check("1.15").ok


def test_a_table_of_vectors_is_filled_as_older_releases_can():
    graph = tf.Graph()
    with graph.as_default():
        table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, [0.0, 0.0])
        fill = table.insert(["a"], [[1.0, 2.0]])
        tf.identity(table.lookup(tf.constant(["a", "b"])), name="y")
        with tf.compat.v1.Session() as session:
            session.run(fill)
            freezer = Freezer(Freezer(session).outputs("y").freeze())
    assert "LookupTableImportV2" in freezer.freeze().summary().operations
    model = freezer.portable("1.15").freeze()
    assert "LookupTableInsertV2" in model.summary().operations
    assert model.run("y").tolist() == [[1, 2], [0, 0]]


def test_what_other_runtimes_convert():
    assert releases.known("openvino").keys() < {*ops.table(), "Const"}
    plain = frozen(lambda x: tf.nn.relu(x) @ x, ([3, 3], tf.float32))
    assert str(plain.check("openvino")) == "OpenVINO 2026.4 knows every op"
    assert plain.portable("onnx").freeze().summary().operations["Relu"] == 1
    lacking = frozen(tf.math.erfinv, ([2], tf.float32))
    for target, name in (("openvino", "OpenVINO"), ("onnx", "tf2onnx")):
        assert [blocker.op for blocker in lacking.check(target).blockers] == ["Erfinv"]
        with pytest.raises(FreezeError, match=rf"{name} .* does not know 1 node: .*Erfinv"):
            lacking.portable(target).freeze()
