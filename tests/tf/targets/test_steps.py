"""A training step is a number, a variable or a tensor."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from session_graphs import (
    unchanged,
)

import tfpersist as tfp
from tfpersist.errors import TargetError
from tfpersist.tf.targets.adapt import adapt
from tfpersist.tf.targets.steps import counted_by, step_of

v1 = tf.compat.v1


def test_the_step_may_be_a_variable_or_a_tensor():
    store = tfp.ModelStore("memory://session/step")
    graph = tf.Graph()
    with graph.as_default():
        ref = v1.get_variable("step", initializer=np.int64(11), use_resource=False)
        later = ref + 1
    eager = tf.Variable(13)
    with v1.Session(graph=graph) as session, unchanged(graph):
        session.run(ref.initializer)
        assert store.save(session, step=ref).step == 11
        assert store.save(session, step=later).step == 12
        assert store.save(session, step=eager).step == 13
        with pytest.raises(TargetError, match="not a whole number"):
            store.save(session, step=1.5)


@pytest.mark.parametrize("step", [7, np.int64(7), np.array(7), tf.Variable(7), tf.constant(7)])
def test_a_step_is_a_number(step):
    assert step_of(step) == 7
    with tf.Graph().as_default():
        assert step_of(step) == 7


@pytest.mark.parametrize("step", [True, 1.0, "7", None, [7], np.arange(2), tf.constant(7.0)])
def test_another_step_is_refused(step):
    with pytest.raises(TargetError, match="the step is not a whole number; expected an int"):
        step_of(step)


def test_a_negative_step_is_refused_and_zero_is_not():
    assert step_of(0) == 0
    with pytest.raises(TargetError, match="expected 0 or more, got -1"):
        step_of(-1)


def test_a_step_of_a_graph_needs_a_target_with_a_session():
    with tf.Graph().as_default() as graph:
        counter = v1.train.get_or_create_global_step()
    for target in (None, adapt({"a": np.zeros(1)}), adapt(tf.Module())):
        with pytest.raises(TargetError, match="not a whole number"):
            step_of(counter, target)
    with v1.Session(graph=graph) as session:
        with pytest.raises(TargetError, match="Variables and tables get"):
            step_of(counter, adapt(session))
        session.run(counter.initializer)
        assert step_of(counter, adapt(session)) == 0


def test_the_step_of_a_graph_is_counted():
    with tf.Graph().as_default() as graph:
        counter = v1.train.get_or_create_global_step()
    with v1.Session(graph=graph) as session:
        session.run(v1.assign(counter, 5))
        assert counted_by(adapt(session)) == 5
    with v1.Session(graph=tf.Graph()) as session:
        assert counted_by(adapt(session)) is None
    assert counted_by(adapt(tf.Module())) is None
