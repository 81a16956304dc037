"""An entry has all names of its variable."""

from __future__ import annotations

import gc
import weakref

import pytest
import tensorflow as tf
from object_modules import VALUE, Note, module

import tfpersist as tfp
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.pairing.fate import Fate
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.sides.object_graph import OBJECT_GRAPH_KEY
from tfpersist.tf.internals.object_graph import live_graph
from tfpersist.tf.targets.object_entries import by_name, identity, is_variable, rows_of


def test_two_names_for_one_variable_are_one_tensor():
    store = tfp.ModelStore("memory://test/shared")
    shared = tf.Variable([1.0])
    assert set(store.save(module(a=shared, b=shared))) == {f"a{VALUE}", OBJECT_GRAPH_KEY}
    other = module(a=(both := tf.Variable([0.0])), b=both)
    store.restore(other)
    assert both.numpy() == 1.0


def test_some_variables_only():
    store = tfp.ModelStore("memory://test/only")
    net = module(net=module(w=tf.Variable([1.0]), b=tf.Variable([2.0])), x=tf.Variable([3.0]))
    for choice in ([net.net.w], ["net/w"], [f"net/w{VALUE}"], ["*/w"]):
        saved = store.only(choice).save(net)
        assert set(saved) == {f"net/w{VALUE}", OBJECT_GRAPH_KEY}
    tf_view = saved.object_graph
    kept = [each.checkpoint_key for node in tf_view.nodes for each in node.attributes]
    assert kept == [f"net/w{VALUE}"]
    store.save(net)
    other = module(net=module(w=tf.Variable([0.0]), b=tf.Variable([0.0])), x=tf.Variable([0.0]))
    store.only(["net/*"]).restore(other)
    assert [v.numpy().item() for v in (other.net.w, other.net.b, other.x)] == [1, 2, 0]


def test_the_end_of_a_key_need_not_be_spelt():
    store = tfp.ModelStore("memory://test/spelt")
    store.save(module(net=module(w=tf.Variable([1.0]))))
    for step in ("only", "rename"):
        other = module(x=tf.Variable([0.0]))
        getattr(store, step)({"net/w": "x"}).restore(other)
        assert other.x.numpy() == 1.0


def test_a_variable_can_also_have_its_own_name():
    store = tfp.ModelStore("memory://test/name")
    net = module(a=module(w=tf.Variable([1.0], name="kernel")), b=tf.Variable([2.0]))
    assert set(store.only(["kernel"]).save(net)) == {f"a/w{VALUE}", OBJECT_GRAPH_KEY}


def test_the_entries_of_a_graph_are_listed_once_and_keep_no_object_alive():
    net = module(a=tf.Variable([1.0], name="mine"), note=Note("text"))
    first, second = live_graph(net), live_graph(net)
    assert second.facts is first.facts
    for rows in (rows_of(first), rows_of(second)):
        by_name = {entry.name: entry for _, _, entry in rows}
        assert by_name["a"].ref is by_name["a"].handle is net.a
        assert by_name["a"].aliases == ("a", "a", "mine")
        assert by_name["note"].ref is net.note
        assert [is_variable(by_name[name]) for name in ("a", "note")] == [True, False]
    gone = weakref.ref(net.a)
    del net, first, second, rows, by_name
    gc.collect()
    assert gone() is None


def test_tensors_of_one_object_have_different_names():
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
    entries = [entry for _, _, entry in rows_of(live_graph(module(t=table)))]
    assert len({identity(entry) for entry in entries}) == len(entries) == 2
    renamed = [entry.under("another") for entry in entries]
    assert list(map(identity, renamed)) == list(map(identity, entries))


def test_a_variable_has_a_path_through_each_object_that_holds_it():
    shared = tf.Variable(1.0)
    net = module(x=module(a=shared), y=module(b=shared))
    ((_, _, entry),) = rows_of(live_graph(net))
    assert {"x/a", "y/b"} <= set(entry.aliases)


@pytest.mark.parametrize(
    ("fate", "key"),
    [
        (Fate(), "dense/w"),
        (Fate("net/w", "same name"), "net/w"),
        (Fate(alternatives=("dense/w", "dense_1/w")), "dense/w (of several)"),
        (Fate(proposal=("dense_1/w", "same order")), "dense/w (of several)"),
    ],
)
def test_the_name_of_a_variable_is_its_key_if_nothing_else_may_be(fate, key):
    entry = Entry("kernel/.ATTRIBUTES/VARIABLE_VALUE", "dense/w", TensorSpec("float32", ()))
    assert by_name(entry, fate).key == key
