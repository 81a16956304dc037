"""Work is done in eager mode, or outside of a trace, from any mode."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tfpersist.tf.targets.modes import eagerly, is_tracing, untraced


def test_work_is_eager_though_a_graph_is_the_default():
    assert eagerly(tf.executing_eagerly)
    with tf.Graph().as_default():
        assert not tf.executing_eagerly()
        assert eagerly(tf.executing_eagerly)
        assert eagerly(lambda: tf.constant(3).numpy()) == 3


def test_an_error_of_the_work_is_raised():
    def fail():
        raise KeyError("mine")

    with tf.Graph().as_default():
        for call in (eagerly, untraced):
            with pytest.raises(KeyError, match="mine"):
                call(fail)


def test_work_leaves_a_trace():
    seen = []

    @tf.function
    def traced():
        seen.append(is_tracing())
        seen.append(untraced(tf.executing_eagerly))
        with tf.init_scope():
            seen.append(is_tracing())

    traced()
    assert seen == [True, True, False]
    assert not is_tracing()
    with tf.Graph().as_default():
        assert not is_tracing()
        assert not untraced(tf.executing_eagerly)


def test_a_process_without_tensorflow_traces_nothing(fresh):
    code = """
        import sys
        from tfpersist.tf.targets.modes import is_tracing, untraced
        print(is_tracing(), untraced(lambda: 7), "tensorflow" in sys.modules)
    """
    assert fresh(code).split() == ["False", "7", "False"]
