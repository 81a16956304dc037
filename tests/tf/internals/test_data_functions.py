"""Dependencies of the functions of tf.data, also where TensorFlow does not look."""

from __future__ import annotations

import gc

import pytest
import tensorflow as tf

from tfpersist.tf.internals import data_functions, iterators, random_state

v1 = tf.compat.v1
Dataset = tf.data.Dataset
RANGE = Dataset.range(4)


def plain(function):
    return tf.autograph.experimental.do_not_convert(function)


NOISY = RANGE.map(plain(lambda _: tf.random.normal((), seed=1)))
PYTHON = Dataset.from_generator(lambda: iter([1.0]), output_signature=tf.TensorSpec(()))


@pytest.mark.parametrize(
    ("data", "op"),
    [
        (NOISY.shuffle(2), "RandomStandardNormal"),
        (NOISY.batch(2).repeat().shuffle(2), "RandomStandardNormal"),
        (PYTHON.shuffle(2), "PyFunc"),
        (PYTHON.shuffle(2).prefetch(1), "PyFunc"),
        (Dataset.zip((RANGE.shuffle(2), NOISY.shuffle(2))), "RandomStandardNormal"),
        (RANGE.interleave(plain(lambda _: NOISY)), "RandomStandardNormal"),
        (RANGE.flat_map(plain(lambda _: PYTHON)), "PyFunc"),
        (RANGE.interleave(plain(lambda _: RANGE.shuffle(2))), "DummySeedGenerator"),
    ],
)
def test_what_tensorflow_does_not_look_into_is_found(data, op):
    assert data_functions.stateful_op(iter(data)) == op
    found = data_functions.first_state_of(iter(data))
    assert (found.state, found.runs_python) == (None, op == "PyFunc")


def test_functions_that_functions_call_are_looked_at():
    def found():
        @tf.function
        def draw():
            return tf.random.normal(())

        chosen = RANGE.map(plain(lambda n: tf.cond(n > 1, draw, lambda: 0.0)))
        inner = RANGE.interleave(plain(lambda _: RANGE.map(plain(lambda n: draw()))))
        return [data_functions.stateful_op(iter(data)) for data in (chosen.shuffle(2), inner)]

    assert found() == ["RandomStandardNormal"] * 2
    gc.collect()  # a training in this process would name them
    assert random_state.stateful_ops() == []


def test_what_has_no_state_is_kept(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("a\nb\n")
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer([0, 1], [5, 6], tf.int64, tf.int64), 0
    )

    def checked(n):
        tf.print(n, output_stream="file://" + str(tmp_path / "printed"))
        with tf.control_dependencies([tf.debugging.assert_greater(n, tf.constant(-1, tf.int64))]):
            return table.lookup(n) + tf.reduce_sum(
                tf.map_fn(lambda one: one * 2, tf.range(3, dtype=tf.int64))
            )

    for data in (
        RANGE.map(plain(lambda n: tf.cast(checked(n), tf.float32))).shuffle(2),
        RANGE.interleave(plain(lambda _: tf.data.TextLineDataset(str(path)))),
        RANGE.window(2).flat_map(plain(lambda window: window.batch(2))),
        RANGE.interleave(plain(lambda _: Dataset.random(seed=1).take(2))).shuffle(2),
    ):
        assert data_functions.stateful_op(iter(data)) == ""
        assert data_functions.first_state_of(iter(data)).state is not None


def test_of_another_iterator_nothing_is_known():
    assert list(data_functions.nodes_of(iter([1]))) == []


@pytest.mark.parametrize("is_noisy", [False, True])
def test_an_iterator_of_a_graph(is_noisy):
    with tf.Graph().as_default():
        data = Dataset.range(4)
        if is_noisy:
            data = data.map(plain(lambda n: tf.random.normal(())))
        iterator = v1.data.make_initializable_iterator(data.shuffle(2).batch(2))
        found = data_functions.stateful_op_in_graph(iterator)
    assert found == ("RandomStandardNormal" if is_noisy else "")


def test_tensorflow_itself_does_not_refuse_it():
    """If it does one day, this module is not needed any more."""
    assert iterators.state_of(iter(NOISY.shuffle(2))).state is not None


def test_random_ops_without_seeds_are_noticed():
    def noisy(seed):
        return tf.data.Dataset.range(3).map(
            lambda n: tf.cast(n, tf.float32) + tf.random.normal((), seed=seed)
        )

    tf.random.set_seed(None)
    assert not data_functions.is_seeded(iter(noisy(None)))
    assert data_functions.is_seeded(iter(noisy(5)))
    numbers = tf.data.Dataset.range(3)
    assert not data_functions.is_seeded(iter(numbers.interleave(lambda _: noisy(None))))
    assert not data_functions.is_seeded(iter(numbers.shuffle(2)))
    assert data_functions.is_seeded(iter(numbers.shuffle(2, seed=0)))
    assert data_functions.is_seeded(iter(tf.data.Dataset.range(3)))
