"""Layers that a checkpoint holds in another form, and their pairs."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.forms.derived import derived
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.plans.entry import Entry

LSTM = {"kernel": (4, 12), "recurrent_kernel": (3, 12), "bias": (12,)}
UPPER = {"kernel": (3, 12), "recurrent_kernel": (3, 12), "bias": (12,)}
CELL = {"kernel": (7, 12), "bias": (12,)}
UPPER_CELL = {"kernel": (6, 12), "bias": (12,)}
GRU = {"kernel": (4, 9), "recurrent_kernel": (3, 9), "bias": (9,)}
GRU_AFTER = {**GRU, "bias": (2, 9)}
GRU_CELL = {
    "gates/kernel": (7, 6),
    "gates/bias": (6,),
    "candidate/kernel": (7, 3),
    "candidate/bias": (3,),
}
CUDNN = {
    "gates/kernel": (7, 6),
    "gates/bias": (6,),
    "candidate/input_projection/kernel": (4, 3),
    "candidate/input_projection/bias": (3,),
    "candidate/hidden_projection/kernel": (3, 3),
    "candidate/hidden_projection/bias": (3,),
}
HEADS = {f"{name}/{role}": shape for name in ("query", "key", "value") for role, shape in (
    ("kernel", (8, 2, 3)), ("bias", (2, 3)),
)}  # fmt: skip


def flat(layers):
    """Return the shapes of all tensors of layers, by their whole names."""
    return {
        f"{scope}/{name}": shape for scope, own in layers.items() for name, shape in own.items()
    }


def specs_of(layers):
    return {name: TensorSpec("float32", shape) for name, shape in flat(layers).items()}


def found(live, saved, **more):
    """{name: what could be made for it}."""
    entries = [Entry(name, name, spec) for name, spec in specs_of(live).items()]
    result = derived(entries, Saved(specs_of(saved), **more))
    return {entries[at].name: one for at, one in result.items()}


def sources(live, saved, **more):
    """{name: the first key that it would be made of}."""
    return {
        name: one.recipe.keys[0]
        for name, one in found(live, saved, **more).items()
        if one.recipe is not None
    }


def test_a_layer_is_made_as_a_whole():
    made = found({"lstm/lstm_cell": LSTM}, {"rnn/basic_lstm_cell": CELL})
    assert {name: str(one.recipe) for name, one in made.items()} == {
        "lstm/lstm_cell/kernel": "rnn/basic_lstm_cell/kernel: slice(axis=0, start=0, stop=4),"
        " reorder(axis=1, order=[0, 2, 1, 3])",
        "lstm/lstm_cell/recurrent_kernel": "rnn/basic_lstm_cell/kernel: slice(axis=0, start=4,"
        " stop=7), reorder(axis=1, order=[0, 2, 1, 3])",
        "lstm/lstm_cell/bias": "rnn/basic_lstm_cell/bias: reorder(axis=0, order=[0, 2, 1, 3]),"
        " add_to_block(axis=0, blocks=4, block=1, value=1.0)",
    }
    assert {one.reason for one in made.values()} == {
        "same place in the same structure; kernel split, gates reordered, forget_bias 1.0 added"
    }


def test_another_forget_bias_is_an_alternative():
    made = found({"lstm": LSTM}, {"rnn/lstm_cell": CELL})
    (other,) = made["lstm/bias"].alternatives
    assert str(other) == "rnn/lstm_cell/bias: reorder(axis=0, order=[0, 2, 1, 3])"
    assert made["lstm/kernel"].alternatives == ()


def test_a_forget_bias_that_the_graph_tells_is_no_guess():
    saved = {"rnn/lstm_cell": CELL}
    made = found({"lstm": LSTM}, saved, forget_biases=lambda: {"rnn/lstm_cell/bias": 0.25})
    assert "value=0.25" in str(made["lstm/bias"].recipe)
    assert made["lstm/bias"].alternatives == ()
    assert made["lstm/bias"].reason.endswith("forget_bias 0.25 added, as the graph says")
    made = found({"lstm": LSTM}, saved, forget_biases=lambda: {"another/bias": 0.25})
    assert "value=1.0" in str(made["lstm/bias"].recipe)


def test_a_cell_of_cudnn_has_no_forget_bias():
    made = found({"lstm": LSTM}, {"rnn/cudnn_compatible_lstm_cell": CELL})
    assert "add_to_block" not in str(made["lstm/bias"].recipe)
    assert made["lstm/bias"].alternatives == ()


def test_a_bias_with_a_tensor_of_its_name_is_made_too():
    assert sources({"encoder": LSTM}, {"encoder": CELL})["encoder/bias"] == "encoder/bias"
    assert "add_to_block" in str(found({"encoder": LSTM}, {"encoder": CELL})["encoder/bias"].recipe)


def test_names_decide_which_cell_it_is():
    live = {"decoder/lstm_cell": LSTM, "encoder/lstm_cell": LSTM}
    made = sources(live, {"encoder/rnn/lstm_cell": CELL, "decoder/rnn/lstm_cell": CELL})
    assert made["encoder/lstm_cell/kernel"] == "encoder/rnn/lstm_cell/kernel"
    assert made["decoder/lstm_cell/kernel"] == "decoder/rnn/lstm_cell/kernel"


def test_fw_is_forward_and_bw_is_backward():
    live = {
        "bidirectional/forward_lstm/lstm_cell": LSTM,
        "bidirectional/backward_lstm/lstm_cell": LSTM,
    }
    scope = "bidirectional_rnn/{}/basic_lstm_cell"
    made = sources(live, {scope.format("bw"): CELL, scope.format("fw"): CELL})
    assert made["bidirectional/forward_lstm/lstm_cell/kernel"] == f"{scope.format('fw')}/kernel"
    assert made["bidirectional/backward_lstm/lstm_cell/bias"] == f"{scope.format('bw')}/bias"


def test_a_direction_and_a_name_of_the_user_are_both_kept():
    live = {f"tags/{way}_tags/lstm_cell": LSTM for way in ("forward", "backward")}
    made = sources(live, {f"tags/{way}/lstm_cell": CELL for way in ("bw", "fw")})
    assert made["tags/forward_tags/lstm_cell/kernel"] == "tags/fw/lstm_cell/kernel"


def test_stacks_of_both_directions_go_by_directions_and_numbers():
    live = {
        f"bidirectional{number}/{way}_lstm{number}/lstm_cell": UPPER
        for number in ("", "_1", "_2")
        for way in ("forward", "backward")
    }
    scope = "stack_bidirectional_rnn/cell_{}/bidirectional_rnn/{}/cudnn_compatible_lstm_cell"
    saved = {scope.format(at, way): UPPER_CELL for way in ("bw", "fw") for at in (2, 0, 1)}
    made = sources(live, saved)
    for at, number in enumerate(("", "_1", "_2")):
        for way in ("forward", "backward"):
            name = f"bidirectional{number}/{way}_lstm{number}/lstm_cell/kernel"
            assert made[name] == f"{scope.format(at, f'{way[0]}w')}/kernel"


def test_cells_that_look_alike_go_by_their_numbers():
    live = {"lstm/lstm_cell": UPPER, "lstm_1/lstm_cell": UPPER}
    scope = "rnn/multi_rnn_cell/cell_{}/lstm_cell"
    made = sources(live, {scope.format(1): UPPER_CELL, scope.format(0): UPPER_CELL})
    assert made["lstm/lstm_cell/kernel"] == f"{scope.format(0)}/kernel"
    assert made["lstm_1/lstm_cell/kernel"] == f"{scope.format(1)}/kernel"


def test_cells_that_nothing_tells_apart_are_alternatives():
    live = {"one": LSTM, "other": LSTM}
    made = found(live, {"p/lstm_cell": CELL, "q/lstm_cell": CELL})
    assert made["one/kernel"].recipe is None
    assert [recipe.keys for recipe in made["one/kernel"].alternatives] == [
        ("p/lstm_cell/kernel",),
        ("q/lstm_cell/kernel",),
    ]


def test_the_order_of_creation_tells_them_apart():
    live = {"one": LSTM, "other": LSTM}
    made = sources(
        live,
        {"p/lstm_cell": CELL, "q/lstm_cell": CELL},
        creation=lambda: ["q/lstm_cell/kernel", "p/lstm_cell/kernel"],
    )
    assert made["one/kernel"] == "q/lstm_cell/kernel"


def test_what_fits_already_is_no_source():
    live = {"dense": CELL, "lstm": LSTM}
    assert found(live, {"dense": CELL}) == {}
    made = sources(live, {"dense": CELL, "rnn/lstm_cell": CELL})
    assert set(made.values()) == {"rnn/lstm_cell/kernel", "rnn/lstm_cell/bias"}


def test_slots_of_an_optimizer_are_no_source():
    adam = {f"{name}/Adam": shape for name, shape in CELL.items()}
    made = sources({"lstm": LSTM}, {"rnn/lstm_cell": {**CELL, **adam}})
    assert set(made.values()) == {"rnn/lstm_cell/kernel", "rnn/lstm_cell/bias"}


def test_nothing_is_looked_for_if_all_fit():
    assert found({"lstm": LSTM}, {"lstm": LSTM}) == {}


@pytest.mark.parametrize(
    ("live", "saved", "words"),
    [
        (LSTM, {**CELL, "w_f_diag": (3,), "w_i_diag": (3,), "w_o_diag": (3,)}, "has peepholes"),
        (LSTM, {"kernel": (6, 12), "bias": (12,), "projection/kernel": (3, 2)}, "a projection"),
        (LSTM, {**CELL, "projection/kernel": (3, 3)}, "a projection"),
        (GRU_AFTER, GRU_CELL, "build the layer with reset_after=False"),
        (GRU_AFTER, GRU, "build the layer with reset_after=False"),
        (GRU, CUDNN, "build the layer with reset_after=True"),
        (GRU, GRU_AFTER, "build the layer with reset_after=True"),
        (GRU, {**GRU, "bias": (18,)}, "build the layer with reset_after=True"),
    ],
)
def test_what_computes_something_else_is_refused(live, saved, words):
    made = found({"layer": live}, {"layer": saved})
    assert made.keys() == flat({"layer": live}).keys()
    for one in made.values():
        assert one.recipe is None
        assert words in one.refused


@pytest.mark.parametrize(
    ("live", "saved"), [(GRU, GRU_CELL), (GRU_CELL, GRU), (GRU_AFTER, CUDNN), (CELL, LSTM)]
)
def test_cells_are_found_in_both_directions(live, saved):
    made = found({"net/layer": live}, {"net/layer": saved})
    assert made.keys() == flat({"net/layer": live}).keys()
    assert all(one.reason.startswith("same name; ") for one in made.values())


@pytest.mark.parametrize("scope", ["qkv", "c_attn", "in_proj"])
def test_one_kernel_of_three_is_split_into_heads(scope):
    fused = {f"{scope}/kernel": (8, 18), f"{scope}/bias": (18,)}
    made = found({"block/attention": HEADS}, {"block/attention": fused})
    assert str(made["block/attention/key/kernel"].recipe) == (
        f"block/attention/{scope}/kernel: slice(axis=1, start=6, stop=12), reshape(shape=[8, 2, 3])"
    )
    assert made.keys() == flat({"block/attention": HEADS}).keys()


def test_three_kernels_are_joined():
    made = found({"a": {"qkv/kernel": (8, 18), "qkv/bias": (18,)}}, {"a": HEADS})
    assert made["a/qkv/kernel"].recipe.keys == ("a/query/kernel", "a/key/kernel", "a/value/kernel")


def test_projections_of_one_kernel_each_are_split_into_heads():
    plain = {name: (8, 6) if "kernel" in name else (6,) for name in HEADS}
    live = {"attention": {**HEADS, "output/kernel": (2, 3, 8), "output/bias": (8,)}}
    saved = {"attention/self": plain, "attention/output/dense": {"kernel": (6, 8), "bias": (8,)}}
    made = sources(live, saved)
    assert made["attention/query/kernel"] == "attention/self/query/kernel"
    assert made["attention/key/bias"] == "attention/self/key/bias"
    assert made["attention/output/kernel"] == "attention/output/dense/kernel"


def test_heads_that_do_not_divide_the_columns_are_no_form():
    fused = {"qkv/kernel": (8, 21), "qkv/bias": (21,)}
    assert found({"attention": HEADS}, {"attention": fused}) == {}


def test_a_kernel_that_lies_the_other_way_round_is_transposed():
    live = {"head": {"kernel": (4, 3), "bias": (3,)}, "conv": {"kernel": (5, 5, 2, 3)}}
    saved = {"head": {"weight": (3, 4), "bias": (3,)}, "conv": {"weight": (3, 2, 5, 5)}}
    made = found(live, saved)
    assert str(made["head/kernel"].recipe) == "head/weight: transpose(axes=[1, 0])"
    assert str(made["head/bias"].recipe) == "head/bias: as it is"
    assert str(made["conv/kernel"].recipe) == "conv/weight: transpose(axes=[2, 3, 1, 0])"
    assert made["head/kernel"].reason == "same name; transposed"


def test_a_square_kernel_beside_transposed_ones_may_be_either():
    live = {"head": {"kernel": (4, 3)}, "body": {"kernel": (4, 4)}}
    saved = {"head": {"kernel": (3, 4)}, "body": {"kernel": (4, 4)}}
    made = found(live, saved)["body/kernel"]
    assert made.recipe is None
    assert list(map(str, made.alternatives)) == [
        "body/kernel: as it is",
        "body/kernel: transpose(axes=[1, 0])",
    ]
    assert "body/kernel" not in found({"body": live["body"]}, {"body": saved["body"]})
    # A library that calls its kernels otherwise may keep them otherwise.
    saved = {"head": {"weight": (3, 4)}, "body": {"kernel": (4, 4)}}
    assert found(live, saved).keys() == {"head/kernel"}


def test_a_square_kernel_alone_is_not_transposed():
    live = {"head": {"kernel": (4, 4), "bias": (4,)}}
    assert found(live, {"old/head": {"kernel": (4, 4), "bias": (4,)}}) == {}


def test_what_is_proposed_as_it_is_is_no_longer_looked_for():
    spec, other = TensorSpec("float32", (4, 3)), TensorSpec("float32", (3, 4))
    specs = {"a/kernel": spec, "b/kernel": other}
    entries = [
        Entry("x/kernel", "x/kernel", spec, proposal=("a/kernel", "same order")),
        Entry("b/kernel", "b/kernel", spec),
    ]
    (made,) = derived(entries, Saved(specs)).items()
    assert (made[0], made[1].recipe.keys) == (1, ("b/kernel",))


def test_a_square_kernel_that_is_proposed_may_be_transposed_too():
    square = TensorSpec("float32", (4, 4))
    specs = {
        "b/kernel": TensorSpec("float32", (3, 4)),
        "a/kernel": square,
    }
    entries = [
        Entry("x/kernel", "x/kernel", square, proposal=("a/kernel", "same order")),
        Entry("b/kernel", "b/kernel", TensorSpec("float32", (4, 3))),
    ]
    made = derived(entries, Saved(specs))[0]
    assert [recipe.keys for recipe in made.alternatives] == [("a/kernel",), ("a/kernel",)]


def test_an_order_alone_transposes_nothing():
    assert found({"x": {"kernel": (4, 3)}}, {"y": {"kernel": (3, 4)}}) == {}


def test_another_data_type_is_another_form():
    entries = [Entry(name, name, spec) for name, spec in specs_of({"lstm": LSTM}).items()]
    cell = {f"rnn/{name}": TensorSpec("float64", shape) for name, shape in CELL.items()}
    assert derived(entries, Saved(cell)) == {}


NAMES = st.lists(
    st.sampled_from(
        ("a", "rnn", "lstm_cell", "gates", "candidate", "qkv", "query", "key", "value", "fw", "")
    ),
    max_size=3,
)
TENSORS = st.dictionaries(
    st.builds(
        lambda scopes, role: "/".join((*scopes, role)),
        NAMES,
        st.sampled_from(("kernel", "recurrent_kernel", "bias", "w_f_diag", "weights")),
    ),
    st.lists(st.sampled_from((1, 2, 3, 4, 6, 8, 12)), max_size=4).map(tuple),
    max_size=8,
)


@given(TENSORS, TENSORS, st.booleans())
def test_each_recipe_makes_what_is_wanted(live, saved, doubled):
    """Of whatever tensors there are; kernels of cells are added so that some do fit."""
    if doubled:
        live, saved = {**live, **flat({"a": LSTM})}, {**saved, **flat({"a": CELL})}
    entries = [Entry(name, name, TensorSpec("float32", shape)) for name, shape in live.items()]
    specs = {key: TensorSpec("float32", shape) for key, shape in saved.items()}
    for at, one in derived(entries, Saved(specs)).items():
        for recipe in filter(None, (one.recipe, *one.alternatives)):
            assert entries[at].wanted.accepts(recipe.spec_of(specs))
        assert bool(one.recipe or one.alternatives) != bool(one.refused)
