"""Object graphs, on small ones written by hand."""

from __future__ import annotations

import pytest

from tfpersist.errors import CorruptionError
from tfpersist.formats import schema
from tfpersist.matching.sides import object_graph
from tfpersist.matching.sides.object_graph import ObjectGraph


def graph(*nodes):
    """Each node: edges {name: node}, or the key of the tensor it owns."""
    message = schema.TrackableObjectGraph()
    for node in nodes:
        added = message.nodes.add()
        if isinstance(node, str):
            added.attributes.add(name="VARIABLE_VALUE", checkpoint_key=node, full_name=node)
        else:
            for name, child in node.items():
                added.children.add(local_name=name, node_id=child)
    return ObjectGraph.of(message)


def test_equal_edges_lead_to_equal_objects():
    saved = graph({"a": 3, "net": 1}, {"w": 2}, "w", "a")
    live = graph({"net": 1, "a": 2, "more": 3}, {"w": 4}, "A", "B", "W")
    assert object_graph.match_from(saved, live, [(0, 0)]) == {0: 0, 1: 1, 2: 3, 4: 2}


def test_cycles_end():
    both = graph({"self": 0, "w": 1}, "w")
    assert object_graph.match_from(both, both, [(0, 0)]) == {0: 0, 1: 1}


def test_slots_and_savers_count_as_values_of_a_checkpoint():
    message = graph({"a": 1, "b": 2, "c": 3}, {}, {}, {}).message
    message.nodes[1].slot_variables.add(slot_name="m")
    message.nodes[2].registered_saver.name = "saver"
    object_graph.mark_values(message)
    marks = [node.has_checkpoint_values.value for node in message.nodes]
    assert marks == [True, True, True, False]


def test_averages_are_told_by_the_saved_optimizer():
    saved = graph(
        {"optimizer": 1},
        {"_trainable_variables": 2, "_model_variables_moving_average": 3},
        {"0": 4, "1": 5},
        {"1": 6},
        "a",
        "b",
        "average of b",
    )
    assert object_graph.averages_in(saved) == {"b": "average of b"}


def test_a_name_that_two_variables_had_is_no_name():
    saved = graph({"a": 1, "b": 2, "c": 3}, "x", "y", "z")
    saved.message.nodes[2].attributes[0].full_name = "x"
    assert object_graph.names_of(saved.message) == {"z": "z"}


def test_a_rewritten_graph_forgets_what_is_not_there():
    whole = graph({"a": 1, "net": 2}, "a", {"w": 3}, "w").message
    part = object_graph.rewritten(whole, {"w": "other"})
    assert [[each.checkpoint_key for each in node.attributes] for node in part.nodes] == [
        [],
        [],
        [],
        ["other"],
    ]
    assert [node.has_checkpoint_values.value for node in part.nodes] == [True, False, True, True]
    assert [len(node.attributes) for node in whole.nodes] == [0, 1, 0, 1]


@pytest.mark.parametrize("node", [2, -1, 2**31 - 1])
def test_an_edge_to_nowhere_is_corruption(node):
    with pytest.raises(CorruptionError, match="does not exist"):
        graph({"a": node}, "a")


def test_empty_graphs_pair_nothing():
    for saved, live in ((graph(), graph({"a": 1}, "a")), (graph({"a": 1}, "a"), graph())):
        assert object_graph.match_from(saved, live, [(0, 0)]) == {}


def test_the_depth_of_an_object_is_that_of_its_shortest_path():
    found = graph({"a": 1, "d": 2}, {"b": 2}, {"c": 3}, "key")
    assert found.depths() == {0: 0, 1: 1, 2: 1, 3: 2}
    assert ObjectGraph.of(schema.TrackableObjectGraph()).depths() == {}
