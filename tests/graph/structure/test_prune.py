from __future__ import annotations

import numpy as np
import pytest

from tfpersist.errors import GraphError
from tfpersist.formats.graphdef import Graph, parse_text
from tfpersist.formats.tensors import payload_of
from tfpersist.graph.structure.functions import called, references, settle_names, unused
from tfpersist.graph.structure.prune import prune

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


def test_an_edge_to_nowhere_names_the_node_and_the_nearest():
    graph = parse_text(b'node { name: "kernel" } node { name: "y" op: "Neg" input: "kernle:0" }')
    with pytest.raises(GraphError, match=r"node y \(Neg\).*'kernle:0'.*'kernel'"):
        prune(graph, ["y"])


def test_a_cycle_ends():
    graph = parse_text(b'node { name: "a" input: "b" } node { name: "b" input: "a" }')
    assert list(prune(graph, ["a"]).nodes) == ["a", "b"]


def test_functions_in_lists_and_in_attrs_of_functions():
    node = parse_text(b"""node { name: "c" op: "Case"
      attr { key: "branches" value { list { func { name: "f" } func { name: "g"
        attr { key: "inner" value { func { name: "h" } } } } } } } }""").nodes["c"]
    assert [function.name for function in references(node)] == ["f", "g", "h"]
    assert called(node, {"h": None, "g": None}) == ["g", "h"]


def test_names_settle_whatever_the_process_counted():
    def library(first, second):
        text = f"""
        node {{ name: "c" op: "PartitionedCall"
          attr {{ key: "f" value {{ func {{ name: "__inference_call_{first}" }} }} }} }}
        library {{
          function {{ signature {{ name: "__inference_call_{first}"
            input_arg {{ name: "while_cond_{second}_x" }} }}
            node_def {{ name: "n" op: "while_cond_{second}_frozen"
              input: "while_cond_{second}_x" }} }}
          function {{ signature {{ name: "while_cond_{second}_frozen" }} }}
          function {{ signature {{ name: "__inference_call_{first}_{second}" }} }}
          function {{ signature {{ name: "Identity_3" }} }} }}"""
        proto = parse_text(text.encode()).proto
        settle_names(proto)
        return proto

    proto = library(3, 17)
    assert proto == library(9, 101)
    names = [function.signature.name.rpartition("__")[0] for function in proto.library.function]
    assert names == ["call", "while_cond", "call_1", "Identity_1"]
    assert proto.node[0].attr["f"].func.name == proto.library.function[0].signature.name
    settled = proto.SerializeToString(deterministic=True)
    settle_names(proto)
    assert proto.SerializeToString(deterministic=True) == settled


def test_unused_names():
    assert unused("a", ["b"]) == "a"
    assert unused("a", {"a", "a_1", "a_3"}) == "a_2"
