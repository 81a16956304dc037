"""Each type of target gets its adapter, and a call where it would be traced is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import TargetError
from tfpersist.tf.targets.adapt import adapt
from tfpersist.tf.targets.arrays import NamedTarget
from tfpersist.tf.targets.keras import KerasTarget
from tfpersist.tf.targets.session import SessionTarget

v1 = tf.compat.v1


class Wrapper:
    """A session inside of something else, as a debugger has it."""

    def __init__(self, session):
        self.session = session


@pytest.mark.parametrize("model", [None, tf.Module])
def test_a_seed_generator_in_a_dict_is_its_state(model):
    def make(seed):
        generator = keras.random.SeedGenerator(seed)
        return generator, {"seeds": generator} | ({"net": model()} if model else {})

    generator, target = make(1)
    keras.random.uniform((2,), seed=generator)
    store = tfp.ModelStore("memory://test/seeds")
    store.save(target)
    drawn = keras.random.uniform((2,), seed=generator).numpy().tolist()
    other, target = make(2)
    assert store.restore(target).fits
    assert keras.random.uniform((2,), seed=other).numpy().tolist() == drawn


@pytest.mark.parametrize(
    ("target", "adapter"),
    [
        ({"a": np.zeros(2)}, NamedTarget),
        ({"a": tf.Variable(1.0), "b": 3}, NamedTarget),
        ([tf.Variable(1.0, name="v")], NamedTarget),
        (tf.Module(), KerasTarget),
        (tf.train.Checkpoint(), KerasTarget),
        ({"module": tf.Module()}, KerasTarget),
        (keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]), KerasTarget),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_target_gets_the_adapter_of_its_type(target, adapter):
    assert type(adapt(target)) is adapter


def test_a_session_is_found_inside_of_wrappers():
    with v1.Session(graph=tf.Graph()) as session:
        for target in (session, Wrapper(session), Wrapper(Wrapper(session))):
            adapted = adapt(target)
            assert type(adapted) is SessionTarget
            assert adapted.session is session


def test_an_endless_wrapper_is_not_a_session():
    wrapper = Wrapper(None)
    wrapper.session = wrapper
    with pytest.raises(TargetError, match="cannot be saved or restored"):
        adapt(wrapper)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (3, "cannot be saved or restored"),
        ("run", r"Saves go to ModelStore\(directory\)"),
        (tf.Variable(1.0), "a single variable has no name"),
        ({}, "an empty dict"),
        ([], "an empty list"),
        ({"a": None}, "Leave the value out"),
        ({"a": {"b": 1.0}}, "such as 'a/b'"),
        ({"a": object()}, r"numpy\.asarray\(value\)"),
        ({3: np.zeros(1)}, "keys of a dict"),
        ([np.zeros(1)], "no names to save them under"),
    ],
)
def test_an_error_says_what_is_wrong(target, says):
    with pytest.raises(TargetError, match=says):
        adapt(target)


@pytest.mark.parametrize("target", [{"a": np.zeros(2)}, tf.Module()], ids=["arrays", "module"])
def test_nothing_is_adapted_while_a_function_is_traced(target):
    with pytest.raises(TargetError, match=r"inside of a tf\.function"):
        tf.function(lambda: adapt(target) and None, autograph=False)()

    def outside():
        with tf.init_scope():
            adapt(target)

    tf.function(outside, autograph=False)()


def test_nothing_is_adapted_in_a_replica():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        adapt({"a": np.zeros(2)})
        with pytest.raises(TargetError, match=r"inside of strategy\.run"):
            strategy.run(lambda: adapt({"a": np.zeros(2)}) and None)
