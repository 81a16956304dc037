"""A session becomes a graph whose values are fetched when they are needed."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.errors import FreezeError
from tfpersist.freezer.freezer import Freezer


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_small_variables_are_fetched_together():
    with tf.Graph().as_default() as graph:
        parts = [v1.get_variable(f"v{i}", initializer=float(i)) for i in range(20)]
        big = v1.get_variable("big", initializer=tf.zeros((600, 600)))
        tf.add(tf.add_n(parts), tf.reduce_sum(big), name="y")
        init = v1.global_variables_initializer()
    runs = []

    class Counting(v1.Session):
        def run(self, *arguments, **facts):
            runs.append(arguments)
            return super().run(*arguments, **facts)

    with Counting(graph=graph) as session:
        session.run(init)
        runs.clear()
        model = Freezer(session).outputs("y").freeze()
    assert len(runs) == 2
    assert model.run("y:0") == sum(range(20))


def test_one_variable_without_a_value_is_the_one_that_is_named():
    with tf.Graph().as_default() as graph:
        parts = [v1.get_variable(f"v{i}", initializer=float(i)) for i in range(5)]
        tf.add_n(parts, name="y")
    with v1.Session(graph=graph) as session:
        session.run([v.initializer for v in parts if v.op.name != "v3"])
        with pytest.raises(FreezeError, match="variable v3: the variable has no value yet"):
            Freezer(session).outputs("y").freeze()


def test_an_unknown_shape_is_read_from_the_session():
    for resource in (True, False):
        with tf.Graph().as_default() as graph:
            start = v1.placeholder_with_default(weights(3, 2), (None, 2))
            v = v1.get_variable("v", initializer=start, validate_shape=False, use_resource=resource)
            tf.identity(v, name="y")
        with v1.Session(graph=graph) as session:
            session.run(v.initializer)
            model = Freezer(session).outputs("y").freeze()
            np.testing.assert_array_equal(model.run("y:0"), weights(3, 2))


def test_a_variable_that_no_operation_reads():
    with tf.Graph().as_default() as graph:
        handle = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=(2,), shared_name="v")
        tf.raw_ops.ResourceGather(resource=handle, indices=[1], dtype=tf.float32, name="y")
    problem = "no operation of the graph reads this variable"
    with v1.Session(graph=graph) as session, pytest.raises(FreezeError, match=problem):
        Freezer(session).outputs("y").freeze()
