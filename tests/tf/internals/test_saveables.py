"""Saveable objects of a session's graph are saved and restored as a Saver does it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.training.saver import BaseSaverBuilder

import tfpersist as tfp
from tfpersist.errors import RestoreError, SaveError, SelectionError, TargetError
from tfpersist.freezer.freezer import Freezer
from tfpersist.tf.internals import saveables

v1 = tf.compat.v1
POSITION = "IteratorV2:0_STATE"


def shuffled():
    return tf.data.Dataset.range(9).shuffle(4, seed=1)


class Graph:
    """A graph with a variable and an iterator among the saveable objects, in a session."""

    def __init__(self, dataset=shuffled, *, initialize=True, value=1.0):
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.iterator = v1.data.make_initializable_iterator(dataset())
            self.saveable = tf.data.experimental.make_saveable_from_iterator(self.iterator)
            v1.add_to_collection(v1.GraphKeys.SAVEABLE_OBJECTS, self.saveable)
            self.variable = v1.get_variable("v", initializer=value)
            self.element = self.iterator.get_next()
            self.session = v1.Session()
        self.session.run(self.variable.initializer)
        if initialize:
            self.session.run(self.iterator.initializer)

    def take(self, count):
        return [self.session.run(self.element).tolist() for _ in range(count)]

    @property
    def operations(self):
        return [op.name for op in self.graph.get_operations()]


@pytest.fixture
def store(tmp_path):
    return tfp.ModelStore(tmp_path)


@pytest.fixture
def old(store):
    graph = Graph()
    graph.take(3)
    store.save(graph.session, 1)
    return graph


def test_a_position_is_what_saver_writes(store, old, tmp_path):
    with old.graph.as_default():
        v1.train.Saver().save(old.session, str(tmp_path / "theirs"))
    assert store.latest().diff(tmp_path / "theirs").changed == {}
    left = old.take(6)
    for name in ("model.ckpt-1", "theirs"):
        new = Graph(value=0.0)
        assert tfp.ModelStore(tmp_path, name=name).restore(new.session).fits
        assert (new.take(6), float(new.session.run(new.variable))) == (left, 1.0)
    theirs = Graph(value=0.0)
    with theirs.graph.as_default():
        v1.train.Saver().restore(theirs.session, str(tmp_path / "model.ckpt-1"))
    assert theirs.take(6) == left


def test_operations_are_added_once(store, old):
    before = old.operations
    assert sum(name.startswith("tfpersist/") for name in before) > 0
    store.save(old.session, 2)
    assert old.operations == before
    store.restore(old.session)
    added = set(old.operations) - set(before)
    assert added
    assert all(name.startswith("tfpersist/") for name in added)
    before = old.operations
    store.restore(old.session)
    assert old.operations == before


def test_an_object_is_chosen(store, old):
    chosen = store.only([old.saveable]).save(old.session, 2)
    assert list(chosen) == [POSITION]
    left = old.take(6)
    new = Graph(value=5.0)
    store.only([new.saveable]).restore(new.session)
    assert (new.take(6), float(new.session.run(new.variable))) == (left, 5.0)
    assert list(store.only(["v"]).save(new.session, 3)) == ["v"]


def test_an_iterator_that_refuses_leaves_everything_as_it_was(store, old):
    def batches():
        return tf.data.Dataset.range(9).shuffle(3, seed=1).map(lambda n: n * 2).batch(2)

    new, twin = Graph(batches, value=5.0), Graph(batches)
    assert new.take(1) == twin.take(1)
    with pytest.raises(RestoreError, match=rf"^{POSITION}: an iterator refuses its position"):
        store.restore(new.session)
    assert float(new.session.run(new.variable)) == 5.0
    assert new.take(4) == twin.take(4)


def test_an_iterator_has_to_be_initialized(store, old):
    new = Graph(initialize=False, value=5.0)
    with pytest.raises(RestoreError, match=r"not been initialized.*Run its initializer before"):
        store.restore(new.session)
    assert float(new.session.run(new.variable)) == 5.0
    with pytest.raises(SaveError, match=r"not been initialized.*Run its initializer first"):
        store.save(new.session)


def test_a_data_set_without_a_position_is_refused(store):
    drawn = Graph(lambda: tf.data.Dataset.range(9).map(lambda n: tf.random.uniform([])))
    with pytest.raises(SaveError, match=rf"^{POSITION}: .*RandomUniform is stateful"):
        store.save(drawn.session)


def test_a_finalized_graph_needs_its_operations_before(store, old):
    finalized = Graph()
    finalized.graph.finalize()
    with pytest.raises(TargetError, match=r"finalized.*ModelStore.hook"):
        store.restore(finalized.session)
    prepared = Graph(value=0.0)
    saveables.prepare(prepared.graph)
    prepared.graph.finalize()
    assert store.restore(prepared.session).fits
    assert prepared.take(6) == old.take(6)
    store.save(prepared.session, 2)


def test_a_session_with_a_position_freezes(old):
    with old.graph.as_default():
        y = tf.identity(old.variable * 2, name="y")
    assert Freezer(old.session).outputs(y).freeze().run("y") == 2.0


class Counter(BaseSaverBuilder.SaveableObject):
    """Saves the double of one variable and the negative of another one."""

    def __init__(self, one, other):
        self.variables = one, other
        specs = [
            BaseSaverBuilder.SaveSpec(one * 2, "", "counter/double"),
            BaseSaverBuilder.SaveSpec(-other, "", "counter/negative"),
        ]
        super().__init__(one, specs, "counter")

    def restore(self, restored_tensors, restored_shapes):
        double, negative = restored_tensors
        one, other = self.variables
        return tf.group(v1.assign(one, double / 2), v1.assign(other, -negative))


def count(values):
    with tf.Graph().as_default():
        one, other = (
            v1.get_variable(name, initializer=np.float32(value), collections=["own"])
            for name, value in zip(("one", "other"), values, strict=True)
        )
        v1.add_to_collection(v1.GraphKeys.SAVEABLE_OBJECTS, Counter(one, other))
        v1.get_variable("v", initializer=1.0)
        session = v1.Session()
        session.run(v1.global_variables_initializer())
        session.run([one.initializer, other.initializer])
        return session, [one, other]


def test_objects_of_an_own_class(store, tmp_path):
    old, _ = count([3.0, 4.0])
    saved = store.save(old, 1)
    assert (float(saved["counter/double"]), float(saved["counter/negative"])) == (6.0, -4.0)
    new, variables = count([0.0, 0.0])
    assert store.restore(new).fits
    assert new.run(variables) == [3.0, 4.0]
    with new.graph.as_default():
        new.run([variable.initializer for variable in variables])
        v1.train.Saver().restore(new, saved.prefix)
    assert new.run(variables) == [3.0, 4.0]
    with pytest.raises(SelectionError, match="restored together with 'counter/negative'"):
        store.only(["counter/double"]).restore(new)
