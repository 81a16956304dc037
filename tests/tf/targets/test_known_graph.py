"""Facts about a graph are reused while the graph is unchanged, and keep nothing alive."""

import gc
import weakref

import numpy as np
import tensorflow as tf

from tfpersist.tf.targets import graph_state
from tfpersist.tf.targets.adapt import adapt
from tfpersist.tf.targets.known_graph import known_graph

v1 = tf.compat.v1


def variable(name, **options):
    return v1.get_variable(name, [2], initializer=v1.zeros_initializer(), **options)


def session_of(*names):
    graph = tf.Graph()
    with graph.as_default():
        for name in names:
            variable(name)
    session = v1.Session(graph=graph)
    with graph.as_default():
        session.run(v1.global_variables_initializer())
    return session


def names(session):
    return [entry.name for entry in adapt(session).entries() if entry.default]


def test_a_graph_is_searched_once_and_again_when_it_has_changed(monkeypatch):
    searches = []
    search = graph_state.entries_of
    monkeypatch.setattr(graph_state, "entries_of", lambda g: searches.append(g) or search(g))
    session = session_of("a", "b")
    assert (names(session), names(session), len(searches)) == (["a", "b"], ["a", "b"], 1)
    with session.graph.as_default():
        variable("c")
    assert (names(session), len(searches)) == (["a", "b", "c"], 2)


def test_a_collection_that_changes_without_a_new_operation():
    session = session_of("a")
    with session.graph.as_default():
        local = variable("local", collections=[v1.GraphKeys.LOCAL_VARIABLES])
        assert names(session) == ["a"]
        v1.add_to_collection(v1.GraphKeys.GLOBAL_VARIABLES, local)
        assert names(session) == ["a", "local"]
        del v1.get_collection_ref(v1.GraphKeys.GLOBAL_VARIABLES)[0]
        assert names(session) == ["local"]


def test_an_assignment_that_is_added_is_found():
    session = session_of("a")
    (entry,) = known_graph(session).entries
    before = known_graph(session).writes_of(entry)
    assert known_graph(session).writes_of(entry.under("other")) is before
    with session.graph.as_default():
        v1.train.Saver()
    assert len(known_graph(session).writes_of(entry)) == len(before) + 1


def test_values_are_assigned_by_one_callable_until_others_are_assigned():
    session = session_of("a", "b")
    target = adapt(session)
    first, second = target.entries()
    for entries in ([first, second], [second], [first, second], [first]):
        values = [np.random.rand(2).astype(np.float32) for _ in entries]
        target.assign(list(zip(entries, values, strict=True)))
        for read, value in zip(target.read(entries), values, strict=True):
            np.testing.assert_array_equal(read, value)


def test_neither_session_nor_graph_is_kept_alive():
    session = session_of("a")
    (entry,) = known_graph(session).entries
    adapt(session).assign([(entry, np.ones(2, np.float32))])
    graph, living = weakref.ref(session.graph), weakref.ref(session)
    del entry
    session.close()
    del session
    gc.collect()
    assert (living(), graph()) == (None, None)
