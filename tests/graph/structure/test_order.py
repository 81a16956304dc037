"""Nodes come after their inputs."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import GraphError
from tfpersist.formats import schema
from tfpersist.graph.structure.names import producer
from tfpersist.graph.structure.order import ordered, refuse_cycles


def nodes(**inputs):
    return {name: schema.NodeDef(name=name, op="Op", input=texts) for name, texts in inputs.items()}


@given(st.lists(st.lists(st.integers(0, 30), max_size=3), max_size=12), st.randoms())
def test_every_node_comes_once_and_after_its_inputs(sources, random):
    graph = {
        f"n{number}": schema.NodeDef(
            input=[
                random.choice([f"n{s % number}", f"n{s % number}:1", f"^n{s % number}"])
                for s in numbers
                if number
            ]
        )
        for number, numbers in enumerate(sources)
    }
    names = list(graph)
    random.shuffle(names)
    result = list(ordered({name: graph[name] for name in names}))
    assert sorted(result) == sorted(names)
    position = {name: number for number, name in enumerate(result)}
    for name in names:
        for text in graph[name].input:
            assert position[producer(text)] < position[name]


def test_nodes_without_edges_stay_in_place():
    assert list(ordered(nodes(c=[], a=[], b=["a"]))) == ["c", "a", "b"]


def test_a_missing_input_is_skipped():
    assert list(ordered(nodes(a=["gone", "b"], b=["^gone"]))) == ["b", "a"]


def test_a_loop_is_entered_from_outside():
    loop = nodes(exit=["switch"], switch=["merge", "cond"], cond=["merge"], merge=["enter", "next"])
    loop |= nodes(enter=["x"], x=[], next=["body"], body=["switch:1"])
    loop["next"].op = "NextIteration"
    assert list(ordered(loop)) == ["x", "enter", "merge", "cond", "switch", "exit", "body", "next"]


def test_a_cycle_of_other_ops_ends():
    assert list(ordered(nodes(a=["b"], b=["a"]))) == ["b", "a"]


def test_a_long_chain_needs_no_recursion():
    chain = {f"n{n}": schema.NodeDef(input=[f"n{n + 1}"]) for n in range(20_000)}
    chain["n20000"] = schema.NodeDef()
    assert next(ordered(chain)) == "n20000"


@pytest.mark.parametrize(
    ("edges", "way"),
    [
        ({"a": ["b"], "b": ["c:1"], "c": ["x", "^a"], "x": []}, "c -> b -> a -> c"),
        ({"a": ["a"]}, "a -> a"),
        ({"x": [], "a": ["x", "b"], "b": ["x", "a"]}, "b -> a -> b"),
    ],
)
def test_a_cycle_is_refused_with_the_way_around(edges, way):
    with pytest.raises(GraphError) as caught:
        refuse_cycles(nodes(**edges))
    names = str(caught.value.found).split(" -> ")
    assert len(names) == way.count("->") + 1
    assert names[0] == names[-1]
    for source, reader in itertools.pairwise(names):
        assert source in [producer(text) for text in edges[reader]]


def test_a_long_cycle_is_shown_in_short():
    with pytest.raises(GraphError, match=r"n1 -> n2 -> n3 -> n4 -> \.\.\. -> n4999 -> n0 -> n1\."):
        refuse_cycles(nodes(**{f"n{n}": [f"n{(n - 1) % 5000}"] for n in range(5000)}))


def test_a_loop_of_tensorflow_1_is_no_cycle():
    loop = nodes(enter=[], merge=["enter", "next"], next=["merge"])
    with pytest.raises(GraphError, match="merge"):
        refuse_cycles(loop)
    loop["next"].op = "NextIteration"
    assert refuse_cycles(loop) is None
