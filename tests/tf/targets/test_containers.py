"""Variables in lists and dicts are state, also where TensorFlow does not track them."""

from __future__ import annotations

import collections
import enum
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import TargetError
from tfpersist.tf.targets import containers
from tfpersist.tf.targets.adapt import adapt

L = keras.layers
Pair = collections.namedtuple("Pair", "one other")
Side = enum.Enum("Side", "LEFT RIGHT")
NUMBERS = itertools.count()


class Sub(list):
    """A list of an own class."""


CONTAINERS = {
    "list": lambda a, b: [a, b],
    "tuple": lambda a, b: (a, b),
    "named tuple": Pair,
    "dict": lambda a, b: {"a": a, "b/c": b},
    "dict of numbers": lambda a, b: {0: a, 1: b},
    "dict of other keys": lambda a, b: {None: a, (1, "x"): b},
    "dict of an enum": lambda a, b: {Side.LEFT: a, Side.RIGHT: b},
    "dict of both": lambda a, b: {"a": a, 1: b},
    "defaultdict": lambda a, b: collections.defaultdict(list, {"a": [a], "b": [b]}),
    "deque": lambda a, b: collections.deque([a, b]),
    "list of an own class": lambda a, b: Sub([a, b]),
    "nested": lambda a, b: [{0: {1: [a]}}, ([b],)],
}


def module(value):
    made = tf.Module()
    made.inner = {2: tf.Variable(value)}
    return made


CONTENTS = {
    "layers": lambda: L.Dense(2),
    "variables": lambda: tf.Variable(0.0),
    "modules": lambda: module(0.0),
}


def variables_of(thing):
    if isinstance(thing, tf.Variable):
        return [thing]
    return thing.weights if isinstance(thing, L.Layer) else [thing.inner[2]]


def holder(base, attribute, make, container):
    """Build an object with a container and, beside it, a layer or variable that is tracked."""
    made = base()
    parts = make(), make()
    made.beside = L.Dense(2) if issubclass(base, L.Layer) else tf.Variable(0.0)
    setattr(made, attribute, container(*parts))
    for part in (*parts, made.beside):
        if isinstance(part, L.Layer):
            part.build((None, 2))
    if isinstance(made, L.Layer):
        made.built = True
    return made, [variable for part in (*parts, made.beside) for variable in variables_of(part)]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("base", [keras.Model, tf.Module])
@pytest.mark.parametrize(
    ("contents", "attribute"),
    [("layers", "parts"), ("layers", "_parts"), ("variables", "_parts"), ("modules", "parts")],
)
def test_what_a_container_holds_is_restored(container, base, attribute, contents):
    store = tfp.ModelStore(f"memory://test/containers/{next(NUMBERS)}")
    make = CONTENTS[contents], CONTAINERS[container]
    old, variables = holder(base, attribute, *make)
    for number, variable in enumerate(variables):
        variable.assign(np.full(variable.shape, number + 1.0))
    store.save(old)
    new, restored = holder(base, attribute, *make)
    assert store.restore(new).fits
    for number, variable in enumerate(restored):
        assert (np.asarray(variable) == number + 1.0).all()


def test_the_list_of_its_layers_that_keras_keeps_may_be_the_users():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self._layers = [L.Dense(2), L.Dense(2)]

        def call(self, x):
            for layer in self._layers:
                x = layer(x)
            return x

    store = tfp.ModelStore("memory://test/containers/layers")
    old, new = Net(), Net()
    x = np.ones((1, 2), np.float32)
    assert not np.array_equal(old(x), new(x))
    store.save(old)
    assert store.restore(new).fits
    assert np.array_equal(old(x), new(x))


def test_lists_without_state_change_nothing():
    class Net(keras.Model):
        def __init__(self, *extra):
            super().__init__()
            self.dense = L.Dense(2)
            self.dense.build((None, 2))
            self.extra = list(extra)
            self.numbers = list(range(1000))

    plain, listed = (adapt(Net(*extra)) for extra in ((), (L.Activation("relu"), L.Flatten())))
    assert listed.live.graph.children == plain.live.graph.children
    assert not containers.lacking(plain.live)
    assert len(containers.lacking(listed.live)) == 2


def test_lists_that_were_changed_after_they_were_assigned(tmp_path):
    def changed(value):
        made = tf.Module()
        made.parts = [tf.Variable(0.0), tf.Variable(0.0)]
        made.parts[0] = tf.Variable(value)
        made.named = {"a": tf.Variable(0.0), "b": tf.Variable(value + 1)}
        del made.named["a"]
        return made

    old, new = changed(1.0), changed(5.0)
    with pytest.raises(ValueError, match="list element was replaced"):
        tf.train.Checkpoint(old).write(str(tmp_path / "theirs"))
    saved = tfp.ModelStore(tmp_path).save(old)
    assert "parts/0/.ATTRIBUTES/VARIABLE_VALUE" in saved
    tfp.ModelStore(tmp_path).restore(new)
    assert (float(new.parts[0]), float(new.named["b"])) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("keys", "found"), [(("1", 1), "another key '1'"), (("a", object()), "a object")]
)
def test_keys_without_a_name_of_their_own_are_refused(keys, found):
    made = tf.Module()
    made.parts = {key: tf.Variable(1.0) for key in keys}
    with pytest.raises(TargetError, match=rf"^parts: a dict has the key .* got {found}"):
        adapt(made)


def test_layers_in_a_set_are_refused_at_the_save():
    made = keras.Model()
    made.parts = {L.Dense(2), L.Dense(2)}
    for layer in made.parts:
        layer.build((None, 2))
    with pytest.raises(TargetError, match="no attribute of a layer leads to 4 weights"):
        tfp.ModelStore("memory://test/set").save(made)


def test_tensorflow_restores_what_it_tracks(tmp_path):
    old, variables = holder(keras.Model, "parts", CONTENTS["layers"], CONTAINERS["dict of numbers"])
    variables[-1].assign(np.full(2, 7.0))
    saved = tfp.ModelStore(tmp_path).save(old)
    new, restored = holder(keras.Model, "parts", CONTENTS["layers"], CONTAINERS["list"])
    tf.train.Checkpoint(new).read(saved.prefix)
    assert np.asarray(restored[-1]).tolist() == [7.0, 7.0]
