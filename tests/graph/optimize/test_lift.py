"""Lifting: which constants become variables, and what becomes of the graph."""

from __future__ import annotations

import numpy as np
import pytest

from tfpersist.formats import graphdef, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import TensorSpec, payload_of
from tfpersist.graph.optimize.lift import LIFT_THRESHOLD, lift


def graph_of(*others: schema.Message, **arrays: np.ndarray) -> Graph:
    nodes = []
    for name, array in arrays.items():
        node = schema.NodeDef(name=name)
        graphdef.with_payload(node, TensorSpec(array.dtype.name, array.shape))
        nodes.append(node)
    payloads = {name: payload_of(array) for name, array in arrays.items()}
    return Graph(schema.GraphDef(node=[*nodes, *others]), payloads)


def test_a_constant_becomes_the_reading_of_a_variable():
    weights = np.arange(1 << 16, dtype=np.float32).reshape(256, 256)
    graph = graph_of(w=weights, small=np.zeros(600, np.float32))
    lifted = lift(graph, min_bytes=1)
    nodes = lifted.graph.nodes
    assert [node.op for node in nodes.values()] == [
        *("ReadVariableOp", "Const", "VarHandleOp", "Placeholder", "AssignVariableOp"),
    ]
    assert list(nodes["w"].input) == ["tfpersist_weights/0/handle"]
    assert [dim.size for dim in nodes["tfpersist_weights/0/value"].attr["shape"].shape.dim] == [
        *(256, 256),
    ]
    assert lifted.values["tfpersist_weights/0/value"].load() is weights
    assert lifted.initializers == ("tfpersist_weights/0/assign",)
    assert set(lifted.graph.payloads) == {"small"}
    assert graph.nodes["w"].op == "Const"


def test_a_small_model_stays_as_it_is():
    graph = graph_of(w=np.zeros(LIFT_THRESHOLD // 4 - 1, np.float32))
    assert lift(graph).graph is graph
    assert lift(graph_of(w=np.zeros(LIFT_THRESHOLD // 4, np.float32))).values


def test_constants_stay_if_their_new_names_are_in_use():
    taken = schema.NodeDef(name="tfpersist_weights/0/handle", op="NoOp")
    lifted = lift(graph_of(taken, w=np.zeros(1 << 16, np.float32)), min_bytes=1)
    assert lifted.initializers == ("tfpersist_weights_/0/assign",)
    assert lifted.graph.nodes["tfpersist_weights/0/handle"].op == "NoOp"


@pytest.mark.parametrize("op", ["InplaceUpdate", "InplaceAdd", "InplaceSub"])
def test_constants_that_could_be_written_are_not_lifted(op):
    graph = graph_of(schema.NodeDef(name="write", op=op), w=np.zeros(1 << 16, np.float32))
    assert lift(graph, min_bytes=1).graph is graph


def test_a_constant_with_control_inputs_stays():
    """It can be in a loop, where a variable outside of the loop cannot be read."""
    graph = graph_of(schema.NodeDef(name="x", op="Placeholder"), w=np.zeros(1 << 16, np.float32))
    graph.nodes["w"].input.append("^x")
    assert lift(graph, min_bytes=1).graph is graph


def test_quantized_constants_stay():
    node = schema.NodeDef(name="q")
    graphdef.with_payload(node, TensorSpec("qint8", (1 << 17,)))
    payloads = {"q": payload_of(np.zeros(1 << 17, np.int8), "qint8")}
    graph = Graph(schema.GraphDef(node=[node]), payloads)
    assert lift(graph, min_bytes=1).graph is graph
