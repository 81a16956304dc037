"""The variables and tables of a graph, and the operations that read and assign them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from session_graphs import (
    RESOURCE,
    initialize,
)

import tfpersist as tfp

v1 = tf.compat.v1


@RESOURCE
def test_a_partitioned_variable_goes_by_any_name(tmp_path, resource):
    graph = tf.Graph()
    with graph.as_default():
        whole = v1.get_variable(
            "p", [6, 2], partitioner=v1.fixed_size_partitioner(2), use_resource=resource
        )
        store = tfp.ModelStore(tmp_path / "ours")
        with v1.Session(graph=graph) as session:
            initialize(session)
            expected = np.concatenate(session.run(list(whole)))
            v1.train.Saver({"x": whole}).save(session, str(tmp_path / "theirs"))
            for choice in ({"x": whole}, {"x": list(whole)}, {"x": "p"}):
                saved = store.only(choice).save(session)
                assert set(saved) == {"x"}
                assert saved["x"].tolist() == expected.tolist()
                assert not saved.diff(tfp.Checkpoint(tmp_path / "theirs")).changed
            assert set(store.only([whole]).save(session)) == {"p"}
            tfp.ModelStore(tmp_path, name="theirs").rename({"x": whole}).restore(session)
            assert np.concatenate(session.run(list(whole))).tolist() == expected.tolist()
        other = v1.get_variable("q", initializer=expected, use_resource=resource)
        with v1.Session(graph=graph) as session:
            tfp.ModelStore(tmp_path, name="theirs").only({"x": other}).restore(session)
            assert session.run(other).tolist() == expected.tolist()


def test_a_local_variable_is_taken_when_it_is_named():
    store = tfp.ModelStore("memory://session/local")
    graph = tf.Graph()
    with graph.as_default():
        v1.get_variable("w", initializer=[1.0])
        local = v1.get_variable("seen", initializer=[2.0], collections=["local_variables"])
        free = v1.get_variable("free", initializer=[3.0], collections=["mine"])
    with v1.Session(graph=graph) as session:
        initialize(session)
        session.run([local.initializer, free.initializer])
        assert set(store.save(session)) == {"w"}
        assert set(store.only([local, free]).save(session)) == {"seen", "free"}
