"""Calls without end, and calls that multiply."""

from __future__ import annotations

import re

import pytest

import tfpersist as tfp
from tfpersist.errors import GraphError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.structure.nesting import refuse_endless


def library(calls: dict[str, list[str]], gradients: dict[str, str] | None = None):
    """Make a graph that calls "f", of functions that call each other; "~g" is a gradient of g."""
    graph = schema.GraphDef()
    for name, called in {"": ["f"], **calls}.items():
        if name:
            function = graph.library.function.add()
            function.signature.name = name
        nodes = function.node_def if name else graph.node
        for number, other in enumerate(called):
            op = "SymbolicGradient" if other.startswith("~") else "PartitionedCall"
            node = nodes.add(name=f"n{number}", op=op)
            node.attr["f"].func.name = other.removeprefix("~")
    for name, gradient in (gradients or {}).items():
        graph.library.gradient.add(function_name=name, gradient_func=gradient)
    return graph


def is_endless(graph):
    try:
        refuse_endless(graph)
    except GraphError:
        return True
    return False


@pytest.mark.parametrize(
    ("graph", "chain"),
    [
        (library({"f": ["f"]}), "f -> f"),
        (library({"f": ["g"], "g": ["h"], "h": ["g"]}), "g -> h -> g"),
        (library({"f": [], "lost": ["lost"]}), "lost -> lost"),
        (library({"f": ["~g"], "g": [], "h": ["f"]}, {"g": "h"}), "f -> g -> h -> f"),
        (
            library({"f": ["~g"], "g": ["k"], "k": [], "h": ["f"]}, {"k": "h"}),
            "f -> g -> k -> h -> f",
        ),
        (
            library({"f": ["g0"], **{f"g{n}": [f"g{n + 1}"] for n in range(20)}, "g20": ["f"]}),
            "f -> g0 -> g1 -> g2 -> ... -> g19 -> g20 -> f",
        ),
    ],
    ids=["itself", "another", "never called", "gradient", "derived gradient", "long"],
)
def test_recursion_is_refused_by_its_chain(graph, chain):
    with pytest.raises(GraphError, match=re.escape(f"; got {chain}. ")):
        refuse_endless(graph)


def test_a_function_named_in_any_way_is_called():
    by_op = library({"f": []})
    by_op.library.function[0].node_def.add(name="n", op="f")
    branch = library({"f": []})
    node = branch.library.function[0].node_def.add(name="n", op="StatelessCase")
    node.attr["branches"].list.func.add(name="other")
    node.attr["branches"].list.func.add(name="f")
    nested = library({"f": []})
    node = nested.library.function[0].node_def.add(name="n", op="PartitionedCall")
    node.attr["f"].func.name = "remote"
    node.attr["f"].func.attr["inner"].func.name = "f"
    for graph in (by_op, branch, nested):
        with pytest.raises(GraphError, match="f -> f"):
            refuse_endless(graph)


def test_a_gradient_may_compute_its_function_again():
    again = {"f": ["~g", "g"], "g": ["h"], "h": []}
    assert not is_endless(library({**again, "dg": ["g"]}, {"g": "dg"}))
    assert is_endless(library({**again, "dg": ["f"]}, {"g": "dg"}))


def test_the_gradient_of_a_missing_function_is_not_computed():
    calls = {"f": ["~g"], "g": ["h", "h"], "h": []}
    assert not is_endless(library(calls, {"absent": "nowhere"}))
    assert is_endless(library({**calls, "nowhere": ["f"]}, {"g": "nowhere"}))


def test_calls_that_multiply_are_counted_not_made():
    doubling = {f"f{n}": [f"f{n + 1}"] * 2 for n in range(200)}
    with pytest.raises(GraphError, match="expected at most 10,000,000 nodes"):
        refuse_endless(library({"f": ["f0"], **doubling, "f200": []}))
    shallow = {f"f{n}": [f"f{n + 1}"] * 2 for n in range(20)}
    refuse_endless(library({"f": ["f0"], **shallow, "f20": []}))


def test_the_largest_number_of_nodes():
    def graph(*counts):
        made = library({"f": ["g"] * 1000, "g": []})
        for function, count in zip(made.library.function, counts, strict=True):
            for number in range(count):
                function.node_def.add(name=f"x{number}", op="NoOp")
        return made

    # One node calls "f", 1,000 nodes of "f" call "g".
    refuse_endless(graph(999, 9_998))
    with pytest.raises(GraphError, match="at most 10,000,000 nodes"):
        refuse_endless(graph(1_000, 9_998))


def test_deep_nesting_is_refused_without_recursion():
    def deep(depth):
        calls = {f"f{n}": [f"f{n + 1}"] for n in range(depth)}
        return library({"f": ["f0"], **calls, f"f{depth}": []})

    # The main graph calls "f", and that calls "f0", of a chain of functions.
    refuse_endless(deep(298))
    with pytest.raises(GraphError, match=r"^the graph: "):
        refuse_endless(deep(299))
    with pytest.raises(GraphError, match="too deep for TensorFlow; expected at most 300"):
        refuse_endless(deep(5000))


def test_a_graph_with_endless_calls_is_neither_frozen_nor_run():
    graph = library({"f": ["g"], "g": ["f"]})
    graph.node[0].name = "y"
    for use in (
        lambda: tfp.Freezer(tfp.FrozenModel(Graph(graph))).outputs("y").freeze(),
        lambda: tfp.Freezer(tfp.FrozenModel(Graph(graph))).outputs("y").optimize().freeze(),
        lambda: tfp.FrozenModel(Graph(graph)).run("y"),
    ):
        with pytest.raises(GraphError, match=r"f -> g -> f|g -> f -> g"):
            use()
