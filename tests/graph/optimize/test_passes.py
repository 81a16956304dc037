"""All passes together: names and results stay, and a second run changes nothing."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.formats.graphdef import Graph, parse_text
from tfpersist.graph.optimize.passes import optimize


def ops_of(graph):
    return sorted(node.op for node in graph.proto.node)


def test_outputs_keep_their_names(optimized):
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (2, 4), name="x")
        parts = tf.split(tf.identity(x, name="in"), 2, axis=1, name="parts")
        tf.stop_gradient(tf.identity(parts[1], name="mid"), name="out")
    result = optimized(graph, ["mid:0", "out:0", "parts:1"], {"x:0": np.eye(2, 4)})
    assert {"mid", "out", "parts", "x"} <= set(result.nodes)
    assert result.nodes["out"].input == ["mid"]
    assert "in" not in result.nodes


def test_an_output_of_constants_stays_computed(optimized):
    """OpenVINO gives no output that is a Const."""
    large = np.ones((40, 40), np.float32)
    with tf.Graph().as_default() as graph:
        twice = tf.add(tf.constant([1, 2]), tf.constant(3), name="y") * 2
        tf.add(twice, twice + 1, name="z")
        tf.negative(tf.constant(large), name="w")
    result = optimized(graph, ["y:0", "z:0", "w:0"], {})
    assert [result.nodes[name].op for name in "yzw"] == ["AddV2", "AddV2", "Neg"]
    assert ops_of(result) == ["AddV2", "AddV2", *["Const"] * 5, "Neg"]


def test_a_switch_that_is_an_output_stays(optimized):
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (2,), name="x")
        v1.raw_ops.Switch(data=x, pred=tf.constant(True), name="s")
    result = optimized(graph, ["s:1"], {"x:0": [1.0, 2.0]})
    assert result.nodes["s"].op == "Switch"


def test_the_graph_of_the_caller_is_not_changed():
    graph = parse_text(
        b"""node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "same" op: "Identity" input: "x" }
        node { name: "y" op: "Neg" input: "same" input: "^x" }"""
    )
    assert [node.name for node in optimize(graph, ["y"]).proto.node] == ["x", "y"]
    assert [node.name for node in graph.proto.node] == ["x", "same", "y"]
    assert Graph(graph.proto).nodes["y"].input == ["same", "^x"]


def test_names_of_what_is_fed_stay():
    graph = parse_text(
        b"""node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "deep" op: "Identity" input: "x" attr { key: "T" value { type: DT_FLOAT } } }
        node { name: "y" op: "Neg" input: "deep" attr { key: "T" value { type: DT_FLOAT } } }"""
    )
    assert optimize(graph, ["y:0"]).nodes["y"].input == ["x"]
    assert optimize(graph, ["y:0"], ["deep:0"]).nodes["y"].input == ["deep"]


def test_a_second_round_removes_what_a_pass_left(optimized):
    """The condition is inside of a function; the branch is known after it is inlined."""

    @tf.function
    def choose(x, flag):
        return tf.cond(flag, lambda: x + 1.0, lambda: x * 2.0)

    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (2,), name="x")
        tf.identity(choose(x, tf.constant(True)), name="y")
    result = optimized(graph, ["y:0"], {"x:0": [1.0, 2.0]})
    assert ops_of(result) == ["AddV2", "Const", "Identity", "Placeholder"]
