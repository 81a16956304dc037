"""Recipes in a fit whose checkpoint has layers in another form."""

from __future__ import annotations

import pytest

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.choices.selection import Selection
from tfpersist.matching.forms.proposed_recipes import with_recipes
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.fit import Tolerance

LSTM = {"kernel": (4, 12), "recurrent_kernel": (3, 12), "bias": (12,)}
CELL = {"kernel": (7, 12), "bias": (12,)}
PEEPHOLES = {**CELL, "w_f_diag": (3,), "w_i_diag": (3,), "w_o_diag": (3,)}


def specs_of(layers):
    return {
        f"{scope}/{name}": TensorSpec("float32", shape)
        for scope, own in layers.items()
        for name, shape in own.items()
    }


def fitted(live, saved, said=()):
    entries = [
        Entry(name, name, spec, layer=name.rpartition("/")[0], said=name in said)
        for name, spec in specs_of(live).items()
    ]
    specs = specs_of(saved)
    return with_recipes(Selection().for_restore(specs, entries), Saved(specs))


def test_a_bias_that_would_fit_by_its_name_no_longer_does():
    fit = fitted({"encoder": LSTM, "head": CELL}, {"encoder": CELL, "head": CELL})
    assert [one.entry.name for one in fit.assignments] == ["head/kernel", "head/bias"]
    assert [one.entry.name for one in fit.missing] == ["encoder/recurrent_kernel"]
    assert [one.entry.name for one in fit.mismatched] == ["encoder/bias", "encoder/kernel"]
    assert "add_to_block" in str(fit.mismatched[0].entry.recipe)
    assert fit.unexpected == ()
    assert fit.advice.startswith(
        "The checkpoint has 3 variables in another form (kernel split, gates reordered, forget_bias"
        " 1.0 added). Look at the report's `plan`"
    )


def test_a_plan_has_the_recipes_as_proposals():
    plan = fitted({"encoder": LSTM}, {"encoder": CELL}).report("run", carried_out=False).plan
    assert {pair.variable: (pair.key, pair.proposed) for pair in plan} == {
        f"encoder/{name}": (None, True) for name in LSTM
    }
    assert all(pair.recipe is not None for pair in plan)
    assert plan["encoder/bias"].alternatives == (
        "encoder/bias: reorder(axis=0, order=[0, 2, 1, 3])",
    )


@pytest.mark.parametrize("mismatched", ["error", "slice"])
def test_no_part_is_taken_of_what_has_another_form(mismatched):
    live = {"encoder": LSTM, "head": CELL}
    for saved in (CELL, PEEPHOLES):
        fit = fitted(live, {"encoder": saved, "head": CELL})
        fit = fit.tolerating(Tolerance("skip", mismatched))
        assert not fit.fits
        assert fit.sliced == ()


def test_a_layer_stays_as_a_whole():
    fit = fitted({"encoder": LSTM, "head": CELL}, {"encoder": CELL, "head": CELL})
    fit = fit.tolerating(Tolerance("skip", "skip"))
    assert fit.fits
    assert {one.entry.name for one in fit.kept} == {f"encoder/{name}" for name in LSTM}


def test_what_cannot_be_made_says_why():
    fit = fitted({"encoder": LSTM}, {"encoder": PEEPHOLES})
    assert fit.advice.startswith("Not made: the saved cell has peepholes (w_f_diag); Keras has no")
    assert all("peepholes" in one.entry.reason for one in (*fit.missing, *fit.mismatched))
    assert not fit.assignments


def test_a_square_kernel_that_may_be_transposed_is_left_open():
    live = {"head": {"kernel": (4, 3)}, "body": {"kernel": (4, 4)}}
    fit = fitted(live, {"head": {"kernel": (3, 4)}, "body": {"kernel": (4, 4)}})
    assert not fit.assignments
    assert "1 variable may be made in several ways, such as body/kernel or body/kernel: tran" in (
        fit.advice
    )
    pair = fit.report("run", carried_out=False).plan["body/kernel"]
    assert (pair.key, pair.recipe, pair.proposed) == (None, None, False)
    assert pair.alternatives == ("body/kernel", "body/kernel: transpose(axes=[1, 0])")


def test_what_the_user_says_stays():
    fit = fitted({"encoder": LSTM}, {"encoder": CELL}, said={"encoder/bias"})
    assert [one.entry.name for one in fit.assignments] == ["encoder/bias"]
    assert all(one.entry.recipe is None for one in (*fit.missing, *fit.mismatched))


def test_what_fits_is_not_looked_at_again():
    fit = fitted({"head": CELL}, {"head": CELL, "rest": CELL})
    assert fit.fits
    assert fit.unexpected == ("rest/bias", "rest/kernel")


def test_what_has_no_other_form_stays_as_it_was():
    fit = fitted({"head": CELL}, {"tail": {"kernel": (2,)}})
    assert fit.advice == ""
    assert [one.entry.recipe for one in fit.missing] == [None, None]


# The variables of a short BertBackbone and of Google's BERT, in the same order.
TWIN = {
    "token_embedding": {"embeddings": (9, 8)},
    "position_embedding": {"embeddings": (5, 8)},
    "segment_embedding": {"embeddings": (2, 8)},
    "embeddings_layer_norm": {"gamma": (8,)},
    "transformer_layer_0/self_attention_layer/query": {"kernel": (8, 2, 4)},
    "transformer_layer_0/self_attention_layer/attention_output": {"bias": (8,)},
    "transformer_layer_0/self_attention_layer_norm": {"beta": (8,)},
    "transformer_layer_0/feedforward_intermediate_dense": {"bias": (12,)},
    "transformer_layer_0/feedforward_output_dense": {"bias": (8,)},
    "transformer_layer_0/feedforward_layer_norm": {"gamma": (8,)},
}
BERT = {
    "bert/embeddings": {
        "word_embeddings": (9, 8),
        "position_embeddings": (5, 8),
        "token_type_embeddings": (2, 8),
    },
    "bert/embeddings/LayerNorm": {"gamma": (8,)},
    "bert/encoder/layer_0/attention/self/query": {"kernel": (8, 8)},
    "bert/encoder/layer_0/attention/output/dense": {"bias": (8,)},
    "bert/encoder/layer_0/attention/output/LayerNorm": {"beta": (8,)},
    "bert/encoder/layer_0/intermediate/dense": {"bias": (12,)},
    "bert/encoder/layer_0/output/dense": {"bias": (8,)},
    "bert/encoder/layer_0/output/LayerNorm": {"gamma": (8,)},
}


def test_a_map_is_proposed_as_a_whole():
    fit = fitted(TWIN, BERT)
    assert fit.advice == (
        "This is BERT of Google in BertBackbone, and 10 variables would be restored by its map."
        " Look at the report's `plan`, and give it to restore(plan=...) if it is right."
    )
    assert len(fit.suggestion) == 9
    plan = fit.report("run", carried_out=False).plan
    sources = {pair.key or pair.recipe.keys[0]: pair.variable for pair in plan if pair.proposed}
    assert sources == dict(zip(specs_of(BERT), specs_of(TWIN), strict=True))


def test_a_map_goes_before_a_tensor_of_the_same_name_that_does_not_fit():
    query = "transformer_layer_0/self_attention_layer/query"
    fit = fitted(TWIN, {**BERT, query: {"kernel": (1, 1)}})
    (one,) = fit.mismatched
    assert (one.key, one.other_form) == (f"{query}/kernel", True)
    assert one.entry.recipe.keys == ("bert/encoder/layer_0/attention/self/query/kernel",)
    embeddings = {"embeddings": (1, 1)}
    fit = fitted(TWIN, {**BERT, "token_embedding": embeddings})
    assert str(fit.mismatched[0].entry.recipe) == "bert/embeddings/word_embeddings: as it is"


def test_what_the_user_says_goes_before_a_map():
    fit = fitted(TWIN, BERT, said={"token_embedding/embeddings"})
    (one,) = [one for one in fit.missing if one.entry.said]
    assert one.entry.proposal is None
    assert "9 variables" in fit.advice


def test_a_head_beside_a_map_is_looked_for_by_other_evidence():
    live = {**TWIN, "head": {"kernel": (8, 3)}}
    fit = fitted(live, {**BERT, "old/head": {"kernel": (3, 8)}})
    (made,) = [one.entry for one in fit.missing if one.entry.name == "head/kernel"]
    assert str(made.recipe) == "old/head/kernel: transpose(axes=[1, 0])"
    assert [line[:11] for line in fit.advice.split("\n")] == ["This is BER", "The checkpo"]
