"""The state of optimizers: which slot, of which variable, of which kind."""

from __future__ import annotations

import pytest
from trees import LINE, Var, key_of, objects

from tfpersist.matching.pairing import optimizers


def state_in(tree, slots=(), variables=("a", "b")):
    made = objects({label: Var(label) for label in variables} | {"opt": tree}, slots=slots)
    paths = {
        made.graph.message.nodes[node].attributes[0].checkpoint_key: node
        for node in range(len(made.graph.children))
        if made.graph.valued(node)
    }
    (found,) = made.states
    names = {node: path for path, node in paths.items()}
    return found.kind, {
        (slot, names.get(variable)): names[node] for (slot, variable), node in found.states.items()
    }


def lists(iterations="iteration", **members):
    return {
        "_iterations": Var(iterations, LINE),
        "_learning_rate": Var("learning_rate", LINE),
        "_variables": {},
        **{
            name: {str(at): Var(full) for at, full in enumerate(names)}
            for name, names in members.items()
        },
    }


def test_new_style_lists_are_read_by_full_names():
    tree = lists(_momentums=["Adam/m/b", "Adam/m/a"], _velocities=["Adam/v/b", "Adam/v/a"])
    kind, states = state_in(tree)
    assert kind == "adam"
    assert states["adam/m", "a"] == "opt/_momentums/1"
    assert states["adam/v", "b"] == "opt/_velocities/0"
    assert states["iterations", None] == "opt/_iterations"


@pytest.mark.parametrize(
    ("tree", "kind"),
    [
        (lists(_momentums=["m/a"], _velocities=["v/a"]), "adam"),
        (lists(_momentums=["momentum/a"], _velocities=["velocity/a"]), "rmsprop"),
        (lists("rm_sprop/iteration", _velocities=["rm_sprop/a_velocity"]), "rmsprop"),
        (lists("adam_w_3/iteration", _momentums=["x"], _velocities=["y"]), "adam"),
        (lists(_accumulators=["accumulator/a"], _linears=["linear/a"]), "ftrl"),
        (lists(_accumulated_grads=["accumulated_grad/a"]), "adadelta"),
        (lists(_accumulators=["accumulator/a"]), "adagrad"),
        (
            lists(
                _accumulators=["accumulator/a"],
                _linears=["linear/a"],
                _model_variables_moving_average=["average/a"],
            ),
            "ftrl",
        ),
        (lists(momentums=["m/a"]), ""),
        (lists(_m=["m/a"], _u=["u/a"]), "adamax"),
        (lists(mine=["one/a"]), ""),
    ],
)
def test_the_kind_is_told_by_names_and_lists(tree, kind):
    assert state_in(tree)[0] == kind


@pytest.mark.parametrize(
    ("slots", "kind"),
    [
        (["m", "v"], ""),
        (["m", "v", "vhat"], "adam"),
        (["rms", "momentum"], "rmsprop"),
        (["momentum"], "sgd"),
    ],
)
def test_the_kind_of_a_legacy_optimizer_is_told_by_its_slots(slots, kind):
    tree = {"iter": Var("it", LINE), "decay": Var("d", LINE)}
    made = {f"s{at}": Var(f"s{at}") for at in range(len(slots))}
    found = objects(
        {"a": Var("a"), "opt": tree, **made},
        slots=[("opt", slot, "a", f"s{at}") for at, slot in enumerate(slots)],
    )
    assert found.states[0].kind == kind
    assert {slot for slot, _ in found.states[0].states} >= {f"{kind}/{slot}" for slot in slots}


@pytest.mark.parametrize(
    ("name", "kind"), [("Adam", "adam"), ("training/Adamax_1", "adamax"), ("mine", "")]
)
def test_the_scope_of_a_legacy_optimizer_tells_its_kind(name, kind):
    tree = {"iter": Var(f"{name}/iter", LINE), "decay": Var(f"{name}/decay", LINE)}
    made = objects(
        {"a": Var("a"), "opt": tree, "m": Var("x"), "v": Var("y")},
        slots=[("opt", "m", "a", "m"), ("opt", "v", "a", "v")],
    )
    assert made.states[0].kind == kind


def test_names_of_two_kinds_tell_nothing():
    assert state_in(lists("adam/iteration", mine=["sgd/m/a"]))[0] == ""


def test_lists_that_all_optimizers_have_are_of_no_kind():
    tree = lists("adam/iteration", _model_variables_moving_average=["average/a"])
    assert ("average", "a") in state_in(tree)[1]


def test_equal_names_are_told_apart_by_their_order():
    tree = lists(_momentums=["m/x", "m/x"], _velocities=["v/x", "v/x"])
    made = objects({"a": Var("x"), "b": Var("x"), "opt": tree})
    (found,) = made.states
    assert len([slot for slot, variable in found.states if variable >= 0]) == 4


def test_empty_lists_of_keras_3_3_are_filled_by_the_names_of_all_variables():
    of_all = ["iteration", *["net_x_momentum", "net_x_velocity"] * 2, "net_x_average", "net_x"]
    tree = {
        "iterations": "opt/_variables/0",
        "_variables": {str(at): Var(f"adam/{name}") for at, name in enumerate(of_all)},
        "_trainable_variables": {"0": "a", "1": "b"},
        "_momentums": {},
        "_velocities": {},
    }
    made = objects({"a": Var("net/x"), "opt": tree, "b": Var("net/x")})
    (found,) = made.states
    assert found.kind == "adam"
    assert {
        (slot, key_of(made, variable) if variable >= 0 else ""): key_of(made, state)
        for (slot, variable), state in found.states.items()
    } == {
        ("adam/m", "a"): "opt/_variables/1",
        ("adam/v", "a"): "opt/_variables/2",
        ("adam/m", "b"): "opt/_variables/3",
        ("adam/v", "b"): "opt/_variables/4",
        ("average", "a"): "opt/_variables/5",
        ("iterations", ""): "opt/_variables/0",
    }


@pytest.mark.parametrize(("states", "slots"), [(2, 2), (3, 0)])
def test_states_of_keras_3_3_that_are_all_called_alike_are_in_order(states, slots):
    names = ["iteration", *["accumulator"] * states]
    tree = {
        "iterations": "opt/_variables/0",
        "_variables": {str(at): Var(f"adagrad/{name}") for at, name in enumerate(names)},
        "_trainable_variables": {"0": "a", "1": "b"},
        "_model_variables_moving_average": {},
        "_accumulators": {},
    }
    _, found = state_in(tree)
    assert [key for key in found if key[1]] == [
        ("adagrad/accumulator", "a"),
        ("adagrad/accumulator", "b"),
    ][:slots]


def test_what_has_no_known_owner_is_no_slot():
    assert not [
        key
        for key in state_in(lists(_momentums=["m/zzz"], _velocities=["v/a"]))[1]
        if key[0] == "adam/m"
    ]


def test_an_optimizer_inside_of_another_is_not_a_second_one():
    made = objects({"a": Var("a"), "opt": {"inner_optimizer": lists(_momentums=["m/a"])}})
    assert len(made.states) == 1


def one(node, kind="adam"):
    return optimizers.OptimizerState(node, kind, {})


def test_several_optimizers_are_told_apart_by_their_attributes():
    edges = {1: "g", 2: "d", 11: "d", 12: "g", 13: "other"}
    pairs = optimizers.pair_optimizers(
        [one(1), one(2)], [one(11), one(12), one(13)], lambda is_live, node: edges[node]
    )
    assert [(mine.node, theirs.node) for mine, theirs in pairs] == [(1, 12), (2, 11)]
    assert optimizers.pair_optimizers([one(1)], [one(13)], lambda is_live, node: edges[node])
    assert not optimizers.pair_optimizers([one(1)], [], lambda is_live, node: edges[node])
