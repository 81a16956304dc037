"""Dicts that cannot be saved say which of their values is to blame."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import SaveError, TargetError

STORE = tfp.ModelStore("memory://culprits")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, "None"),
        ([1, 2], "a list"),
        ({"a": 1}, "a dict"),
        (tf.constant(1.0), "EagerTensor"),
    ],
)
def test_the_value_that_cannot_be_saved_is_named(value, found):
    with pytest.raises(TargetError, match=f"value of 'bad'.*expected an array.*{found}"):
        STORE.save({"good": np.zeros(2), "bad": value})


def test_a_variable_alone_is_told_how_to_be_saved():
    with pytest.raises(TargetError, match=r'Pass a dict: \{"name": variable\}'):
        STORE.save(tf.Variable(1.0))


def test_an_array_of_objects_holds_text_only():
    with pytest.raises(TargetError, match=r"str or bytes, got a NoneType at \(1,\)"):
        STORE.save({"v": np.array(["a", None], object)})


def test_metrics_are_a_dict():
    with pytest.raises(SaveError, match=r"no dict; expected \{name: number\}, got list"):
        STORE.save({"v": np.zeros(1)}, step=1, metrics=[1])
