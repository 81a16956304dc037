"""Edit: changed nodes, added nodes and left out nodes, and a graph that stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph, parse_text
from tfpersist.formats.tensors import payload_of
from tfpersist.graph.optimize.batch_norm import fold_batch_norm
from tfpersist.graph.optimize.dead_branches import remove_dead_branches
from tfpersist.graph.optimize.edit import Edit
from tfpersist.graph.optimize.rsqrt import fold_rsqrt
from tfpersist.graph.optimize.simplify import (
    bypass_identities,
    drop_control_inputs,
    fold_constants,
)

TEXT = b"""node { name: "a" op: "Const" } node { name: "b" op: "Neg" input: "a" }
    library { function { signature { name: "f" } } } versions { producer: 7 } version: 3"""


def test_a_changed_node_keeps_its_place_and_the_graph_its_rest():
    graph = Graph(parse_text(TEXT).proto, {"a": payload_of(np.zeros(3, np.float32))})
    before = schema.GraphDef.FromString(graph.proto.SerializeToString())
    edit = Edit(graph)
    edit.change("a").op = "Placeholder"
    edit.change("a").name = "x"
    edit.add("c").op = "NoOp"
    edited = edit.result()
    assert [(node.name, node.op) for node in edited.proto.node] == [
        ("x", "Placeholder"),
        ("b", "Neg"),
        ("c", "NoOp"),
    ]
    assert edited.proto.versions == before.versions
    assert edited.proto.version == 3
    assert list(edited.functions) == ["f"]
    assert list(edited.payloads) == ["a"]
    assert graph.proto == before


def test_left_out_nodes_go_with_their_payloads():
    edit = Edit(Graph(parse_text(TEXT).proto, {"a": payload_of(np.zeros(3, np.float32))}))
    edited = edit.result({"a"})
    assert list(edited.nodes) == ["b"]
    assert not edited.payloads


@pytest.mark.parametrize(
    "step",
    [
        lambda graph: remove_dead_branches(graph, ["z"]),
        drop_control_inputs,
        lambda graph: bypass_identities(graph, ["z"]),
        lambda graph: fold_constants(graph, ["z"]),
        lambda graph: fold_batch_norm(graph, ["z"]),
        lambda graph: fold_rsqrt(graph, ["z"]),
    ],
    ids=["branches", "controls", "identities", "constants", "batch norm", "rsqrt"],
)
def test_a_pass_without_work_returns_the_graph_itself(step):
    graph = parse_text(
        b"""node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "w" op: "Assert" input: "x" }
        node { name: "r" op: "Rsqrt" input: "x" input: "^w" }
        node { name: "m" op: "MatMul" input: "r" input: "x" }
        node { name: "z" op: "Identity" input: "m" }"""
    )
    assert step(graph) is graph
