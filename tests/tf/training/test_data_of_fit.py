"""Where `fit` is in its data: a state, an anchor, or the batches once more."""

from __future__ import annotations

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpersist.errors import RestoreError
from tfpersist.tf.training.data_of_fit import DataOfFit


def model(**options):
    made = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    made.compile("sgd", "mse", **options)
    return made


def shuffled():
    return tf.data.Dataset.range(12).shuffle(12, seed=3).batch(2)


def read_ahead():
    """Another thread reads all of it while the training looks at the first batch."""
    return shuffled().prefetch(12)


def stateful():
    data = tf.data.Dataset.range(12).shuffle(12, seed=3)
    return data.map(lambda n: n + tf.random.uniform((), 0, 9, tf.int64, seed=4)).batch(2)


def shuffled_twice():
    """The lower shuffle begins, and has given all it has, before the first batch is there."""
    return tf.data.Dataset.range(12).shuffle(12, seed=3).shuffle(9, seed=4).batch(2)


def files():
    names = tf.data.Dataset.range(3).shuffle(3, seed=2)
    data = names.interleave(lambda n: tf.data.Dataset.range(4 * n, 4 * n + 4), cycle_length=4)
    return data.shuffle(5, seed=6).batch(2)


def concatenated():
    first, second = tf.data.Dataset.range(6), tf.data.Dataset.range(6, 12)
    return first.shuffle(6, seed=1).concatenate(second.shuffle(6, seed=2)).batch(2)


def repeated():
    return tf.data.Dataset.range(6).shuffle(6, seed=1).repeat(2).batch(2)


def epochs(data, dataset, count, batches=6):
    """Read as Keras 3 does: an iterator for each epoch, and one more that nobody uses."""
    seen = []
    for _ in range(count):
        data.epoch_begins()
        iterator = iter(dataset)
        for _ in range(batches):
            seen.append(next(data.before_batch(iterator)).numpy().tolist())
            if len(seen) % batches == 1:
                time.sleep(0.02)  # a training that looks at its first batch
        if batches == 6:
            iter(dataset)
    return seen


@pytest.mark.parametrize(
    ("make", "is_replayed"),
    [
        (shuffled, False),
        (read_ahead, False),
        (stateful, True),
        (shuffled_twice, True),
        (files, True),
        (concatenated, True),
        (repeated, True),
    ],
)
@pytest.mark.parametrize(("complete", "batch"), [(1, 2), (2, 0), (1, 5), (0, 1)])
def test_the_rest_of_the_epochs_is_read_as_it_was_to_be(make, is_replayed, complete, batch):
    tf.random.set_seed(1)
    want = epochs(DataOfFit(model(), 6), make(), 3)
    tf.random.set_seed(1)
    data, dataset = DataOfFit(model(), 6), make()
    epochs(data, dataset, complete)
    if batch:
        epochs(data, dataset, 1, batch)
    state = data.capture()
    assert (state["state"] is None) == is_replayed
    tf.random.set_seed(1)
    again, dataset = DataOfFit(model(), 6), make()
    again.epoch_begins()
    iterator = iter(dataset)
    again.go_to(iterator, state, complete, batch)
    seen = [next(again.before_batch(iterator)).numpy().tolist() for _ in range(6 - batch)]
    iter(dataset)
    seen += epochs(again, dataset, 2 - complete)
    assert seen == want[complete * 6 + batch :]


def test_other_data_and_other_steps_are_refused():
    data, dataset = DataOfFit(model(), 6), shuffled()
    epochs(data, dataset, 1, 3)
    state = data.capture()
    with pytest.raises(RestoreError, match="batches: 6 in the checkpoint, 3 now"):
        DataOfFit(model(), 6).go_to(iter(tf.data.Dataset.range(12).batch(4)), state, 0, 3)
    with pytest.raises(RestoreError, match="batches of an epoch: 6 in the checkpoint, 5 now"):
        DataOfFit(model(), 5).check(state, 3)
    with pytest.raises(RestoreError, match="steps_per_execution by which 3 can be divided, got 2"):
        DataOfFit(model(steps_per_execution=2), 6).check(state, 3)


def test_batches_that_come_from_elsewhere_are_not_covered():
    data = DataOfFit(model(), None)
    data.epoch_begins()
    data.before_batch(iter([np.ones(3)]))
    assert data.capture()["state"] is None
    assert [fact.coverage for fact in data.facts()] == ["not covered"]
