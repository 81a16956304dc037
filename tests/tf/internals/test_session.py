"""A direct call of a session computes what the session computes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfpersist.tf.internals.session import direct_callable

v1 = tf.compat.v1


@pytest.fixture
def session():
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [2], name="x")
        y = v1.placeholder(tf.float32, [2], name="y")
        tf.subtract(x, y, name="difference")
        tf.add(x, y, name="sum")
    with v1.Session(graph=graph) as session:
        yield session


def test_feeds_and_fetches_are_in_their_order(session):
    compute = direct_callable(session, ["y:0", "x:0"], ["sum:0", "difference:0"])
    total, difference = compute(np.float32([1, 2]), np.float32([5, 7]))
    assert total.tolist() == [6, 9]
    assert difference.tolist() == [4, 5]


def test_a_session_without_the_private_api_has_no_callable():
    class Other:
        pass

    assert direct_callable(Other(), [], ["sum:0"]) is None


def test_a_session_of_another_process_has_no_callable(session):
    session._target = b"grpc://elsewhere"
    try:
        assert direct_callable(session, [], ["sum:0"]) is None
    finally:
        session._target = b""
