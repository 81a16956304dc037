"""Older releases and other runtimes: the ops they have, and the nodes they cannot load."""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import parse_text
from tfpersist.freezer.freezer import Freezer
from tfpersist.graph.runtimes import op_lists, portability
from tfpersist.graph.structure import ops


def freezer_of(output, *inputs):
    """Return a freezer of what a function computes from some inputs."""
    return Freezer(tf.function(output, input_signature=[tf.TensorSpec(*one) for one in inputs]))


def test_the_usual_ops_are_known():
    freezer = freezer_of(
        lambda x: tf.nn.softmax(tf.nn.relu(tf.matmul(x, x, transpose_b=True) + 1.0)),
        ([None, 3], tf.float32),
    )
    assert freezer.check("1.15").ok
    assert freezer.portable("1.15").freeze().summary().operations["MatMul"] == 1


def test_a_newer_op_is_a_blocker():
    freezer = freezer_of(lambda x: tf.nn.gelu(x) + tf.raw_ops.Erfinv(x=x), ([2], tf.float32))
    newer = freezer_of(lambda x: tf.raw_ops.Roll(input=x, shift=[1], axis=[0]), ([4], tf.float32))
    assert newer.check("2.4").ok
    lacking = freezer_of(lambda x: tf.raw_ops.ApproxTopK(input=x, k=2)[0], ([8], tf.float32))
    found = lacking.check("2.4")
    assert [blocker.op for blocker in found.blockers] == ["ApproxTopK"]
    assert "ApproxTopK" in str(found)
    with pytest.raises(FreezeError, match=r"TensorFlow 2\.4 cannot load 1 node: .*ApproxTopK"):
        lacking.portable("2.4").freeze()
    assert freezer.check("2.4").ok


def test_a_newer_attr_is_a_blocker_unless_it_is_a_default():
    lacking = freezer_of(
        lambda x: tf.raw_ops.TopKV2(input=x, k=2, index_type=tf.int64)[1], ([8], tf.float32)
    )
    (blocker,) = lacking.check("2.4").blockers
    assert (blocker.op, blocker.attrs) == ("TopKV2", ("index_type",))
    plain = freezer_of(lambda x: tf.math.top_k(x, 2)[1], ([8], tf.float32))
    assert plain.check("1.15").ok


def test_a_blocker_in_a_function_names_the_function():
    graph = parse_text(
        b"""library { function { signature { name: "f" } node_def { name: "n" op: "NewOp" } } }
        node { name: "call" op: "f" }"""
    )
    found = str(portability.check(graph, "1.15"))
    assert found == "TensorFlow 1.15 cannot load 1 node: node n (NewOp) in function f"


def test_types_of_references_are_not_newer():
    graph = parse_text(
        b"""node { name: "n" op: "Identity" attr { key: "T" value { type: DT_FLOAT_REF } } }
        node { name: "list" op: "IdentityN"
          attr { key: "T" value { list { type: DT_STRING_REF type: DT_INT4 } } } }"""
    )
    (blocker,) = portability.check(graph, "2.4").blockers
    assert (blocker.node, blocker.types) == ("list", ("int4",))


def test_many_blockers_are_counted():
    nodes = [f'node {{ name: "n{number}" op: "NewOp" }} ' for number in range(10)]
    ten, eight = (
        portability.check(parse_text("".join(nodes[:n]).encode()), "1.15") for n in (10, 8)
    )
    assert str(ten).startswith("TensorFlow 1.15 cannot load 10 nodes: node n0 (NewOp); node n1")
    assert str(ten).endswith("node n7 (NewOp); and 2 more")
    assert str(eight).endswith("node n7 (NewOp)")


def test_patches_of_a_release_are_the_release():
    assert [op_lists.runtime_of(each) for each in ("1.15.5", "v1.15", "2.4.0rc1")] == [
        *("1.15", "1.15", "2.4")
    ]
    freezer = freezer_of(lambda x: x + x, ([2], tf.float32))
    assert str(freezer.check("v1.15.5")) == "TensorFlow 1.15 knows every op and attr"
    assert freezer.portable("2.4.4").freeze().run("Identity", {"x": [1, 2]}).tolist() == [2, 4]


def test_a_release_that_is_a_number():
    freezer = freezer_of(lambda x: x + x, ([2], tf.float32))
    with pytest.raises(FreezeError, match=r"2\.1 and 2\.10 .* 1\.15\. Write '1\.15'"):
        freezer.portable(1.15).freeze()
    with pytest.raises(FreezeError, match=r"as a string.* Write '2\.4'"):
        freezer.check(2.4)


@pytest.mark.parametrize("name", ["float8_e5m2", "int4"])
def test_a_newer_data_type_is_a_blocker(name):
    held = tf.constant(np.array([1, 2], getattr(ml_dtypes, name)))
    freezer = freezer_of(lambda: tf.identity(held))
    found = freezer.check("2.4")
    assert {(blocker.op, *blocker.types) for blocker in found.blockers} >= {("Const", name)}
    assert f"(Const) uses data type {name}" in str(found)
    with pytest.raises(FreezeError, match=name):
        freezer.portable("1.15").freeze()


def test_ops_that_other_runtimes_convert():
    assert op_lists.known_ops("openvino").keys() < {*ops.table(), "Const"}
    plain = freezer_of(lambda x: tf.nn.relu(x) @ x, ([3, 3], tf.float32))
    assert str(plain.check("openvino")) == "OpenVINO 2026.4 knows every op"
    assert plain.portable("onnx").freeze().summary().operations["Relu"] == 1
    lacking = freezer_of(tf.math.erfinv, ([2], tf.float32))
    for target, name in (("openvino", "OpenVINO"), ("onnx", "tf2onnx")):
        assert [blocker.op for blocker in lacking.check(target).blockers] == ["Erfinv"]
        with pytest.raises(FreezeError, match=rf"{name} .* cannot load 1 node: .*Erfinv"):
            lacking.portable(target).freeze()


def test_a_type_without_a_kernel_is_a_blocker():
    """TensorFlow 1.4 adds floats of eight bytes, and multiplies no matrices of bfloat16."""
    graph = parse_text(
        b"""node { name: "sum" op: "Add" attr { key: "T" value { type: DT_DOUBLE } } }
        node { name: "mm" op: "MatMul" attr { key: "T" value { type: DT_BFLOAT16 } } }"""
    )
    (blocker,) = portability.check(graph, "1.4").blockers
    assert (blocker.node, blocker.types) == ("mm", ("bfloat16",))
    assert portability.check(graph, "1.15").ok


def test_a_pair_of_types_without_a_kernel_is_a_blocker():
    text = b"""node { name: "t" op: "MutableHashTableV2"
        attr { key: "key_dtype" value { type: DT_INT64 } }
        attr { key: "value_dtype" value { type: %s } } }"""
    assert portability.check(parse_text(text % b"DT_STRING"), "1.4").ok
    found = portability.check(parse_text(text % b"DT_INT64"), "1.4")
    assert "node t (MutableHashTableV2) uses data type int64" in str(found)
    assert portability.check(parse_text(text % b"DT_INT64"), "1.14").ok


def test_another_number_of_inputs_is_a_blocker():
    text = b"""node { name: "s" op: "TensorListStack" input: "list" %s input: "^other"
        attr { key: "element_dtype" value { type: DT_FLOAT } } }"""
    found = portability.check(parse_text(text % b'input: "shape"'), "1.12")
    assert "node s (TensorListStack) has 2 inputs, and 1 in this release" in str(found)
    assert portability.check(parse_text(text % b""), "1.12").ok
    assert portability.check(parse_text(text % b'input: "shape"'), "1.15").ok


def test_unsigned_numbers_of_four_bytes_are_newer_than_1_4():
    text = b"""node { name: "c" op: "Const" attr { key: "dtype" value { type: DT_UINT32 } } }"""
    (blocker,) = portability.check(parse_text(text), "1.4").blockers
    assert blocker.types == ("uint32",)
    assert portability.check(parse_text(text), "1.5").ok


def normalized(x):
    x = tf.nn.conv2d(x, tf.ones((1, 1, 2, 2)), 1, "SAME")
    return (x + 1.0) * (tf.math.rsqrt(tf.constant([1.0, 4.0])) * 3.0)


def test_opencv_gets_an_optimized_graph():
    """OpenCV has no Rsqrt, but what is left of it is a number."""
    freezer = freezer_of(normalized, ([None, 4, 4, 2], tf.float32))
    assert "Rsqrt" in freezer.freeze().summary().operations
    assert str(freezer.check("opencv")) == "OpenCV 5.0 knows every op"
    assert "Rsqrt" not in freezer.portable("opencv").freeze().summary().operations
    lacking = freezer_of(tf.math.rsqrt, ([None, 4], tf.float32))
    assert [blocker.op for blocker in lacking.check("opencv").blockers] == ["Rsqrt"]


def test_opencv_cannot_decode_weights():
    large = tf.constant(np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32))
    freezer = freezer_of(lambda x: x @ large, ([None, 64], tf.float32))
    assert freezer.check("opencv").ok
    assert "(Cast)" in str(freezer.weights("float16").check("opencv"))
    with pytest.raises(FreezeError, match=r"OpenCV 5\.0 cannot load .*Cast"):
        freezer.portable("opencv").weights("int8").freeze()


@pytest.mark.parametrize(("dtype", "ok"), [("DT_STRING", False), ("DT_INT64", True)])
def test_openvino_needs_an_extension_for_tables_of_strings(dtype, ok):
    graph = parse_text(
        f"""node {{ name: "t" op: "HashTableV2"
          attr {{ key: "key_dtype" value {{ type: {dtype} }} }}
          attr {{ key: "value_dtype" value {{ type: DT_INT64 }} }} }}""".encode()
    )
    found = portability.check(graph, "openvino")
    assert found.ok == ok
    assert ok or "node t (HashTableV2) has strings" in str(found)
    assert ok or "openvino-tokenizers" in str(found)
    assert portability.check(graph, "1.15").ok


@pytest.mark.parametrize("target", ["onnx", "openvino", "opencv"])
def test_functions_that_xla_compiles_are_inlined_for_other_runtimes(target):
    """As those with the grouped convolutions of Keras: tf2onnx leaves their calls in its model."""
    compiled = tf.function(tf.nn.relu, jit_compile=True, autograph=False)
    freezer = freezer_of(lambda x: compiled(x) * 2.0, ([2], tf.float32))
    assert "PartitionedCall" in freezer.freeze().summary().operations
    assert freezer.check(target).ok
    graph = freezer.portable(target).freeze().graph
    assert {node.op for node in graph.proto.node} >= {"Relu"}
    assert not graph.functions


def test_functions_in_loops_may_be_inlined_by_other_runtimes():
    compiled = tf.function(lambda x: tf.nn.relu(x) + 1.0, jit_compile=True, autograph=False)
    freezer = freezer_of(
        lambda x: tf.while_loop(
            lambda i, y: tf.reduce_sum(y) < 9, lambda i, y: (i + 1, compiled(y)), [0, x]
        )[1],
        ([2], tf.float32),
    )
    text = "_XlaMustCompile"
    assert text in str(freezer.freeze().graph.proto)
    assert text in str(freezer.portable("2.4").freeze().graph.proto)
    assert text not in str(freezer.portable("onnx").freeze().graph.proto)


def test_tf2onnx_needs_an_input():
    freezer = freezer_of(lambda: tf.constant(1.0) + tf.constant(2.0))
    assert freezer.check("openvino").ok
    (blocker,) = freezer.check("onnx").blockers
    assert "node Identity (Identity) is computed from no input" in str(blocker)
