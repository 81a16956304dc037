"""A loop of one's own goes on to the bit, or says what it cannot keep."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import ArgumentError, RestoreError, SaveError

ROWS = 24


def dataset(kind):
    data = tf.data.Dataset.range(ROWS).shuffle(9, seed=5).repeat(2)
    if kind == "stateful":
        data = data.map(lambda n: n + tf.random.uniform((), 0, 9, tf.int64, seed=4))
    if kind == "variable":
        source = tf.random.Generator.from_seed(9)
        data = data.map(lambda n: n + source.uniform((), 0, 9, tf.int64))
        data.source = source
    return data.batch(2)


class Loop:
    def __init__(self, kind, **options):
        keras.utils.set_random_seed(7)
        data = dataset(kind)
        self.dropout = keras.layers.Dropout(0.5)
        model = keras.Sequential([keras.Input((2,)), self.dropout, keras.layers.Dense(1)])
        objects = {"model": model, "step": tf.Variable(0, dtype=tf.int64)}
        if hasattr(data, "source"):
            objects["source"] = data.source
        self.own = np.random.default_rng(2)
        self.training = tfp.Training(**objects, data=iter(data), generators=[self.own], **options)

    def run(self, batches):
        seen = []
        for _ in range(batches):
            x = tf.cast(next(self.training.data), tf.float32)[None]
            y = self.training.objects["model"](x, training=True)
            self.training.objects["step"].assign_add(1)
            noise = [random.random(), np.random.random(), self.own.random()]
            seen.append(
                [*x.numpy().ravel(), *y.numpy().ravel(), *noise, float(tf.random.normal(()))]
            )
        return seen


@pytest.fixture
def store(tmp_path):
    return tfp.ModelStore(tmp_path, durable=False)


@pytest.mark.parametrize("kind", ["plain", "stateful", "variable"])
@pytest.mark.parametrize("at", [5, 14])
def test_a_loop_goes_on_to_the_bit(store, kind, at):
    first = Loop(kind)
    first.run(at)
    store.save(first.training, at)
    want = first.run(6)
    second = Loop(kind)
    report = store.restore(second.training)
    assert second.run(6) == want
    assert int(second.training.objects["step"]) == at + 6
    assert not report.resume.not_covered
    assert bool(report.resume.replayed) == (kind != "plain")
    assert store.latest().resume.facts == report.resume.facts


def test_a_replay_needs_a_new_iterator_and_counted_batches(store):
    first = Loop("stateful")
    next(first.training.data.iterator)
    store.save(first.training, 1)
    assert store.latest().resume.not_covered[0].advice == "Take the batches from `training.data`."
    first.run(1)
    store.save(first.training, 2)
    with pytest.raises(RestoreError, match="expected a new iterator, got one that has given 1"):
        store.restore(first.training)
    with pytest.raises(SaveError, match=r"cannot go on to the bit:\n  not covered  the order"):
        store.save(Loop("stateful", strict=True).training)


def test_other_data_and_other_generators_are_refused_and_nothing_changes(store):
    first = Loop("plain")
    first.run(3)
    store.save(first.training, 3)
    second = Loop("stateful")
    with pytest.raises(RestoreError, match=r"steps of tf\.data: "):
        store.restore(second.training)
    assert int(second.training.objects["step"]) == 0
    third = tfp.Training(**Loop("plain").training.objects)
    with pytest.raises(RestoreError, match=r"other random generators in generators="):
        store.restore(third)


def test_a_checkpoint_without_the_state_is_restored_and_said_so(store):
    model = tf.Module()
    model.v = tf.Variable(3.0)
    store.save(tf.train.Checkpoint(model=model), 1)
    model.v.assign(0.0)
    report = store.restore(tfp.Training(model=model))
    assert float(model.v) == 3.0
    assert report.resume.not_covered[0].what == "all but the variables"


def test_wrong_arguments_are_refused():
    with pytest.raises(ArgumentError, match="data= takes the iterator of a dataset"):
        tfp.Training(data=[1, 2])
    with pytest.raises(ArgumentError, match="'resume' is the name"):
        tfp.Training(resume=tf.Variable(1))


def test_tensorflow_reads_the_same_objects(store):
    first = Loop("plain")
    first.run(2)
    prefix = store.save(first.training, 2).prefix
    step = tf.Variable(0, dtype=tf.int64)
    tf.train.Checkpoint(step=step).read(prefix).assert_existing_objects_matched()
    assert int(step) == 2


def test_tensors_that_nothing_takes_now_are_named(store):
    store.save(tfp.Training(v=tf.Variable(1.0), gone=tf.Variable(2.0)), 1)
    resume = store.restore(tfp.Training(v=tf.Variable(0.0))).resume
    assert [fact.where for fact in resume.not_covered] == ["gone/.ATTRIBUTES/VARIABLE_VALUE"]
