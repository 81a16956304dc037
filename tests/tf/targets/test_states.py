"""Objects that are not variables are saved and restored: tables, Python state, not iterators."""

from __future__ import annotations

import pytest
import tensorflow as tf
from object_modules import VALUE, Note, module

import tfpersist as tfp
from tfpersist.errors import (
    RestoreError,
    SelectionError,
    UnsupportedError,
)
from tfpersist.matching.sides.object_graph import OBJECT_GRAPH_KEY


def test_an_iterator_in_a_checkpoint_prevents_no_other_restore(tmp_path):
    data = iter(tf.data.Dataset.range(3))
    theirs = tf.train.Checkpoint(data=data, w=tf.Variable(1.0))
    theirs.write(str(tmp_path / "model.ckpt"))
    store = tfp.ModelStore(tmp_path)
    report = store.restore({"net": (other := module(w=tf.Variable(0.0))), "w": other.w})
    assert other.w.numpy() == 1.0
    assert report.unexpected == ("data/.ATTRIBUTES/ITERATOR_STATE",)
    with pytest.raises(UnsupportedError):
        store.restore(theirs)


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


def test_an_iterator_is_refused_by_its_path():
    net = module(data=iter(tf.data.Dataset.range(3)), w=tf.Variable(1.0))
    store = tfp.ModelStore("memory://test/iterator")
    with pytest.raises(UnsupportedError, match=r"data.*iterator"):
        store.save(net)
    assert set(store.only(["w"]).save(net)) == {f"w{VALUE}", OBJECT_GRAPH_KEY}


def test_a_python_state_that_is_refused_leaves_everything_as_it_was():
    store = tfp.ModelStore("memory://test/python")
    store.save(module(a=Note("new"), b=Note("refused"), w=tf.Variable(1.0)))
    other = module(a=Note("old"), b=Note("old"), w=tf.Variable(0.0))
    with pytest.raises(RestoreError, match="not this one"):
        store.restore(other)
    assert (other.a.text, other.b.text, other.w.numpy()) == ("old", "old", 0.0)
