"""Small graphs, saved for tests to open."""

from __future__ import annotations

import tensorflow as tf

import tfpersist as tfp

v1 = tf.compat.v1


def saved(location, *, values=(1.0, 2.0), resource=True, step=1, table=False, saver=True):
    """Save v1 + v2 + x; with a table, also what it knows of "a"."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [1], name="x")
        variables = [
            v1.get_variable(f"v{i + 1}", initializer=[value], use_resource=resource)
            for i, value in enumerate(values)
        ]
        tf.add(tf.add(variables[0], variables[1], name="both"), x, name="add")
        fill = []
        if table:
            words = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1, name="words")
            fill = [words.insert(["a"], [int(values[0])])]
            tf.identity(words.lookup(tf.constant("a")), name="known")
            if saver:
                v1.train.Saver()
    with v1.Session(graph=graph) as session:
        session.run([v.initializer for v in variables] + fill)
        tfp.ModelStore(location).save(session, step=step)
    return tfp.ModelStore(location)


def doubled(location, names):
    """Save constants of these names beside a variable."""
    graph = tf.Graph()
    with graph.as_default():
        v = v1.get_variable("v", initializer=1.0)
        for number, name in enumerate(names):
            tf.constant(float(number), name=name)
    store = tfp.ModelStore(location)
    with v1.Session(graph=graph) as session:
        session.run(v.initializer)
        store.save(session)
    return store


def graph_with(change):
    """Encode a MetaGraphDef of a variable and a sum after `change` has spoilt it."""
    graph = tf.Graph()
    with graph.as_default():
        v = v1.get_variable("v", initializer=[1.0, 2.0])
        tf.add(v, 1.0, name="add")
        meta = v1.train.export_meta_graph(graph=graph)
    change(meta)
    return meta.SerializeToString()
