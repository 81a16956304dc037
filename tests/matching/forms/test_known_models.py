"""Models that a map knows, under any scope on both sides."""

from __future__ import annotations

import re

import pytest
from known import found, under

from tfpersist.matching.forms.known_models import MAPS

WORDS = {"word": 9, "position": 5, "token_type": 2}
LIVE = {
    "token_embedding/embeddings": (9, 8),
    "position_embedding/embeddings": (5, 8),
    "segment_embedding/embeddings": (2, 8),
    "embeddings_layer_norm/gamma": (8,),
    "transformer_layer_0/self_attention_layer/query/kernel": (8, 2, 4),
    "transformer_layer_0/self_attention_layer/attention_output/bias": (8,),
    "transformer_layer_0/self_attention_layer_norm/beta": (8,),
    "transformer_layer_0/feedforward_intermediate_dense/bias": (12,),
    "transformer_layer_0/feedforward_output_dense/bias": (8,),
    "transformer_layer_0/feedforward_layer_norm/gamma": (8,),
    "pooled_dense/bias": (8,),
}
SAVED = {
    **{f"embeddings/{name}_embeddings": (size, 8) for name, size in WORDS.items()},
    "embeddings/LayerNorm/gamma": (8,),
    "encoder/layer_0/attention/self/query/kernel": (8, 8),
    "encoder/layer_0/attention/output/dense/bias": (8,),
    "encoder/layer_0/attention/output/LayerNorm/beta": (8,),
    "encoder/layer_0/intermediate/dense/bias": (12,),
    "encoder/layer_0/output/dense/bias": (8,),
    "encoder/layer_0/output/LayerNorm/gamma": (8,),
    "pooler/dense/bias": (8,),
}


@pytest.mark.parametrize(("here", "there"), [("", "bert"), ("classifier/backbone", "a/b/bert")])
def test_scopes_do_not_count(here, there):
    live = under(here, LIVE) if here else LIVE
    keys = {
        name.removeprefix(f"{here}/"): one.key.removeprefix(f"{there}/")
        for name, one in found(live, under(there, SAVED)).items()
    }
    assert keys == dict(zip(LIVE, SAVED, strict=True))


def test_heads_are_reshaped_and_the_rest_is_taken_as_it_is():
    made = found(LIVE, SAVED)
    query = made.pop("transformer_layer_0/self_attention_layer/query/kernel")
    assert str(query.recipe) == (
        "encoder/layer_0/attention/self/query/kernel: reshape(shape=[8, 2, 4])"
    )
    assert query.reason == "BERT of Google in BertBackbone; reshaped"
    assert {(one.recipe, one.reason) for one in made.values()} == {
        (None, "BERT of Google in BertBackbone")
    }


def test_a_pooler_may_be_absent_and_nothing_else():
    assert len(found({k: v for k, v in LIVE.items() if "pooled" not in k}, SAVED)) == 10
    for name in LIVE:
        if "pooled" not in name:
            assert not found({k: v for k, v in LIVE.items() if k != name}, SAVED), name


def test_there_need_not_be_as_many_layers_on_both_sides():
    more = {k.replace("layer_0", "layer_1"): v for k, v in SAVED.items() if "layer_0" in k}
    assert len(found(LIVE, {**SAVED, **more})) == len(LIVE)
    deeper = {k.replace("layer_0", "layer_1"): v for k, v in LIVE.items() if "layer_0" in k}
    assert found({**LIVE, **deeper}, SAVED).keys() == LIVE.keys()


def test_of_two_models_nothing_tells_which_is_meant():
    assert not found(LIVE, {**under("a", SAVED), **under("b", SAVED)})
    assert not found({**under("a", LIVE), **under("b", LIVE)}, SAVED)


def test_a_tensor_of_another_size_is_left_out():
    made = found(LIVE, {**SAVED, "embeddings/word_embeddings": (11, 8)})
    assert len(made) == len(LIVE) - 1
    assert "token_embedding/embeddings" not in made


def test_other_models_are_not_known():
    assert found({"w": (2,)}, SAVED) == {}
    assert found(LIVE, {"w": (2,)}) == {}


@pytest.mark.parametrize("model_map", MAPS, ids=lambda one: one.title)
def test_each_rule_uses_all_its_groups(model_map):
    """A number of a layer that is lost would pair all layers with one."""
    assert model_map.source
    rules = {**model_map.rules, **model_map.optional, **model_map.zeros}
    for pattern, template in rules.items():
        groups = range(1, re.compile(pattern).groups + 1)
        assert {int(one) for one in re.findall(r"\\(\d)", template)} == set(groups)
