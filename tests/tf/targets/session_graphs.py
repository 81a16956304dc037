"""Graphs of variables and tables for tests of sessions."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import tensorflow as tf

v1 = tf.compat.v1


RESOURCE = pytest.mark.parametrize("resource", [True, False], ids=["resource", "ref"])


@contextlib.contextmanager
def unchanged(graph):
    """No op is added in the block, and no op is needed: the graph is finalized."""
    version = graph.version
    if not graph.finalized:
        graph.finalize()
    yield
    assert graph.version == version


def rich_graph(resource, value=1.0):
    """Variables of many kinds, two of them partitioned: by rows and by columns."""
    graph = tf.Graph()
    with graph.as_default():
        v1.disable_resource_variables() if not resource else v1.enable_resource_variables()

        def make(name, array, **how):
            return v1.get_variable(name, initializer=array, use_resource=resource, **how)

        make("net/w", np.full((4, 2), value, np.float32))
        make("net/b", np.full(2, value, np.float16))
        make("flag", np.array([True, False, value > 1]))
        make("text", np.array([b"a", b"\0b", str(value).encode()], object))
        make("count", np.int64(value))
        make("empty", np.zeros((0, 3), np.float64))
        make("phase", np.complex64(value + 2j))
        for name, axis in (("rows", 0), ("columns", 1)):
            v1.get_variable(
                name,
                shape=(10, 7),
                initializer=v1.random_uniform_initializer(seed=int(value)),
                partitioner=v1.fixed_size_partitioner(3, axis=axis),
                use_resource=resource,
            )
        v1.enable_resource_variables()
    return graph


def values_of(session):
    """All variables of a session, by name."""
    with session.graph.as_default():
        variables = v1.global_variables()
    return dict(zip([v.op.name for v in variables], session.run(variables), strict=True))


def initialize(session):
    for variable in session.graph.get_collection("variables"):
        session.run(variable.initializer)


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name in first:
        one, other = np.asarray(first[name]), np.asarray(second[name])
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes() if one.dtype != object else (one == other).all()


def table_graph(saver):
    graph = tf.Graph()
    with graph.as_default():
        v1.get_variable("w", initializer=[1.0])
        table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1, name="words")
        fill = table.insert(["a", "b"], [1, 2])
        found = table.lookup(tf.constant(["a", "b", "c"]))
        if saver:
            v1.train.Saver()
    return graph, fill, found


def two_variables(first, second):
    graph = tf.Graph()
    with graph.as_default():
        one = v1.get_variable(first, initializer=[1.0])
        two = v1.get_variable(second, initializer=[2.0])
    return graph, one, two
