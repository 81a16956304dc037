"""Pairs of saved and living objects, on small graphs written by hand."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import LINE, SQUARE, Var, dense, layers, objects, paired, proposed

from tfpersist.matching.pairing.pair_objects import pair_objects


def chain(*names, width=4):
    return layers(*(dense(name, width) for name in names))


def live_chain(*names, width=4):
    return objects(
        layers(*(dense(name, width) for name in names)),
        names={f"_operations/{at}": name for at, name in enumerate(names, 1)},
    )


def kernels(pairs):
    """{number of the live layer: number of the saved one}."""
    return {
        int(mine.split("/")[-2]): int(theirs.split("/")[-2])
        for mine, theirs in pairs.items()
        if mine.endswith("kernel")
    }


def test_names_that_people_gave_decide_over_places():
    saved = objects(chain("a", "b", "c"))
    assert kernels(paired(saved, live_chain("b", "a", "c"))) == {1: 2, 2: 1, 3: 3}
    assert kernels(paired(saved, live_chain("new", "a", "b", "c"))) == {2: 1, 3: 2, 4: 3}
    assert kernels(paired(saved, live_chain("c"))) == {1: 3}


def test_one_layer_renamed_keeps_its_place():
    assert kernels(paired(objects(chain("a", "b", "c")), live_chain("a", "x", "c"))) == {
        1: 1,
        2: 2,
        3: 3,
    }


def test_a_layer_that_moved_is_not_taken_for_another():
    saved = objects(chain("a", "b", "c"))
    live = live_chain("a", "c", "x")
    assert kernels(paired(saved, live)) == {1: 1, 2: 3}
    assert not proposed(saved, live)


@pytest.mark.parametrize(("before", "after"), [(0, 5), (7, 0)])
def test_automatic_numbers_mean_nothing(before, after):
    saved = objects(chain(*(f"dense_{before + at}" for at in range(3))))
    live = live_chain(*(f"dense_{after + at}" for at in range(3)))
    assert kernels(paired(saved, live)) == {1: 1, 2: 2, 3: 3}


def test_layers_without_names_that_came_or_went_leave_a_choice():
    saved = objects(layers(dense("dense"), dense("dense_1"), dense("dense_2", 3)))
    live = objects(
        layers(dense("dense"), dense("dense_1"), dense("dense_2"), dense("dense_3", 3)),
        names={f"_operations/{at}": f"dense_{at}" for at in range(1, 5)},
    )
    pairing = pair_objects(live, saved)
    assert kernels(paired(saved, live)) == {4: 3}
    assert not proposed(saved, live)
    open_ones = [fate for fate in pairing.fates.values() if not fate.reason]
    assert len(open_ones) == 6
    assert all(len(fate.alternatives) == 2 for fate in open_ones)


def test_a_model_in_a_model_is_found_at_any_depth():
    inner = chain("a", "b")
    nested = objects(
        layers(inner, dense("head", 3)),
        names={
            "_operations/1": "encoder",
            "_operations/1/_operations/1": "a",
            "_operations/1/_operations/2": "b",
            "_operations/2": "head",
        },
    )
    flat = objects(layers(dense("a"), dense("b"), dense("head", 3)))
    assert paired(flat, nested)["_operations/1/_operations/2/_kernel"] == "_operations/2/_kernel"
    assert len(paired(flat, nested)) == 6


def test_two_that_have_one_name_leave_a_choice():
    saved = objects(layers(chain("a"), chain("a"), dense("head", 3)))
    live = objects(
        layers(chain("a"), dense("head", 3)),
        names={"_operations/1": "key", "_operations/1/_operations/1": "a", "_operations/2": "head"},
    )
    assert set(paired(saved, live)) == {"_operations/2/_kernel", "_operations/2/bias"}


def block(name):
    return {"up": dense(name), "down": dense(name)}


def blocks(*names, held="blocks"):
    return objects(
        {held: {str(at): block("net") for at in range(len(names))}},
        names={
            path: name
            for at, block_name in enumerate(names)
            for path, name in (
                (f"{held}/{at}", block_name),
                (f"{held}/{at}/up", "up"),
                (f"{held}/{at}/down", "down"),
            )
        },
    )


def saved_blocks(count):
    return objects({"blocks": {str(at): block("net") for at in range(count)}})


def test_a_place_in_a_list_counts_where_the_names_count_the_same():
    names = [f"layer_{at}" for at in range(4)]
    assert len(paired(saved_blocks(4), blocks(*names))) == 16
    assert len(paired(saved_blocks(6), blocks(*names))) == 16
    assert len(paired(saved_blocks(4), blocks("stem", "body", "tail", "end"))) == 16


@pytest.mark.parametrize(
    "names",
    [
        ["layer_2", "layer_0", "layer_3", "layer_1"],
        ["layer_0", "layer_2", "layer_4"],
        ["layer_0", "layer_1", "adapter", "layer_2", "layer_3"],
        ["stem", "body", "end"],
    ],
)
def test_a_place_in_a_list_that_a_name_contradicts_is_no_evidence(names):
    saved, live = saved_blocks(4), blocks(*names)
    assert not paired(saved, live)
    assert not proposed(saved, live)


def test_a_list_inside_of_another_layer_is_another_list():
    saved = objects({"parts": {"0": dense("a"), "1": dense("b"), "2": dense("c")}})
    live = objects({"stage": {"parts": {"0": dense("x")}}})
    assert not paired(saved, live)


def test_a_position_in_a_list_is_none_of_a_layer_whose_name_is_elsewhere():
    def parts(*names):
        return {str(at): dense(name) for at, name in enumerate(names)}

    def side(tree, **names):
        return objects(tree, names=names)

    saved = side({"parts": parts("a", "b")}, **{"parts/0": "a", "parts/1": "b"})
    live = side(
        {"stage": {"parts": parts("b", "x")}, "a": dense("a")},
        **{"stage/parts/0": "b", "stage/parts/1": "x"},
    )
    assert paired(saved, live) == {
        "a/_kernel": "parts/0/_kernel",
        "a/bias": "parts/0/bias",
        "stage/parts/0/_kernel": "parts/1/_kernel",
        "stage/parts/0/bias": "parts/1/bias",
    }


def test_where_layers_moved_a_new_one_is_not_taken_for_one_that_went():
    saved = objects(chain("stem", "norm_a", "mid", "norm_b"))
    live = live_chain("stem", "norm_b", "mid", "norm_c")
    assert kernels(paired(saved, live)) == {1: 1, 2: 4, 3: 3}
    assert not proposed(saved, live)


def test_a_list_of_variables_gives_no_layer_with_a_name_one_without():
    tensors = ["dense_1/kernel", "dense_1/bias", "a/kernel", "a/bias"]
    variables = [Var(name, SQUARE if name.endswith("kernel") else LINE) for name in tensors]
    saved = objects({"variables": {str(at): one for at, one in enumerate(variables)}})
    assert len(paired(saved, live_chain("x", "a"))) == 2
    assert len(paired(saved, live_chain("dense_4", "a"))) == 4


def test_a_list_in_which_layers_of_another_kind_have_a_place_has_shifted():
    norm = {"gamma": Var("n/gamma", LINE), "beta": Var("n/beta", LINE)}
    saved = objects({"parts": {"0": dense("n"), "1": dense("n"), "2": dict(norm)}})
    shifted = objects({"parts": {"0": dense("n"), "1": dict(norm), "2": dict(norm)}})
    resized = objects({"parts": {"0": dense("n"), "1": dense("n", 7), "2": dict(norm)}})
    assert not paired(saved, shifted)
    assert len(paired(saved, resized)) == 6


def test_an_order_of_training_says_nothing_of_layers_that_look_like_frozen_ones():
    def net(*trained):
        order = [f"{label}/{part}" for label in trained for part in ("_kernel", "bias")]
        state = {"_iterations": Var("it", LINE), "_variables": {}}
        state["_trainable_variables"] = {str(at): path for at, path in enumerate(order)}
        tree = {"end": dense("end", 3), "a": dense("x"), "b": dense("x"), "optimizer": state}
        return tree, order

    def side(prefix, *trained):
        tree, order = net(*trained)
        renamed = {prefix.get(label, label): one for label, one in tree.items()}
        paths = [
            "/".join([prefix.get(p.split("/")[0], p.split("/")[0]), p.split("/")[1]]) for p in order
        ]
        renamed["optimizer"]["_trainable_variables"] = {str(n): p for n, p in enumerate(paths)}
        return objects(renamed, trained=[paths])

    other = {"a": "c", "b": "d"}
    assert len(paired(side({}, "end", "a", "b"), side(other, "end", "a", "b"))) == 7
    assert len(paired(side({}, "end", "a"), side(other, "end", "a"))) == 3


def test_states_of_equal_names_say_nothing_if_some_are_not_trained():
    def side(*names):
        lists = {
            "_momentums": {str(at): Var(f"Adam/m/{name}") for at, name in enumerate(names)},
            "_velocities": {str(at): Var(f"Adam/v/{name}") for at, name in enumerate(names)},
        }
        state = {"_iterations": Var("it", LINE), "_variables": {}, **lists}
        return objects({"a": Var("w"), "b": Var("w"), "c": Var("u"), "optimizer": state})

    live = objects(
        {"a": Var("w"), "b": Var("w"), "c": Var("u"), "optimizer": adam("abc")},
        kinds={"optimizer": "adam"},
    )
    assert "optimizer/_momentums/1" in paired(side("w", "w", "u"), live)
    some = paired(side("w", "u"), live)
    assert "optimizer/_momentums/2" in some
    assert "optimizer/_momentums/0" not in some


def test_an_order_of_training_says_nothing_of_layers_with_other_tensors():
    def net(norm, *more):
        middle = {"gamma": Var(f"{norm}/gamma", LINE), "beta": Var(f"{norm}/beta", LINE)}
        middle |= {label: Var(f"{norm}/{label}", LINE) for label in more}
        order = [f"{norm}/gamma", f"{norm}/beta", "head/_kernel", "head/bias"]
        state = {"_iterations": Var("it", LINE), "_variables": {}}
        state["_trainable_variables"] = {str(at): path for at, path in enumerate(order)}
        return objects({norm: middle, "head": dense("head"), "optimizer": state}, trained=[order])

    saved, live = net("one", "moving_mean", "moving_variance"), net("two")
    assert {path.split("/")[0] for path in paired(saved, live)} == {"head", "optimizer"}
    assert len(paired(net("one"), live)) == 5


def test_a_list_under_another_attribute_is_proposed():
    names = [f"layer_{at}" for at in range(12)]
    saved, live = saved_blocks(12), blocks(*names, held="stages")
    assert not paired(saved, live)
    found = proposed(saved, live)
    assert len(found) == 48
    assert all(mine.replace("stages", "blocks") == theirs for mine, theirs in found.items())


def test_a_name_and_an_attribute_that_contradict_are_a_conflict():
    saved = objects({"a": dense("left"), "b": dense("right")}, names={"a": "left", "b": "right"})
    live = objects({"a": dense("right"), "b": dense("left")}, names={"a": "right", "b": "left"})
    pairing = pair_objects(live, saved)
    assert not pairing.bound
    assert all(fate.conflict is not None for fate in pairing.fates.values())


def test_two_models_in_one_checkpoint_are_told_apart_by_their_attributes():
    saved = objects({"generator": chain("dense"), "critic": chain("dense_1", "dense_2")})
    live = objects(
        {"critic": chain("dense_8", "dense_9")},
        names={f"critic/_operations/{at}": f"dense_{7 + at}" for at in (1, 2)},
    )
    assert paired(saved, live)["critic/_operations/2/_kernel"] == "critic/_operations/2/_kernel"
    assert len(paired(saved, live)) == 4


def test_a_root_is_found_below_the_other_root():
    inner, outer = objects({"w": Var(), "a": Var()}), objects({"net": {"w": Var(), "a": Var()}})
    assert paired(outer, inner) == {"w": "net/w", "a": "net/a"}
    assert paired(inner, outer) == {"net/w": "w", "net/a": "a"}


def test_two_models_are_not_mixed_whatever_their_order():
    saved = objects({"generator": chain("dense"), "critic": chain("dense_1", "dense_2")})
    live = objects({"critic": chain("dense", "dense_1"), "generator": chain("dense_2")})
    pairs = paired(saved, live)
    assert all(mine == theirs for mine, theirs in pairs.items())
    assert len(pairs) == 6


def test_an_attribute_is_not_taken_for_the_name_of_another_layer():
    saved = objects({"a": dense("b"), "b": dense("a")}, names={"a": "b", "b": "a"})
    live = objects({"a": {"_kernel": Var("x"), "bias": Var("y", LINE)}})
    assert paired(saved, live) == {"a/_kernel": "a/_kernel", "a/bias": "a/bias"}


def test_models_with_layers_of_the_same_names_keep_their_order():
    inner = chain("one", "two")
    tree = layers(inner, chain("one", "two"), dense("head", 3))
    names = {
        f"_operations/{at}/_operations/{number}": name
        for at in (1, 2)
        for number, name in ((1, "one"), (2, "two"))
    }
    live = objects(tree, names=names | {"_operations/3": "top"})
    pairs = paired(objects(tree), live)
    assert all(mine == theirs for mine, theirs in pairs.items())
    assert len(pairs) == 10


def test_a_renamed_layer_among_new_ones_is_only_proposed():
    saved = objects(layers(dense("a"), dense("b"), dense("c", 3)))
    tree = layers(dense("x"), dense("a"), dense("y"), dense("c", 3))
    live = objects(tree, names={f"_operations/{at}": n for at, n in enumerate("xayc", 1)})
    assert "_operations/3/_kernel" not in paired(saved, live)
    assert proposed(saved, live)["_operations/3/_kernel"] == "_operations/2/_kernel"
    assert "_operations/1/_kernel" not in proposed(saved, live)


def test_one_saved_variable_goes_to_all_its_heirs():
    saved = objects({"a": Var(), "b": "a"})
    assert paired(saved, objects({"a": Var(), "b": Var()})) == {"a": "a", "b": "a"}


def adam(trained, *, new_style=False, inner=None):
    """An optimizer with its state in lists; `trained` are the paths of what it trains."""
    names = [path.replace("/", "_") for path in trained]
    full = "Adam/m/{}" if new_style else "adam/{}_momentum"
    state = {
        "_iterations": Var("iteration" if new_style else "adam/iteration", LINE),
        "_learning_rate": Var("adam/learning_rate", LINE),
        "_variables": {},
        "_momentums": {
            str(at): Var(full.format(path if new_style else name))
            for at, (path, name) in enumerate(zip(trained, names, strict=True))
        },
        "_velocities": {},
    }
    if not new_style:
        state["_trainable_variables"] = {str(at): path for at, path in enumerate(trained)}
    return {inner: state, "_iterations": Var("outer/iteration", LINE)} if inner else state


def named(*labels, **more):
    return {label: Var(label) for label in labels} | more


@pytest.mark.parametrize("new_style", [False, True])
@pytest.mark.parametrize("order", ["ab", "ba"])
def test_slots_follow_their_variables_and_not_the_list(order, new_style):
    saved = objects(named("a", "b", optimizer=adam("ab", new_style=new_style)))
    live = objects(named("a", "b", optimizer=adam(order)), kinds={"optimizer": "adam"})
    pairs = paired(saved, live)
    for at, label in enumerate(order):
        assert pairs[f"optimizer/_momentums/{at}"] == f"optimizer/_momentums/{'ab'.index(label)}"
    assert pairs["optimizer/_learning_rate"] == "optimizer/_learning_rate"


def test_slots_of_another_kind_are_not_the_same():
    saved = objects(named("a", optimizer=adam("a")))
    live = objects(named("a", optimizer=adam("a")), kinds={"optimizer": "rmsprop"})
    pairs = paired(saved, live)
    assert "optimizer/_momentums/0" not in pairs
    assert "optimizer/_iterations" in pairs


@pytest.mark.parametrize("saved_inside", [True, False])
def test_a_scaled_loss_is_looked_through(saved_inside):
    plain, wrapped = adam("a"), adam("a", inner="inner_optimizer")
    saved = objects(named("a", optimizer=wrapped if saved_inside else plain))
    live = objects(named("a", optimizer=plain if saved_inside else wrapped))
    one, other = "optimizer/inner_optimizer/", "optimizer/"
    there, here = (one, other) if saved_inside else (other, one)
    pairs = paired(saved, live)
    assert pairs[f"{here}_momentums/0"] == f"{there}_momentums/0"
    assert pairs[f"{here}_learning_rate"] == f"{there}_learning_rate"
    assert "optimizer/_iterations" not in pairs or saved_inside


def test_what_the_outer_of_two_optimizers_holds_is_its_own():
    saved, live = (objects(named("a", optimizer=adam("a", inner="inner_optimizer"))) for _ in "ab")
    pairs = paired(saved, live)
    assert all(mine == theirs for mine, theirs in pairs.items())
    assert "optimizer/_iterations" in pairs


def test_legacy_slots_go_into_lists():
    tree = named(
        "a", "b", optimizer={"iter": Var("Adam/iter", LINE), "decay": Var("Adam/decay", LINE)}
    )
    tree |= {"m_of_b": Var(), "m_of_a": Var()}
    slots = [("optimizer", "m", "b", "m_of_b"), ("optimizer", "m", "a", "m_of_a")]
    saved = objects(tree, slots=slots)
    live = objects(named("a", "b", optimizer=adam("ab")), kinds={"optimizer": "adam"})
    pairs = paired(saved, live)
    assert pairs["optimizer/_momentums/0"] == "m_of_a"
    assert pairs["optimizer/_momentums/1"] == "m_of_b"
    assert pairs["optimizer/_iterations"] == "optimizer/iter"


def test_what_the_user_says_is_not_undone():
    saved, live = objects(named("a", "b")), objects(named("a", "b"))
    mine = live.graph.children[0]
    theirs = saved.graph.children[0]
    pairing = pair_objects(live, saved, {mine["a"]: theirs["b"]})
    assert pairing.bound[mine["a"]] == theirs["b"]
    assert pairing.fates[mine["a"]].reason == "as you said"
    assert pairing.bound.get(mine["b"]) != theirs["b"]


@given(
    st.lists(st.sampled_from(["up", "down", "left", "right", "in", "out"]), unique=True),
    st.randoms(),
)
def test_any_order_of_named_layers_is_found(names, rng):
    shuffled = list(names)
    rng.shuffle(shuffled)
    pairs = kernels(paired(objects(chain(*names)), live_chain(*shuffled)))
    assert pairs == {at: names.index(name) + 1 for at, name in enumerate(shuffled, 1)}


@given(st.integers(0, 2**32))
def test_edits_of_named_models_are_never_wrong(seed):
    """Insert, remove, move, nest named layers: each is paired with its own or with none."""
    rng = random.Random(seed)
    names = [f"n{chr(97 + at)}" for at in range(rng.randint(1, 8))]
    edited = [name for name in names if rng.random() < 0.8]
    edited += [f"x{chr(97 + at)}" for at in range(rng.randint(0, 3))]
    rng.shuffle(edited)
    pairs = kernels(paired(objects(chain(*names)), live_chain(*edited)))
    for mine, theirs in pairs.items():
        name = edited[mine - 1]
        if name in names:
            assert names[theirs - 1] == name
    for at, name in enumerate(edited, 1):
        assert name not in names or at in pairs


def test_shapes_of_other_sizes_are_kept_apart():
    saved = objects({"a": {"w": Var(spec=SQUARE)}, "b": {"w": Var(spec=LINE)}})
    live = objects({"x": {"w": Var(spec=LINE)}, "y": {"w": Var(spec=SQUARE)}})
    assert proposed(saved, live) == {"x/w": "b/w", "y/w": "a/w"}


# --- graphs from strangers ------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["9" * 5000, "4294967295", "٣", "-1"])
def test_a_position_that_nobody_has_allocates_nothing(label):
    saved = objects({"blocks": {label: dense("n/a"), "0": dense("n/b")}})
    assert len(paired(saved, objects({"blocks": {"0": dense("n/b")}}))) in (0, 2)


def test_a_chain_as_long_as_the_graph_takes_no_room():
    tree = here = {}
    for _ in range(900):
        here["w"], here["a"] = Var("x"), {}
        here = here["a"]
    saved = objects(tree)
    assert max(len(leaf.path) for leaf in saved.side.leaves) <= 64
    assert pair_objects(objects({"w": Var("x")}), saved).fates


def test_equal_names_in_a_long_list_take_linear_time():
    def listed(count):
        return objects({"variables": {str(at): Var("a/kernel", LINE) for at in range(count)}})

    assert len(listed(2000).side.leaves) == 2000


def test_of_very_many_optimizers_only_some_are_read():
    saved = objects({f"o{at}": {"_iterations": Var(), "_variables": {}} for at in range(100)})
    assert len(saved.states) == 64


def test_a_name_that_two_layers_have_now_goes_to_neither_of_them():
    saved = objects(layers(dense("down"), dense("stem", 3)))
    inner = {"_operations/1/_operations/1": "down", "_operations/3/_operations/1": "down"}
    live = objects(
        layers(chain("down"), dense("stem", 3), chain("down")),
        names={"_operations/1": "up", "_operations/2": "stem", "_operations/3": "item", **inner},
    )
    assert set(paired(saved, live)) == {"_operations/2/_kernel", "_operations/2/bias"}
    assert not proposed(saved, live)
    fates = pair_objects(live, saved).fates.values()
    assert sum(len(fate.alternatives) == 1 for fate in fates) == 4


def trained_list(*names):
    """A checkpoint in which only an optimizer holds layers, by these names."""
    tensors = [f"{name}/{role}".lstrip("/") for name in names for role in ("kernel", "bias")]
    variables = [Var(name, SQUARE if name.endswith("kernel") else LINE) for name in tensors]
    state = {"_iterations": Var("it", LINE), "_variables": {}}
    state["_trainable_variables"] = {str(at): one for at, one in enumerate(variables)}
    return objects({"optimizer": state})


def held_in_dict(*names, parts=("x",)):
    """A model that holds layers of these names in a dict, in this order."""
    paths = [f"table/{name}/{part}" for name in names for part in parts]
    table = {name: {part: dense() for part in parts} for name in names}
    order = [f"{path}/{role}" for path in paths for role in ("_kernel", "bias")]
    known = {path: path.split("/")[-1] for path in paths}
    known |= {f"table/{name}": name for name in names}
    return objects({"table": table}, names=known, trained=[order])


@pytest.mark.parametrize(("names", "known"), [(("left", "right"), 0), (("block_1", "block_2"), 4)])
def test_an_order_in_a_file_without_names_says_nothing_of_layers_with_names(names, known):
    saved, live = trained_list("x", "x"), held_in_dict(*names)
    assert len(paired(saved, live) | proposed(saved, live)) == known


@pytest.mark.parametrize(("parts", "known"), [(("x", "y"), 10), (("y", "x"), 2)])
def test_an_order_of_training_that_names_contradict_says_nothing(parts, known):
    saved = trained_list("end", "x", "y", "x", "y")
    paths = [f"table/block_{at}/{part}" for at in (1, 2) for part in parts]
    table = {f"block_{at}": {part: dense() for part in parts} for at in (1, 2)}
    names = {path: path.split("/")[-1] for path in paths} | {"end": "end"}
    names |= {f"table/block_{at}": f"block_{at}" for at in (1, 2)}
    order = [f"{path}/{role}" for path in ("end", *paths) for role in ("_kernel", "bias")]
    live = objects({"end": dense(), "table": table}, names=names, trained=[order])
    assert len(paired(saved, live)) == known


def test_an_attribute_that_is_still_there_goes_with_no_other():
    def pairs(*labels):
        return {label: dense() for label in labels}

    saved = objects({"a": pairs("up", "down"), "b": pairs("up", "down")})
    live = objects(layers(pairs("down", "up"), pairs("up", "down")))
    found = proposed(saved, live)
    assert len(found) == 8
    assert all(mine.split("/")[-2] == theirs.split("/")[-2] for mine, theirs in found.items())


def test_a_named_item_of_a_list_is_found_with_what_attributes_hold_in_it():
    def stages(*names):
        blocks = {str(at): {"table": {"up": dense(), "down": dense()}} for at in range(len(names))}
        return {"blocks": blocks}, {f"blocks/{at}": name for at, name in enumerate(names)}

    tree, names = stages("stem", "query", "end")
    saved = objects(tree, names=names)
    tree, names = stages("end", "new", "stem", "query")
    inside = {f"{path}/table/{label}": label for path in names for label in ("up", "down")}
    found = paired(saved, objects(tree, names=names | inside))
    assert len(found) == 12
    assert found["blocks/2/table/up/_kernel"] == "blocks/0/table/up/_kernel"


def test_a_part_that_is_called_like_an_item_of_a_list_contradicts_nothing():
    saved = objects(
        {"parts": {"0": dense(), "1": {"part": dense()}}},
        names={"parts/0": "query", "parts/1": "block"},
    )
    live = objects(
        {"parts": {"0": dense(), "1": {"part": dense()}}},
        names={"parts/0": "x", "parts/1": "block", "parts/1/part": "query"},
    )
    assert "parts/1/part/_kernel" in paired(saved, live)


def test_slots_of_one_name_follow_the_order_in_which_variables_are_trained():
    def side(order, trained):
        slots = {str(at): Var("Adam/m/w") for at in range(2)}
        state = {"_iterations": Var("it", LINE), "_variables": {}, "_momentums": slots}
        tree = {**{label: Var("w") for label in order}, "optimizer": state}
        return objects(tree, kinds={"optimizer": "adam"}, trained=trained)

    live = side(("b2", "b10"), [["b10", "b2"]])
    saved = side(("b2", "b10"), ())
    pairs = paired(saved, live)
    assert pairs["optimizer/_momentums/0"] == "optimizer/_momentums/1"
    assert pairs["optimizer/_momentums/1"] == "optimizer/_momentums/0"


def test_slots_of_one_name_say_nothing_of_variables_that_lie_apart():
    slots = {str(at): Var("Adam/m/w") for at in range(2)}
    state = {"_iterations": Var("it", LINE), "_variables": {}, "_momentums": slots}
    tree = {"a": Var("w"), "net": {"b": Var("w")}}
    saved = objects({**tree, "optimizer": state})
    live = objects({**tree, "optimizer": adam(["a", "net/b"])}, kinds={"optimizer": "adam"})
    assert "optimizer/_momentums/0" not in paired(saved, live)


def test_items_of_a_list_keep_no_place_where_their_names_are_in_another_list():
    def lists(**held):
        trees = {label: {str(at): dense() for at in range(2)} for label in held}
        names = {
            f"{label}/{at}": one for label, some in held.items() for at, one in enumerate(some)
        }
        return objects(trees, names=names)

    saved = lists(parts="ab")
    assert len(paired(saved, lists(parts="xy"))) == 4
    assert not paired(saved, lists(parts="xy", more="ab"))


def test_no_order_tells_which_of_two_layers_of_one_name_is_left():
    saved = objects(layers(dense("down"), dense("stem", 3), dense("end", 5)))
    names = {"_operations/1/_operations/1": "down", "_operations/3/_operations/1": "down"}
    names |= {"_operations/1": "up", "_operations/2": "stem", "_operations/3": "item"}
    live = objects(layers(chain("down"), dense("stem", 3), chain("down")), names=names)
    assert set(paired(saved, live)) == {"_operations/2/_kernel", "_operations/2/bias"}


@pytest.mark.parametrize(("labels", "known"), [(("left", "right"), 2), (("block_1", "block_2"), 6)])
def test_an_order_of_training_without_names_tells_only_layers_whose_names_count(labels, known):
    table = {label: {"x": dense()} for label in labels}
    names = {f"table/{label}": label for label in labels} | {"end": "end"}
    names |= {f"table/{label}/x": "x" for label in labels}
    paths = ["end", *(f"table/{label}/x" for label in labels)]
    order = [f"{path}/{role}" for path in paths for role in ("_kernel", "bias")]
    live = objects({"end": dense(), "table": table}, names=names, trained=[order])
    assert len(paired(trained_list("end", "x", "x"), live)) == known


def test_items_that_would_cross_in_a_list_that_has_changed_are_not_proposed():
    def parts(*sizes):
        return {"parts": {str(at): dense("net", size) for at, size in enumerate(sizes)}}

    saved = objects(parts(1, 2, 3))
    names = {f"parts/{at}": name for at, name in enumerate(["a", "b", "c", "d"])}
    assert len(proposed(saved, objects(parts(1, 9, 2, 3), names=names))) == 6
    assert not proposed(saved, objects(parts(3, 9, 1, 2), names=names))


def test_an_order_of_training_that_last_names_contradict_says_nothing():
    def training(role, *names):
        net = chain(*names)
        net["_operations"][str(len(names) + 1)] = dense("head", 3)
        places = range(1, len(names) + 2)
        paths = [f"{role}/_operations/{at}/{what}" for at in places for what in ("_kernel", "bias")]
        listed = {str(at): path for at, path in enumerate(paths)}
        rate = {"_learning_rate": Var("rate", LINE), "_iterations": Var("i", LINE)}
        opt = {**rate, "_trainable_variables": listed, "_variables": {"0": Var("i", LINE)}}
        named = dict(
            zip((f"{role}/_operations/{at}" for at in places), (*names, "head"), strict=True)
        )
        tree = {role: net, "opt": opt}
        return objects(tree, names=named, trained=[paths], alphabetical=True)

    saved = training("net", "a", "b")
    same = paired(saved, training("model", "a", "b"))
    assert same["model/_operations/1/_kernel"] == "net/_operations/1/_kernel"
    swapped = training("model", "b", "a")
    assert "model/_operations/1/_kernel" not in paired(saved, swapped)
    assert proposed(saved, swapped)["model/_operations/1/_kernel"] == "net/_operations/2/_kernel"


def test_what_a_checkpoint_sorts_is_in_no_order():
    def twins(*roles, **facts):
        return objects({role: chain("a", "b") for role in roles}, **facts)

    saved = twins("net", "target")
    live = twins("online", "slow", alphabetical=True)
    assert not paired(saved, live)
    assert not proposed(saved, live)
    assert len(paired(saved, twins("net", "target", alphabetical=True))) == 8
    assert len(paired(saved, twins("net", "slow", alphabetical=True))) == 8


def test_models_in_a_checkpoint_are_told_apart_by_what_they_are():
    saved = objects({"discriminator": chain("a"), "generator": chain("b", "c")})
    live = objects({"d": chain("x", "y"), "g": chain("z")}, alphabetical=True)
    pairs = paired(saved, live)
    assert pairs["d/_operations/2/_kernel"] == "generator/_operations/2/_kernel"
    assert pairs["g/_operations/1/_kernel"] == "discriminator/_operations/1/_kernel"


def grouped(tree, **names):
    """Layers called "left", most of them in groups, and an optimizer that trains them in order."""
    paths = [path for path in names if names[path] in ("left", "end")]
    order = [f"{path}/{role}".replace("__", "/") for path in paths for role in ("_kernel", "bias")]
    listed = {str(at): path for at, path in enumerate(order)}
    rate = {"_learning_rate": Var("rate", LINE), "_iterations": Var("i", LINE)}
    opt = {**rate, "_trainable_variables": listed, "_variables": {"0": Var("i", LINE)}}
    named = {path.replace("__", "/"): name for path, name in names.items()}
    return objects({**tree, "opt": opt}, names=named, trained=[order])


def test_an_order_of_training_does_not_lead_out_of_a_group_that_both_sides_have():
    saved = grouped(
        {"end": dense(), "a": {"m": {"p": dense()}}, "b": {"m": {"p": dense()}}},
        **{"end": "end", "a": "head", "a__m__p": "left", "b": "tail", "b__m__p": "left"},
    )
    live = grouped(
        {"end": dense(), "q": {"w": dense()}, "r": {"n": {"s": dense()}}},
        **{"end": "end", "q__w": "left", "r": "head", "r__n__s": "left"},
    )
    assert not {"q/w/_kernel", "r/n/s/_kernel"} & paired(saved, live).keys()
    assert proposed(saved, live)["r/n/s/_kernel"] == "a/m/p/_kernel"
    assert proposed(saved, live)["q/w/_kernel"] == "b/m/p/_kernel"


def test_attributes_do_not_lead_into_a_group_that_both_sides_have():
    saved = objects(
        {"x": dense(), "h": {"parts": {"x": dense()}}},
        names={"x": "left", "h": "head", "h/parts": "old", "h/parts/x": "left"},
    )
    live = objects(
        {"parts": {"x": dense()}, "g": {"parts": {"x": dense()}}},
        names={"parts/x": "left", "g": "head", "g/parts": "new", "g/parts/x": "left"},
    )
    assert not paired(saved, live)
    assert proposed(saved, live)["parts/x/_kernel"] == "x/_kernel"


def test_words_do_not_lead_out_of_a_group_that_both_sides_have():
    def groups(first, second, part, q):
        tree = {"a": {"table": {part: dense()}}, "b": {q: dense()}}
        names = {"a": first, f"a/table/{part}": "left", "b": second, f"b/{q}": "left"}
        return objects(tree, names=names)

    found = proposed(groups("stem", "beta", "part", "q"), groups("beta", "stem", "x", "y"))
    assert found["a/table/x/_kernel"] == "b/q/_kernel"
    assert found["b/y/_kernel"] == "a/table/part/_kernel"


def links(count, *around, attribute="next"):
    """A chain of layers, each held by the same attribute of the one before."""
    tree = {}
    for _ in range(count):
        tree = {"part": dense(), **({attribute: tree} if tree else {})}
    for label in around:
        tree = {label: tree}
    return objects({**tree, **({"beside": dense()} if around else {})})


@pytest.mark.parametrize("around", ["net", "next"])
def test_a_chain_of_layers_is_found_as_a_whole_below_one_more_name(around):
    saved, live = links(30, around), links(30)
    found = paired(saved, live)
    assert len(found) == 60
    assert all(theirs == f"{around}/{mine}" for mine, theirs in found.items())
    assert paired(live, saved) == {theirs: mine for mine, theirs in found.items()}


def test_chains_of_other_lengths_are_not_found_as_a_whole():
    found = paired(links(4, "next"), links(5))
    assert found["next/part/_kernel"] == "next/part/_kernel"
    assert len(paired(links(5), links(4))) == 8


@pytest.mark.parametrize("around", ["net", "next"])
def test_where_a_longer_chain_below_one_more_name_begins_is_not_decided(around):
    longer, shorter = links(6, around), links(4)
    assert paired(longer, shorter) == {}
    assert proposed(longer, shorter) == {}
    fates = pair_objects(shorter, longer).fates
    assert len(fates) == 8
    assert all(len(fate.alternatives) == 3 for fate in fates.values())


def test_names_of_layers_in_chains_are_compared_in_little_time():
    """Each word of a name was compared with each of the other one, though they repeat."""
    assert len(proposed(links(60), links(60, attribute="node"))) == 118
