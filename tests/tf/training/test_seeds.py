"""Random generators go on where they were; capturing draws nothing."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpersist.errors import RestoreError
from tfpersist.tf.training.seeds import Seeds


def draws(given):
    values = [random.random(), np.random.random(), float(tf.random.normal(()))]
    values += [float(keras.random.normal(())), float(tf.random.get_global_generator().normal(()))]
    return values + [
        float(one.normal(())) if hasattr(one, "state") else one.random() for one in given
    ]


def generators():
    return [
        *(random.Random(1), np.random.default_rng(1), np.random.RandomState(1)),
        tf.random.Generator.from_seed(1),
    ]


def test_all_generators_go_on():
    keras.utils.set_random_seed(3)
    given = generators()
    seeds = Seeds((), given)
    draws(given)
    state = seeds.capture()
    want = draws(given)
    keras.utils.set_random_seed(4)
    other = Seeds((), generators())
    draws(other.extra)
    other.restore(state)
    assert draws(other.extra) == want


def test_capturing_draws_nothing():
    keras.utils.set_random_seed(3)
    keras.src.backend.common.global_state.clear_session()
    before = random.getstate()
    state = Seeds().capture()
    assert state["keras"] is None
    assert random.getstate() == before
    assert (
        keras.src.backend.common.global_state.get_global_attribute("global_seed_generator") is None
    )


def test_the_seeds_of_layers_are_those_of_the_model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5, seed=1)])
    state = Seeds([model]).capture()
    model(tf.ones((1, 2)), training=True)
    assert not np.array_equal(Seeds([model]).capture()["owned"], state["owned"])
    Seeds([model]).restore(state)
    assert np.array_equal(Seeds([model]).capture()["owned"], state["owned"])
    with pytest.raises(RestoreError, match=r"in the layers of its model; expected 1.* got 0"):
        Seeds().check(state)
