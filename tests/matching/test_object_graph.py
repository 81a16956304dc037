"""Pairing object graphs, on small graphs written by hand."""

from __future__ import annotations

import pytest

from tfpersist.errors import CorruptionError
from tfpersist.formats import schema
from tfpersist.matching import object_graph
from tfpersist.matching.object_graph import ObjectGraph


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


def test_equal_edges_lead_to_equal_objects_wherever_they_stand_in_the_list():
    saved = graph({"a": 3, "net": 1}, {"w": 2}, "w", "a")
    live = graph({"net": 1, "a": 2}, {"w": 3}, "A", "W")
    assert object_graph.match(saved, live) == {0: 0, 1: 1, 2: 3, 3: 2}


def test_a_part_of_what_was_saved_is_found():
    assert object_graph.match(graph({"m": 1, "o": 2}, "m", "o"), graph({"m": 1}, "M")) == {
        0: 0,
        1: 1,
    }


def test_cycles_end():
    both = graph({"self": 0, "w": 1}, "w")
    assert object_graph.match(both, both) == {0: 0, 1: 1}


def test_one_saved_variable_goes_to_both_of_its_live_heirs():
    assert object_graph.match(graph({"a": 1, "b": 1}, "a"), graph({"a": 1, "b": 2}, "A", "B")) == {
        0: 0,
        1: 1,
        2: 1,
    }


def test_a_live_variable_of_two_saved_ones_takes_the_first():
    found = object_graph.match(graph({"a": 1, "b": 2}, "a", "b"), graph({"a": 1, "b": 1}, "A"))
    assert found[1] == 1


def test_a_root_is_found_among_the_children_of_the_other_root():
    inner = graph({"w": 1}, "w")
    outer = graph({"model": 1, "step": 3}, {"w": 2}, "w", "step")
    assert object_graph.match(outer, inner)[1] == 2
    assert object_graph.match(inner, outer)[2] == 1


def test_two_children_that_would_do_are_no_choice():
    outer = graph({"one": 1, "two": 3}, {"w": 2}, "w1", {"w": 4}, "w2")
    assert object_graph.match(outer, graph({"w": 1}, "w")) == {0: 0}


def test_a_child_that_covers_no_more_than_the_root_is_not_taken_for_it():
    saved = graph({"w": 1, "net": 2}, "w", {"w": 3}, "inner w")
    assert object_graph.match(saved, graph({"w": 1, "x": 2}, "W", "X")) == {0: 0, 1: 1}


def test_many_children_are_not_tried_as_roots():
    def outer(children):
        edges = {f"net{number}": 1 + 2 * number for number in range(children)}
        nodes = [node for number in range(children) for node in ({"w": 2 + 2 * number}, "w")]
        nodes[1::2] = [f"w{number}" for number in range(children)]
        nodes[0] = {"w": 2, "b": 1 + 2 * children}
        return graph(edges, *nodes, "b")

    inner = graph({"w": 1, "b": 2}, "W", "B")
    assert object_graph.match(outer(40), inner) == {0: 1, 1: 2, 2: 81}
    assert object_graph.match(outer(41), inner) == {0: 0}


def optimizer(order):
    """Variables a and b, and an optimizer with a momentum for each, listed in this order."""
    a, b = (4, 5) if order == "ab" else (5, 4)
    return graph(
        {"a": 4, "b": 5, "optimizer": 1},
        {"_trainable_variables": 2, "_momentums": 3, "_variables": 8},
        {"0": a, "1": b},
        {"0": 6, "1": 7},
        "a",
        "b",
        f"momentum of {order[0]}",
        f"momentum of {order[1]}",
        {"0": 6, "1": 7},
    )


@pytest.mark.parametrize("saved", ["ab", "ba"])
@pytest.mark.parametrize("live", ["ab", "ba"])
def test_what_an_optimizer_keeps_follows_the_variable_and_not_the_position(saved, live):
    theirs, mine = optimizer(saved), optimizer(live)
    found = object_graph.match(theirs, mine)
    for node in (4, 5, 6, 7):
        (key,) = mine.message.nodes[node].attributes
        (other,) = theirs.message.nodes[found[node]].attributes
        assert key.checkpoint_key == other.checkpoint_key


def test_a_position_among_all_variables_pairs_nothing_that_has_another_edge():
    def one(*, name, extra):
        """An optimizer with a scalar under a name of its own, and one in the list alone."""
        return graph(
            {"optimizer": 1},
            {"_trainable_variables": 2, "_variables": 3, name: 4},
            {},
            {"0": 4, "1": 5},
            name,
            extra,
        )

    saved, live = one(name="rate", extra="seed"), one(name="decay", extra="Seed")
    found = object_graph.match(saved, live)
    assert found[5] == 5
    assert 4 not in found


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
    assert object_graph.match(graph(), graph({"a": 1}, "a")) == {}
    assert object_graph.match(graph({"a": 1}, "a"), graph()) == {}
