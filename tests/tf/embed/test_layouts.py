"""A config of a layer is read back, and a malformed one is refused."""

from __future__ import annotations

import json

import pytest

from tfpersist.errors import (
    CorruptionError,
)
from tfpersist.tf.embed.layouts import Layout


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": "x:0"},
        {"inputs": ["x:0", "y:0"]},
        {"outputs": [1]},
        {"dtypes": []},
        {"shapes": []},
        {"shapes": [[[["a"]], [[None]]]]},
        {"shapes": [3]},
        {"shapes": [[[[1.5]], [[None]]]]},
        {"shapes": [[[[True]], [[None]]]]},
        {"shapes": [[[[-1]], [[None]]]]},
        {"labels": ["a", "b"]},
        {"outputs": ["y:0", "z:0"], "dtypes": ["int32"] * 2, "shapes": [[[None], [None, None]]]},
        None,
    ],
)
def test_a_malformed_config_is_refused(change):
    layout = Layout(("x:0",), ("y:0",), ("float32",), (((None,), ((None, 2),)),), single=True)
    assert Layout.parse(json.loads(json.dumps(layout.config())), "frozen") == layout
    config = None if change is None else {**layout.config(), **change}
    with pytest.raises(CorruptionError, match="config of layer frozen"):
        Layout.parse(config, "frozen")


def test_outputs_are_one_value_a_list_or_a_dict():
    several = Layout(("x:0",), ("y:0", "z:0"), ("float32",) * 2, (), labels=("a", "b"))
    assert several.structured([1, 2]) == {"a": 1, "b": 2}
    assert Layout(("x:0",), ("y:0",), ("float32",), ()).structured([1]) == [1]
    assert Layout(("x:0",), ("y:0",), ("float32",), (), single=True).structured([1]) == 1


def test_an_unknown_rank_and_open_sizes_survive_json():
    layout = Layout(("x:0",), ("y:0",), ("float32",), (((None,), ((None, 3),)),))
    assert Layout.parse(json.loads(json.dumps(layout.config())), "frozen") == layout
