"""States of iterators, and what their datasets are made of."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tfpersist.tf.internals import iterators


def test_a_state_puts_another_iterator_in_the_same_place():
    def made():
        return iter(tf.data.Dataset.range(9).shuffle(5, seed=1))

    one, other = made(), made()
    for _ in range(4):
        next(one)
    found = iterators.state_of(one)
    want = [int(n) for n in one]
    iterators.set_state(other, found.state)
    assert [int(n) for n in other] == want
    with pytest.raises(tf.errors.OpError):
        iterators.set_state(iter(tf.data.Dataset.range(9).batch(2)), found.state)


def test_why_there_is_no_state():
    noisy = tf.data.Dataset.range(3).map(lambda n: n + tf.random.uniform((), 0, 9, tf.int64))
    found = iterators.state_of(iter(noisy))
    assert (found.state, found.why) == (None, "RandomUniformInt is stateful")
    spec = tf.TensorSpec((), tf.int64)
    python = tf.data.Dataset.from_generator(lambda: iter(range(3)), output_signature=spec)
    assert iterators.state_of(iter(python)).runs_python
    options = tf.data.Options()
    options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
    assert iterators.state_of(iter(noisy.with_options(options))).state is None


def test_kinds_of_iterators():
    iterator = iter(tf.data.Dataset.range(3))
    assert iterators.is_iterator(iterator)
    assert iterators.is_of_fit(iterator)
    assert not iterators.is_iterator(iter([1]))
    assert not iterators.is_of_fit(iter([1]))
    assert iterators.dataset_of(iter([1])) is None


def test_the_steps_of_a_dataset():
    data = tf.data.Dataset.from_tensor_slices([1, 2]).map(lambda n: n + 1).batch(2)
    steps = [*iterators.sources(iterators.dataset_of(iter(data)))]
    batch = next(one for one in steps if iterators.numbers_of(one))
    assert iterators.numbers_of(batch) == {"batch_size": 2}
    assert [t.numpy().tolist() for one in steps for t in iterators.tensors_of(one)] == [[1, 2]]
    assert "AddV2" in {op for one in steps for op, _, _ in iterators.ops_of(one)}
