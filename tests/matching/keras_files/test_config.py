import json

import pytest

from tfpersist.errors import CorruptionError
from tfpersist.matching.keras_files.config import layer_of, optimizers_in, parsed

DENSE = {"class_name": "Dense", "config": {"name": "head"}}


@pytest.mark.parametrize("value", [None, 3, [], {}, {"class_name": 3}, {"config": {}}])
def test_what_describes_no_layer_is_no_layer(value):
    assert layer_of(value).kind == ""
    assert layer_of(value).layers == []


def test_a_model_lists_its_layers():
    model = layer_of({"class_name": "Functional", "config": {"name": "m", "layers": [DENSE]}})
    assert (model.kind, model.name, model.is_model) == ("functional", "m", True)
    assert [(one.kind, one.name) for one in model.layers] == [("dense", "head")]


def test_a_sequential_model_of_an_early_keras_is_a_list():
    model = layer_of({"class_name": "Sequential", "config": [DENSE]})
    assert [one.name for one in model.layers] == ["head"]


def test_a_registered_class_has_a_package():
    assert layer_of({"class_name": "mine>BigBlock", "config": {}}).kind == "big_block"


def test_a_layer_inside_of_another_one():
    layer = layer_of({"class_name": "TimeDistributed", "config": {"layer": DENSE}})
    assert layer.inside("cell", "layer").name == "head"
    assert layer.inside("cell").kind == ""


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_text_that_is_no_json_is_damage(text):
    with pytest.raises(CorruptionError, match="the configuration of the model"):
        parsed(text, "model.h5")


def test_no_text_is_no_configuration():
    assert parsed("", "model.h5") == {}
    assert parsed(json.dumps(DENSE), "model.h5") == DENSE


def test_optimizers_that_wrap_each_other_without_end():
    value = {"class_name": "Adam", "config": {}}
    value["config"]["inner_optimizer"] = value
    assert set(optimizers_in(value)) == {"adam"}
