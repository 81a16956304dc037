"""Generators that belong to no model, and ops that draw from counters of their own."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfpersist.tf.internals import random_state


def test_what_eager_ops_draw_from_goes_on():
    tf.random.set_seed(3)
    state = random_state.eager_state()
    want = float(tf.random.normal(()))
    tf.random.set_seed(4)
    random_state.set_eager_state(state)
    assert float(tf.random.normal(())) == want


def test_the_variables_beside_the_weights():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    (state,) = random_state.extra_variables(model)
    assert state.path.endswith("seed_generator_state")
    assert random_state.extra_variables(object()) == []


def test_stateful_ops_of_functions_are_found():
    @tf.function
    def draws_with_a_counter():
        return tf.random.normal((), seed=3)

    @tf.function
    def draws_without():
        return tf.random.stateless_normal((), (1, 2))

    draws_with_a_counter(), draws_without()
    found = [text for text in random_state.stateful_ops() if "draws_with" in text]
    assert len(found) == 1
    assert found[0].startswith("RandomStandardNormal in __inference_draws_with_a_counter")
    assert random_state.is_stateful("RandomUniform")
    assert not random_state.is_stateful("StatelessRandomUniform")


def test_the_state_of_determinism_is_known():
    assert random_state.is_deterministic() in (True, False)
