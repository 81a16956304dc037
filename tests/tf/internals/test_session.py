"""A direct call of a session computes what the session computes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfpersist.tf.internals.session import direct_callable, kept_callable

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


def test_a_kept_callable_is_made_once_for_the_same_names(session):
    feeds = ["x:0", "y:0"]
    kept = kept_callable(session, ["sum:0"], feeds)
    assert kept_callable(session, ["sum:0"], feeds) is kept
    assert kept_callable(session, ["difference:0"], feeds) is not kept
    with session.graph.as_default():
        tf.constant(1.0, name="one")
    one = kept_callable(session, ["one:0"])
    kept = kept_callable(session, ["sum:0"], feeds)
    # One that is fed and one that is not are kept side by side.
    assert kept_callable(session, ["one:0"]) is one
    assert kept_callable(session, ["sum:0"], feeds) is kept
    assert kept(np.float32([1, 2]), np.float32([5, 7]))[0].tolist() == [6, 9]


def test_a_callable_that_outlives_its_session_has_nothing_to_release():
    """At the end of a process it may still have its handle after the session is gone."""
    with tf.Graph().as_default():
        tf.constant(1.0, name="one")
        session = v1.Session()
    kept = kept_callable(session, ["one:0"])
    handle = kept._handle
    session.close()
    del session
    kept._handle = handle
    assert kept._session._session is None
    kept.__del__()
    kept._handle = None


def test_a_closed_session_computes_nothing():
    with tf.Graph().as_default():
        tf.constant(1.0, name="one")
        session = v1.Session()
    kept = kept_callable(session, ["one:0"])
    session.close()
    with pytest.raises((RuntimeError, tf.errors.OpError), match="closed"):
        kept()
