"""Newer ops, written with older ones: the same numbers, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.formats.graphdef import parse_text, split
from tfpersist.freezer.freezer import Freezer
from tfpersist.frozen.model import FrozenModel
from tfpersist.graph.runtimes.downgrade import downgrade
from tfpersist.graph.runtimes.op_lists import KnownOp, known_ops
from tfpersist.graph.structure import functions
from tfpersist.graph.structure.functions import all_nodes

RNG = np.random.default_rng(3)
VALUES = np.concatenate([RNG.normal(size=25), [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40]])
VALUES = VALUES.reshape(1, 4, 4, 2).astype(np.float32)


def vector():
    return tf.constant(RNG.uniform(0.5, 2, 2).astype(np.float32))


def normalized(x):
    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=vector(), offset=vector(), mean=vector(), variance=vector(), is_training=False
    ).y


def with_negative_ids(x):
    """As an Embedding of Keras counts them from the end."""
    ids = tf.cast(tf.math.is_nan(x), tf.int32) - 1
    return tf.where(ids < 0, ids + tf.shape(ids)[1], ids)


def square(x):
    return x[0, :, :, 0]


# {what: (the function, the op that must go, the release)}
SAME = {
    "sum": (lambda x: x + 1.0, "AddV2", "1.4"),
    "batch norm": (normalized, "FusedBatchNormV3", "1.13"),
    "leaky relu": (tf.nn.leaky_relu, "LeakyRelu", "1.12"),
    "steep leaky relu": (lambda x: tf.nn.leaky_relu(x, -1.5), "LeakyRelu", "1.4"),
    "choice": (lambda x: tf.where(x > 0.0, x * 2.0, tf.abs(x)), "SelectV2", "1.12"),
    "choice by one": (lambda x: tf.where(x[0, 0, 0, 0] > 0.0, x, -x), "SelectV2", "1.15"),
    "negative ids": (with_negative_ids, "SelectV2", "1.12"),
    "diagonal": (lambda x: tf.linalg.diag(x[0, 0, :, 0]), "MatrixDiagV3", "1.12"),
    "part": (lambda x: tf.linalg.diag_part(square(x)), "MatrixDiagPartV3", "1.12"),
    "set": (lambda x: tf.linalg.set_diag(square(x), x[0, 0, :, 1]), "MatrixSetDiagV3", "1.12"),
    "band": (lambda x: tf.linalg.diag_part(square(x), k=1), "MatrixDiagPartV3", "1.15"),
}


def frozen(output, shape=(None, 4, 4, 2)):
    function = tf.function(output, input_signature=[tf.TensorSpec(shape, name="x")])
    return Freezer(function).freeze()


def ops_of(graph):
    return {node.op for node, _ in all_nodes(graph.proto)}


@pytest.mark.parametrize("name", SAME)
def test_older_ops_give_the_same_bits(name):
    output, op, release = SAME[name]
    model = frozen(output)
    assert op in ops_of(model.graph)
    reworded = downgrade(model.graph, known_ops(release))
    assert op not in ops_of(reworded) or op in known_ops(release)
    assert ops_of(reworded) <= known_ops(release).keys()
    before = model.run("Identity:0", {"x": VALUES})
    after = FrozenModel(reworded).run("Identity:0", {"x": VALUES})
    np.testing.assert_array_equal(after, before)
    assert np.array_equal(np.signbit(after), np.signbit(before)) or name != "leaky relu"


@pytest.mark.parametrize("name", ["leaky relu", "choice", "sum"])
def test_in_the_body_of_a_loop(name):
    """There a tensor has the name of the output of its op, and the loop returns it."""
    output, op, _ = SAME[name]
    model = frozen(lambda x: tf.while_loop(lambda x: tf.reduce_sum(x) < 9.0, output, [x])[0])
    assert op in {node.op for node, function in all_nodes(model.graph.proto) if function}
    known = {name: each for name, each in known_ops("2.4").items() if name != op}
    reworded = downgrade(model.graph, known)
    functions.settle_names(reworded.proto)
    assert op not in ops_of(reworded)
    x = np.abs(VALUES[:, :3]).repeat(4, 1)[:, :4]
    before, after = (
        model.run("Identity:0", {"x": x}),
        FrozenModel(reworded).run("Identity:0", {"x": x}),
    )
    np.testing.assert_array_equal(after, before)


def test_in_a_loop_of_tensorflow_1():
    """A constant in a frame has to tell that it belongs there."""
    with tf.Graph().as_default() as graph:
        v1.disable_control_flow_v2()
        x = v1.placeholder(tf.float32, (2,), name="x")
        step = lambda i, x: (i + 1, tf.nn.leaky_relu(x - 1.0))  # noqa: E731
        tf.identity(v1.while_loop(lambda i, _: i < 3, step, (0, x))[1], name="y")
        v1.enable_control_flow_v2()
    plain = split(graph.as_graph_def().SerializeToString())
    reworded = downgrade(plain, known_ops("1.8"))
    assert "LeakyRelu" not in ops_of(reworded)
    feeds = {"x": [0.5, 7.0]}
    expected = FrozenModel(plain).run("y", feeds)
    np.testing.assert_array_equal(FrozenModel(reworded).run("y", feeds), expected)


def test_the_complement_of_the_error_function():
    model = frozen(tf.math.erfc)
    reworded = downgrade(model.graph, known_ops("onnx"))
    assert "Erfc" not in ops_of(reworded)
    before = model.run("Identity:0", {"x": VALUES})
    after = FrozenModel(reworded).run("Identity:0", {"x": VALUES})
    np.testing.assert_allclose(after, before, rtol=0, atol=2e-7)


@pytest.mark.parametrize(
    "output",
    [
        lambda x: tf.where(x > 0.0, x, 0.0),
        lambda x: tf.where(x[..., :1] > 0.0, x, -x),
        lambda x: tf.where(x > x[0, 0, 0], x, -x),
        lambda x: tf.where(x > 0.0, x, tf.reshape(tf.abs(x), tf.shape(x))),
    ],
)
def test_a_choice_that_may_broadcast_stays(output):
    assert "SelectV2" in ops_of(downgrade(frozen(output).graph, known_ops("1.12")))


def test_a_step_that_leads_nowhere_is_taken_back():
    model = frozen(lambda x: tf.linalg.diag_part(square(x), k=1))
    (blocker,) = Freezer(model).check("1.12").blockers
    assert blocker.op == "MatrixDiagPartV3"
    reworded = downgrade(model.graph, known_ops("1.12"))
    assert reworded.nodes[blocker.node] == model.graph.nodes[blocker.node]


def test_a_batch_norm_whose_reserve_is_read_stays():
    graph = parse_text(
        b"""node { name: "x" op: "Placeholder" }
        node { name: "bn" op: "FusedBatchNormV3" input: "x" }
        node { name: "y" op: "Identity" input: "bn:5" }"""
    )
    assert downgrade(graph, known_ops("1.12")).nodes["bn"].op == "FusedBatchNormV3"


def test_shapes_that_are_only_hints_are_removed():
    graph = parse_text(
        b"""node { name: "w" op: "StatelessWhile" input: "x"
          attr { key: "output_shapes" value { list { shape { } } } }
          attr { key: "parallel_iterations" value { i: 10 } }
          attr { key: "body" value { func { name: "b" } } } }"""
    )
    assert set(downgrade(graph, known_ops("2.4")).nodes["w"].attr) > {"output_shapes"}
    node = downgrade(graph, known_ops("1.8")).nodes["w"]
    assert (node.op, list(node.attr)) == ("While", ["body"])


CONST = """node { name: "%s" op: "Const" attr { key: "value" value { tensor {
  dtype: DT_FLOAT tensor_shape { %s } } } } } """
TABLES = {op: KnownOp() for op in ("LookupTableInsertV2", "InitializeTableV2")}


@pytest.mark.parametrize(
    ("table", "dims", "known", "op"),
    [
        ("MutableHashTableV2", (2, 3), TABLES, "LookupTableInsertV2"),
        ("MutableHashTableV2", (2,), TABLES, "LookupTableImportV2"),
        ("MutableHashTableV2", (2, 3), {}, "LookupTableImportV2"),
        ("HashTableV2", (2,), TABLES, "InitializeTableV2"),
        ("HashTableV2", (2,), {}, "LookupTableImportV2"),
    ],
)
def test_how_a_table_is_filled(table, dims, known, op):
    text = CONST % ("keys", "dim { size: 2 }")
    text += CONST % ("values", " ".join(f"dim {{ size: {size} }}" for size in dims))
    text += f"""node {{ name: "table" op: "{table}" }}
        node {{ name: "fill" op: "LookupTableImportV2" input: "table" input: "keys" input: "values"
          attr {{ key: "Tin" value {{ type: DT_FLOAT }} }}
          attr {{ key: "Tout" value {{ type: DT_FLOAT }} }} }}"""
    node = downgrade(parse_text(text.encode()), known).nodes["fill"]
    assert node.op == op
    assert sorted(node.attr) == (["Tkey", "Tval"] if "Init" in op else ["Tin", "Tout"])
