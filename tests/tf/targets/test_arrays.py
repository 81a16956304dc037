"""Dicts that cannot be saved say which of their values is to blame."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import SaveError, TargetError
from tfpersist.tf.targets.adapt import adapt

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


def test_a_single_variable_gets_advice():
    with pytest.raises(TargetError, match=r'Pass a dict: \{"name": variable\}'):
        STORE.save(tf.Variable(1.0))


def test_an_array_of_objects_holds_text_only():
    with pytest.raises(TargetError, match=r"str or bytes, got a NoneType at \(1,\)"):
        STORE.save({"v": np.array(["a", None], object)})


def test_metrics_are_a_dict():
    with pytest.raises(SaveError, match="metrics are not a dict; expected a dict such as"):
        STORE.save({"v": np.zeros(1)}, step=1, metrics=[1])


def test_arrays_are_borrowed_from_the_caller_and_variables_are_not():
    adapted = adapt({"a": np.zeros(2), "n": 3, "v": tf.Variable([1.0])})
    captured = adapted.capture(adapted.entries())
    assert captured.borrowed == {"a", "n"}
    assert (captured.meta, captured.object_graph) == (None, None)
    assert adapted.capture_all() is None


def test_nothing_is_assigned_if_a_number_cannot_be_filled_in_place():
    store = tfp.ModelStore("memory://arrays/fixed")
    store.save({"a": np.float32([5]), "b": np.float64(5)})
    target = {"a": np.float32([1]), "b": 1.0}
    with pytest.raises(TargetError, match="'b' is a float that cannot be filled in place"):
        store.restore(target)
    assert target["a"] == 1


def test_a_read_only_array_is_refused_by_name():
    fixed = np.zeros(2)
    fixed.flags.writeable = False
    adapted = adapt({"a": np.zeros(1), "b": fixed})
    first, second = adapted.entries()
    with pytest.raises(TargetError, match="'b' is a ndarray that cannot be filled in place"):
        adapted.assign([(first, np.ones(1)), (second, np.ones(2))])
    assert first.ref == 0
