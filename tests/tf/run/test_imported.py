"""Graphs of ours in TensorFlow: what is put right on the way, and what is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpersist.errors import GraphError, UnsupportedError
from tfpersist.formats import graphdef, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Payload, TensorSpec, payload_of
from tfpersist.freezer.freezer import Freezer
from tfpersist.tf.run.imported import import_graph


def graph_of_a_call() -> Graph:
    """A placeholder, and a function that negates it."""
    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [2], name="x")

        @tf.function(input_signature=[tf.TensorSpec([2], tf.float32)])
        def negate(value):
            return -value

        tf.identity(negate(x), name="y")
    return graphdef.split(graph.as_graph_def().SerializeToString())


def test_placements_colocations_and_recorded_shapes_are_left_out():
    graph = graph_of_a_call()
    proto = schema.GraphDef.FromString(graph.proto.SerializeToString())
    bodies = [proto.node, *(function.node_def for function in proto.library.function)]
    for node in (node for body in bodies for node in body):
        node.device = "/job:worker/task:9/device:GPU:9"
        node.attr["_class"].list.s.append(b"loc:@gone")
        node.attr["_output_shapes"].list.shape.add().dim.add(size=77)
    before = proto.SerializeToString(deterministic=True)
    executor = import_graph(Graph(proto))
    assert executor.run("y", {"x": [1.0, 2.0]}).tolist() == [-1, -2]
    assert {operation.device for operation in executor.graph.get_operations()} == {""}
    assert proto.SerializeToString(deterministic=True) == before
    executor.close()


def test_payloads_become_constants():
    node = schema.NodeDef(name="w")
    graphdef.with_payload(node, TensorSpec("int16", (2, 3)))
    value = np.arange(6, dtype=np.int16).reshape(2, 3)
    executor = import_graph(Graph(schema.GraphDef(node=[node]), {"w": payload_of(value)}))
    result = executor.run("w")
    np.testing.assert_array_equal(result, value)
    assert not np.shares_memory(result, value)
    executor.close()


def test_a_graph_over_two_gigabytes_is_refused_before_anything_is_loaded():
    loads = []

    def load() -> np.ndarray:
        loads.append(1)
        return np.zeros(2**29, np.float32)

    node = schema.NodeDef(name="w", input=["^before"])
    before = schema.NodeDef(name="before", op="NoOp")
    spec = TensorSpec("float32", (2**29,))
    graphdef.with_payload(node, spec)
    with pytest.raises(UnsupportedError, match="2,147,483,648"):
        import_graph(Graph(schema.GraphDef(node=[before, node]), {"w": Payload(spec, load)}))
    assert loads == []


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ('node { name: "a" op: "NobodysOp" }', UnsupportedError, "NobodysOp"),
        ('node { name: "a" op: "Neg" input: "b" }', GraphError, "b"),
        ('node { name: "a" op: "Neg" input: "a" }', GraphError, "a"),
        (
            # TensorFlow's constant folding would end the process.
            'node { name: "c" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } } '
            'attr { key: "value" value { tensor { dtype: 67 tensor_shape { } } } } }',
            *(GraphError, "node c (Const): attr 'value' is invalid; got data type 67"),
        ),
        ('node { name: "a" op: "NoOp" } versions { min_consumer: 99999 }', GraphError, "99999"),
    ],
)
def test_errors_of_tensorflow_become_tfpersist_errors(text, error, says):
    with pytest.raises(error) as caught:
        import_graph(graphdef.parse_text(text.encode()))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_field_that_only_tensorflow_knows_may_be_damaged():
    # Field 7 of NodeDef is a message there, and unknown here.
    node = schema.NodeDef(name="a", op="NoOp").SerializeToString() + b"\x3a\x01\xff"
    graph = graphdef.split(b"\x0a" + bytes([len(node)]) + node)
    with pytest.raises(GraphError, match=r"TensorFlow 2\.\d+\.\d+ cannot read the graph"):
        import_graph(graph)


# --- constants that become variables --------------------------------------------------------------

SIDE = 4096


def large_graph() -> Graph:
    """64 MB of weights that are fetched, awaited, looped over, gathered from and multiplied."""
    graph = tf.Graph()
    with graph.as_default(), tf.control_dependencies(None):
        x = tf.compat.v1.placeholder(tf.float32, [None, SIDE], name="x")
        w = tf.compat.v1.placeholder(tf.float32, [SIDE, SIDE], name="w")
        tf.matmul(x, w, name="product")
        tf.identity(w, name="same")
        tf.reshape(w, [-1], name="flat")
        tf.slice(w, [0, 0], [2, SIDE], name="head")
        tf.gather(w, [7], name="row")
        with tf.control_dependencies([w]):
            tf.constant(1, name="after")
        tf.compat.v1.disable_control_flow_v2()
        total = tf.while_loop(
            lambda i, _: i < 2, lambda i, y: (i + 1, tf.matmul(y, w)), (0, x), name="loop"
        )[1]
        tf.compat.v1.enable_control_flow_v2()
        tf.identity(total, name="looped")

        @tf.function(autograph=False)
        def shifted(value, weights):
            return tf.matmul(value, weights) + tf.constant(np.ones((1, SIDE), np.float32))

        tf.identity(shifted(x, w), name="called")
    split = graphdef.split(graph.as_graph_def().SerializeToString())
    proto = schema.GraphDef.FromString(split.proto.SerializeToString())
    node = next(node for node in proto.node if node.name == "w")
    node.attr.clear()
    graphdef.with_payload(node, TensorSpec("float32", (SIDE, SIDE)))
    return Graph(proto, {"w": payload_of(WEIGHTS)})


def at_an_offset(array: np.ndarray, offset: int) -> np.ndarray:
    room = np.empty(array.nbytes + 128, np.uint8)
    start = -room.ctypes.data % 64 + offset
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    copy.flags.writeable = False
    return copy


WEIGHTS = at_an_offset(np.random.default_rng(0).random((SIDE, SIDE), np.float32), 0)
X = np.full((1, SIDE), 1 / SIDE, np.float32)


@pytest.mark.parametrize("offset", [0, 4, 1])
def test_large_constants_are_read_where_they_lie_or_are_copied(offset):
    graph = large_graph()
    given = at_an_offset(WEIGHTS, offset) if offset else WEIGHTS
    before = graph.proto.SerializeToString(deterministic=True)
    executor = import_graph(Graph(graph.proto, {"w": payload_of(given)}))
    assert executor.graph.get_operation_by_name("w").type == "ReadVariableOp"
    assert executor.tensor("w").shape.as_list() == [SIDE, SIDE]
    wanted = ["w", "same", "flat", "head", "row", "after", "product", "looped", "called"]
    got = dict(zip(wanted, executor.run(wanted, {"x": X}), strict=True))
    np.testing.assert_array_equal(got["w"], WEIGHTS)
    np.testing.assert_array_equal(got["same"], WEIGHTS)
    np.testing.assert_array_equal(got["head"], WEIGHTS[:2])
    np.testing.assert_array_equal(got["row"], WEIGHTS[7:8])
    np.testing.assert_allclose(got["product"], X @ WEIGHTS, rtol=1e-4)
    np.testing.assert_allclose(got["looped"], X @ WEIGHTS @ WEIGHTS, rtol=1e-4)
    np.testing.assert_allclose(got["called"], X @ WEIGHTS + 1, rtol=1e-4)
    assert got["after"] == 1
    for name in ("w", "same", "flat", "head"):
        assert not np.shares_memory(got[name], given)
        got[name][...] = -1
    np.testing.assert_array_equal(executor.run("w"), WEIGHTS)
    np.testing.assert_array_equal(given, WEIGHTS)
    zero = np.zeros_like(WEIGHTS)
    assert not executor.run("product", {"x": X, "w": zero}).any()
    np.testing.assert_allclose(executor.run("product", {"x": X}), X @ WEIGHTS, rtol=1e-4)
    assert graph.proto.SerializeToString(deterministic=True) == before
    executor.close()


def test_a_constant_that_waits_for_another_node_stays_one():
    graph = large_graph()
    proto = schema.GraphDef.FromString(graph.proto.SerializeToString())
    next(node for node in proto.node if node.name == "w").input.append("^x")
    executor = import_graph(Graph(proto, graph.payloads))
    assert executor.graph.get_operation_by_name("w").type == "Const"
    executor.close()


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("rate", [1, 2])
def test_a_grouped_convolution_with_a_bias_runs(groups, rate):
    """Where TensorFlow fuses them, it has no kernel for groups on many CPUs."""
    given = keras.Input((9, 9, 3))
    inner = keras.layers.Conv2D(8, 3, activation="relu")(given)
    net = keras.Model(
        given,
        # TensorFlow would leave out a bias of zeros.
        keras.layers.Conv2D(
            8,
            3,
            groups=groups,
            dilation_rate=rate,
            activation="relu",
            bias_initializer="random_normal",
        )(inner),
    )
    images = np.random.default_rng(0).random((2, 9, 9, 3), np.float32)
    expected = net(images)
    for freezer in (Freezer(net), Freezer(Freezer(net).freeze()).portable("onnx")):
        model = freezer.freeze()
        assert np.allclose(model.run(model.outputs[0], {model.inputs[0]: images}), expected, 1e-5)
