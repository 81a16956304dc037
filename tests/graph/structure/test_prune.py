from __future__ import annotations

import numpy as np
import pytest

from tfpersist.errors import GraphError
from tfpersist.formats.graphdef import Graph, parse_text
from tfpersist.formats.tensors import payload_of
from tfpersist.graph.structure.prune import needed, prune, trim

TEXT = b"""
node { name: "a" op: "Const" } node { name: "b" op: "Const" }
node { name: "late" op: "NoOp" input: "^b" }
node { name: "call" op: "PartitionedCall" input: "a" input: "^late"
  attr { key: "f" value { func { name: "outer" } } } }
node { name: "other" op: "lonely" input: "call:1" }
library {
  function { signature { name: "inner" } }
  function { signature { name: "lonely" } }
  function { signature { name: "outer" }
    node_def { name: "i" op: "If" attr { key: "then_branch" value { func { name: "inner" } } } } }
  function { signature { name: "inner_grad" } node_def { name: "n" op: "deep" } }
  function { signature { name: "deep" } node_def { name: "n" op: "deep" } }
  gradient { function_name: "inner" gradient_func: "inner_grad" }
  gradient { function_name: "lonely" gradient_func: "inner_grad" }
}
versions { producer: 27 min_consumer: 12 }
"""


def test_nodes_over_data_and_control_edges_and_functions_over_calls():
    payloads = {name: payload_of(np.zeros(3)) for name in ("a", "gone")}
    graph = prune(Graph(parse_text(TEXT).proto, payloads), ["call:1"])
    assert list(graph.nodes) == ["a", "b", "late", "call"]
    assert list(graph.functions) == ["outer", "inner", "inner_grad", "deep"]
    assert [pair.function_name for pair in graph.proto.library.gradient] == ["inner"]
    assert list(graph.payloads) == ["a"]
    assert (graph.proto.versions.producer, graph.proto.versions.min_consumer) == (27, 12)


def test_a_function_may_be_an_op():
    assert "lonely" in prune(parse_text(TEXT), ["other"]).functions


def test_no_function_no_library():
    assert not prune(parse_text(TEXT), ["late"]).proto.HasField("library")


def test_the_source_stays_as_it_is():
    graph = parse_text(TEXT)
    pruned = prune(graph, ["call"])
    pruned.proto.node[0].name = "changed"
    assert graph.proto == parse_text(TEXT).proto


def test_a_missing_input_names_the_node_and_similar_names():
    graph = parse_text(b'node { name: "kernel" } node { name: "y" op: "Neg" input: "kernle:0" }')
    with pytest.raises(GraphError, match=r"node y \(Neg\).*'kernle:0'.*'kernel'"):
        prune(graph, ["y"])


@pytest.mark.parametrize("index", ["", ":0"])
def test_a_cycle_ends(index):
    text = f'node {{ name: "a" input: "b{index}" }} node {{ name: "b" input: "a{index}" }}'
    assert list(prune(parse_text(text.encode()), ["a"]).nodes) == ["a", "b"]


def test_trim_keeps_the_graph_where_all_is_needed():
    graph = parse_text(TEXT)
    outputs = ["call", "other", "late"]
    trimmed = trim(graph, outputs)
    assert trimmed.proto == prune(graph, outputs).proto
    assert trim(trimmed, outputs) is trimmed
    assert sorted(trimmed.functions) == ["deep", "inner", "inner_grad", "lonely", "outer"]
    assert list(trim(trimmed, ["late"]).nodes) == ["b", "late"]
    assert trimmed.proto == prune(graph, outputs).proto


def test_trim_leaves_out_functions_and_gradients_that_nothing_needs():
    graph = parse_text(b"""node { name: "call" op: "f" }
        library { function { signature { name: "f" } } function { signature { name: "g" } } }""")
    assert list(trim(graph, ["call"]).functions) == ["f"]
    assert list(graph.functions) == ["f", "g"]
    graph = parse_text(b"""node { name: "call" op: "f" } library { function { signature {
        name: "f" } } gradient { function_name: "f" gradient_func: "absent" } }""")
    assert not trim(graph, ["call"]).proto.library.gradient


def test_an_input_by_its_plain_name_by_index_and_by_control():
    graph = parse_text(
        b"""node { name: "a" } node { name: "b" } node { name: "c" } node { name: "d" }
        node { name: "y" input: "a" input: "a" input: "b:2" input: "a:1" input: "^c" }"""
    )
    assert needed(graph, ["y:0"]) == {"a", "b", "c", "y"}
    assert needed(graph, ["^a"]) == {"a"}
    assert needed(graph, []) == set()


def test_trim_leaves_out_a_library_without_functions():
    graph = parse_text(b'node { name: "a" op: "Const" } library { }')
    assert graph.proto.HasField("library")
    assert not trim(graph, ["a"]).proto.HasField("library")
    bare = parse_text(b'node { name: "a" op: "Const" }')
    assert trim(bare, ["a"]) is bare
