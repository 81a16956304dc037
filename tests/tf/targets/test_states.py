"""Objects that are not variables are saved and restored: tables, iterators, Python state."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from object_modules import VALUE, Note, module

import tfpersist as tfp
from tfpersist.errors import RestoreError, SaveError, SelectionError
from tfpersist.matching.sides.object_graph import OBJECT_GRAPH_KEY


def test_an_iterator_in_a_checkpoint_prevents_no_other_restore(tmp_path):
    data = iter(tf.data.Dataset.range(3))
    theirs = tf.train.Checkpoint(data=data, w=tf.Variable(1.0))
    theirs.write(str(tmp_path / "model.ckpt"))
    store = tfp.ModelStore(tmp_path)
    report = store.restore({"net": (other := module(w=tf.Variable(0.0))), "w": other.w})
    assert other.w.numpy() == 1.0
    assert report.unexpected == ("data/.ATTRIBUTES/ITERATOR_STATE",)


def numbers(count=20):
    return tf.data.Dataset.range(count)


DATASETS = {
    "a range": numbers,
    "a shuffle": lambda: numbers().shuffle(5, seed=1),
    "batches of a shuffle": lambda: numbers().shuffle(5).batch(3),
    "a repeat": lambda: numbers(5).repeat(4),
    "a parallel map": lambda: numbers().map(lambda n: n * 2, num_parallel_calls=2).prefetch(2),
    "texts": lambda: tf.data.Dataset.from_tensor_slices([b"a", b"bb", b"c"] * 3).shuffle(4),
}


def position(dataset, value=0.0):
    return tf.train.Checkpoint(it=iter(dataset), v=tf.Variable(value))


def rest(iterator):
    return [np.asarray(element).tolist() for element in iterator]


@pytest.mark.parametrize("name", DATASETS)
def test_the_position_of_an_iterator(tmp_path, name):
    make = DATASETS[name]
    old = position(make(), 1.0)
    for _ in range(3):
        next(old.it)
    store = tfp.ModelStore(tmp_path)
    ours = store.save(old, 1)
    old.write(str(tmp_path / "model.ckpt-2"))
    assert ours.diff(tmp_path / "model.ckpt-2").changed == {}
    assert tfp.Checkpoint(tmp_path / "model.ckpt-2").verify().tensors == len(ours)
    left = rest(old.it)
    for step in (1, 2):
        new = position(make())
        assert store.at(step).restore(new).fits
        assert (rest(new.it), float(new.v)) == (left, 1.0)
    theirs = position(make())
    theirs.read(ours.prefix).assert_consumed()
    assert rest(theirs.it) == left


def test_a_renamed_iterator_is_restored_by_tensorflow(tmp_path):
    old = tf.train.Checkpoint(data=iter(numbers()), v=tf.Variable(1.0))
    next(old.data)
    renamed = tfp.ModelStore(tmp_path).rename({"it/": "data/"}).save(old)
    assert "it/.ATTRIBUTES/ITERATOR_STATE" in renamed
    new = tf.train.Checkpoint(data=iter(numbers()), v=tf.Variable(0.0))
    new.read(renamed.prefix).assert_consumed()
    assert next(new.data).numpy() == 1


def test_iterators_that_refuse_leave_everything_as_it_was():
    store = tfp.ModelStore("memory://test/refused")
    next(iterator := iter(numbers()))
    store.save(module(a=iterator, b=iterator, note=Note("new"), w=tf.Variable(1.0)))
    shuffled = iter(numbers().shuffle(3, seed=1).batch(2))
    first, second = (iter(numbers().shuffle(3, seed=1).batch(2)) for _ in range(2))
    a = iter(numbers())
    other = module(a=a, b=shuffled, note=Note("old"), w=tf.Variable(0.0))
    with pytest.raises(RestoreError, match=r"^b: .*refuses its position.*as it was built"):
        store.restore(other)
    assert (other.note.text, other.w.numpy(), next(a).numpy()) == ("old", 0.0, 0)
    assert rest(shuffled) == rest(first) == rest(second)


def test_a_table_is_renamed_as_a_whole():
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
    net = module(table=table)
    store = tfp.ModelStore("memory://test/table")
    with pytest.raises(SelectionError, match="together"):
        store.rename({"k": "table/.ATTRIBUTES/table-keys"}).save(net)
    table.insert(["a"], [1])
    store.rename({"moved/": "table/"}).save(net)
    table.insert(["b"], [2])
    store.restore(net)
    assert table.size().numpy() == 1


@pytest.mark.parametrize("is_shuffled", [False, True])
def test_an_iterator_without_a_position_is_refused_by_its_path(is_shuffled):
    drawn = numbers(3).map(lambda n: tf.random.uniform([]))
    drawn = drawn.shuffle(2) if is_shuffled else drawn  # TensorFlow does not look under it
    net = module(data=iter(drawn), w=tf.Variable(1.0))
    store = tfp.ModelStore("memory://test/iterator")
    with pytest.raises(SaveError, match=r"^data: .*iterator: RandomUniform is stateful\. Leave"):
        store.save(net)
    assert set(store.only(["w"]).save(net)) == {f"w{VALUE}", OBJECT_GRAPH_KEY}


def test_a_python_state_that_is_refused_leaves_everything_as_it_was():
    store = tfp.ModelStore("memory://test/python")
    store.save(module(a=Note("new"), b=Note("refused"), w=tf.Variable(1.0)))
    other = module(a=Note("old"), b=Note("old"), w=tf.Variable(0.0))
    with pytest.raises(RestoreError, match="not this one"):
        store.restore(other)
    assert (other.a.text, other.b.text, other.w.numpy()) == ("old", "old", 0.0)
