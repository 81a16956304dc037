import pytest

from tfpersist.matching.keras_files.graph_writer import GraphWriter
from tfpersist.matching.keras_files.slots import Slots, kind_of, written
from tfpersist.matching.sides.object_graph import ObjectGraph

VARIABLES = {"net/w": [1], "w": [2], "twice": [3, 4]}


@pytest.mark.parametrize(
    ("classes", "name", "slot"),
    [
        (["adam"], "Adam/net/w/m", "m"),
        (["adam"], "training/Adam/net/w/v", "v"),
        (["adam"], "Adam/m/net/w", "m"),
        (["adam"], "m/net/w", "m"),
        (["adam_w"], "adam_w/net_w_velocity_hat", "vhat"),
        (["sgd"], "SGD/m/net/w", "momentum"),
        (["sgd"], "sgd/net_w_momentum", "momentum"),
        (["rm_sprop"], "rmsprop/net_w_velocity", "rms"),
        (["adamax"], "adamax/net_w_norm", "v"),
        (["adam"], "adam/net_w_average", "average"),
    ],
)
def test_a_name_tells_slot_and_variable(classes, name, slot):
    found = Slots(classes)
    found.add_named(name, "key", VARIABLES)
    assert found.slots == {slot: {1: "key"}}


@pytest.mark.parametrize("name", ["Adam/m/twice", "Adam/m/other", "Adam/x/net/w", "m"])
def test_a_name_that_tells_nothing_is_left_out(name):
    found = Slots(["adam"])
    found.add_named(name, "key", VARIABLES)
    assert (found.slots, found.scalars) == ({}, {})


def test_an_optimizer_without_a_kind_has_no_slots():
    found = Slots([])
    found.add_named("Adam/m/net/w", "key", VARIABLES)
    assert found.slots == {}


def test_the_single_variables_of_an_optimizer_and_of_the_one_around_it():
    found = Slots(["loss_scale_optimizer", "adam"])
    for name in ("adam/iteration", "loss_scale_optimizer/dynamic_scale"):
        found.add_named(name, name, VARIABLES)
    assert found.scalars == {"_iterations": "adam/iteration"}
    assert found.outer == {"dynamic_scale": "loss_scale_optimizer/dynamic_scale"}
    graph = GraphWriter()
    assert written(graph, found) == {1: "adam"}
    assert "inner_optimizer" in ObjectGraph.of(graph.message).children[1]


def test_slots_become_lists_in_the_order_of_the_variables():
    graph = GraphWriter()
    one, two = (graph.tensor(0, name, name, name) for name in "ab")
    found = Slots(["adam"])
    for slot in "mv":
        for variable in (two, one):
            found.add(slot, variable, f"{slot}{variable}")
    (number,) = written(graph, found)
    objects = ObjectGraph.of(graph.message)
    assert objects.item(number, "_trainable_variables") == {"0": two, "1": one}
    momentums = objects.item(number, "_momentums")
    keys = [objects.message.nodes[node].attributes[0].checkpoint_key for node in momentums.values()]
    assert keys == [f"m{two}", f"m{one}"]


def test_no_state_is_no_optimizer():
    assert written(GraphWriter(), Slots(["adam"])) == {}


def test_the_kind_is_that_of_the_inner_optimizer():
    assert (kind_of(["loss_scale_optimizer", "rm_sprop"]), kind_of(["mine"])) == ("rmsprop", "")
