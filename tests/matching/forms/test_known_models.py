"""Models that a map knows, under any scope on both sides."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.forms.known_models import MAPS, known
from tfpersist.matching.forms.maps import inception as inception_maps
from tfpersist.matching.plans.entry import Entry

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


def found(live, saved):
    entries = [Entry(name, name, TensorSpec("float32", shape)) for name, shape in live.items()]
    specs = {key: TensorSpec("float32", shape) for key, shape in saved.items()}
    names = {key: key for key in saved}
    return {entries[at].name: one for at, one in known(entries, names, specs).items()}


def under(scope, shapes):
    return {f"{scope}/{name}": shape for name, shape in shapes.items()}


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


def resnet(*counts):
    """Return the variables of a ResNet V1, and the tensors of TF-Slim, by their names."""
    live = {"conv1_conv/kernel": (7, 7, 3, 2), "conv1_conv/bias": (2,)}
    saved = {"conv1/weights": (7, 7, 3, 2)}
    norms = dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (2,))
    live |= under("conv1_bn", norms)
    saved |= under("conv1/BatchNorm", norms)
    for stage, count in enumerate(counts):
        for unit in range(1, count + 1):
            for number, layer in enumerate(("shortcut", "conv1", "conv2", "conv3")):
                if number or unit == 1:
                    here = f"conv{stage + 2}_block{unit}_{number}"
                    there = f"block{stage + 1}/unit_{unit}/bottleneck_v1/{layer}"
                    live |= {f"{here}_conv/kernel": (1, 1, 2, 2), f"{here}_conv/bias": (2,)}
                    live |= under(f"{here}_bn", norms)
                    saved |= {f"{there}/weights": (1, 1, 2, 2)}
                    saved |= under(f"{there}/BatchNorm", norms)
    return live, under("resnet_v1_50", saved)


def test_biases_that_a_model_does_without_are_zeros():
    live, saved = resnet(2, 2, 2, 2)
    made = found(live, saved)
    assert made.keys() == live.keys()
    bias = made["conv3_block1_2_conv/bias"]
    assert bias.key == "resnet_v1_50/block2/unit_1/bottleneck_v1/conv2/BatchNorm/beta"
    assert bias.recipe.apply([np.float32([3, 4])]).tolist() == [0, 0]
    assert bias.reason.endswith("; zeros, as it has none")
    without = {name: shape for name, shape in live.items() if not name.endswith("bias")}
    assert found(without, saved).keys() == without.keys()


@pytest.mark.parametrize(
    ("here", "there", "refused"),
    [
        ((2, 2, 3, 2), (2, 2, 4, 2), True),
        ((2, 2, 5, 2), (2, 2, 4, 2), True),
        ((2, 2, 2, 2), (2, 2, 2, 3), False),
        ((2, 2, 2, 3), (2, 2, 2, 2), True),
    ],
)
def test_a_net_with_other_blocks_before_its_end_is_refused(here, there, refused):
    made = found(resnet(*here)[0], resnet(*there)[1])
    assert made
    assert {one.refused for one in made.values()} == {refused}
    assert all(one.recipe is None for one in made.values() if refused)


def inception(first=0, cut=94, before=()):
    """Return the variables of an InceptionV3 whose numbers begin with `first`."""
    live = dict.fromkeys((f"conv2d_{at}/kernel" for at in before), (1, 1, 1, 3))
    norms = dict.fromkeys(("beta", "moving_mean", "moving_variance"), (2,))
    for at in range(cut):
        label = f"_{first + at}" if first + at else ""
        live[f"conv2d{label}/kernel"] = (at + 1, 1, 2, 2)
        live |= under(f"batch_normalization{label}", norms)
    return live


SCOPES = inception_maps.V3.series[0].scopes
INCEPTION = under(
    "InceptionV3",
    {
        **{f"{scope}/weights": (at + 1, 1, 2, 2) for at, scope in enumerate(SCOPES)},
        **{
            f"{scope}/BatchNorm/{name}": (2,)
            for scope in SCOPES
            for name in ("beta", "moving_mean", "moving_variance")
        },
    },
)


@pytest.mark.parametrize("first", [0, 7])
@pytest.mark.parametrize("before", [(), (300,)])
def test_unnamed_layers_follow_their_numbers_from_any_one_on(first, before):
    made = found(inception(first, before=before), INCEPTION)
    assert len(made) == 94 * 4
    for at, scope in enumerate(SCOPES):
        label = f"_{first + at}" if first + at else ""
        assert made[f"conv2d{label}/kernel"].key == f"InceptionV3/{scope}/weights"
        norm = made[f"batch_normalization{label}/moving_mean"]
        assert norm.key == f"InceptionV3/{scope}/BatchNorm/moving_mean"


def test_unnamed_layers_need_one_first_number_and_all_shapes():
    live = inception(5)
    assert not found({**live, "conv2d_60/kernel": (1, 1, 1, 1)}, INCEPTION)
    without = {name: shape for name, shape in live.items() if name != "conv2d_9/kernel"}
    assert not found(without, INCEPTION)
    # Where a further layer looks like the last, two runs would fit.
    alike = {name: (1, 1, 2, 2) if name.endswith("weights") else (2,) for name in INCEPTION}
    same = {name: (1, 1, 2, 2) if name.endswith("kernel") else (2,) for name in live}
    assert len(found(same, alike)) == 94 * 4
    more = {"conv2d_4/kernel": (1, 1, 2, 2)}
    assert not found({**same, **more}, alike)


@pytest.mark.parametrize(("cut", "known_ones"), [(30, 30), (11, 0)])
def test_a_model_that_ends_early_has_the_first_layers(cut, known_ones):
    assert len(found(inception(cut=cut), INCEPTION)) == known_ones * 4


@pytest.mark.parametrize("model_map", MAPS, ids=lambda one: one.title)
def test_each_rule_uses_all_its_groups(model_map):
    """A number of a layer that is lost would pair all layers with one."""
    assert model_map.source
    rules = {**model_map.rules, **model_map.optional, **model_map.zeros}
    for pattern, template in rules.items():
        groups = range(1, re.compile(pattern).groups + 1)
        assert {int(one) for one in re.findall(r"\\(\d)", template)} == set(groups)
