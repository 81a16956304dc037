"""Errors of TensorFlow become one line that names the node."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfpersist.errors import FeedError, GraphError, RunError, SaveError
from tfpersist.freezer.freezer import Freezer
from tfpersist.tf.run.translate import translated

v1 = tf.compat.v1


def message_of(error, error_class=RunError):
    with pytest.raises(error_class) as caught, translated(error_class):
        raise error
    assert caught.value.__cause__ is error
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_node_and_its_op_are_named():
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, name="x")
        y = tf.reshape(x, [3], name="net/y")
        with pytest.raises(RunError, match=r"^net/y \(Reshape\): Input to reshape"), translated():
            session.run(y, {x: np.zeros(2)})


def test_a_variable_without_a_value_comes_with_advice():
    with tf.Graph().as_default(), v1.Session() as session:
        v = v1.get_variable("v", initializer=1.0)
        with pytest.raises(SaveError, match="Variables and tables get"), translated(SaveError):
            session.run(v)


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("No such op.", None, "No such op"),
        ("{{node a/b}} Bad shape\n\t [[{{node c}}]]", "a/b", "{{node a/b}} Bad shape"),
        ("Bad shape\n\t [[{{node c}}]]\n\nOriginal stack trace for 'c':\n x", "c", "Bad shape"),
        ("Node: 'c'\nBad shape", None, "Bad shape"),
        ("2 root error(s) found.\n  (0) INVALID_ARGUMENT: Bad. More", None, "Bad. More"),
        ("in user code:\n\n    File x\n\n    ValueError: not this", None, "ValueError: not this"),
        (
            "Exception encountered when calling Dense.call().\n\n\x1b[1mBad input\x1b[0m\n\nMore",
            *(None, "Bad input"),
        ),
        (
            "Graph execution error:\n\nDetected at node a defined at (most recent call last):\n"
            "<stack traces unavailable>\nassertion failed: [x]\n\t [[{{node a}}]]",
            *("a", "assertion failed: [x]"),
        ),
        ("", None, "no reason given"),
        ("x" * 600, None, "x" * 500),
    ],
)
def test_the_reason_is_cut_out_of_a_message(text, where, problem):
    error = message_of(ValueError(text), GraphError)
    assert (error.where, error.problem) == (where, problem)


@pytest.mark.parametrize("error", [RuntimeError("a"), TypeError("b"), KeyError("c")])
def test_errors_of_python_are_translated_too(error):
    message_of(error)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), OSError("disk")])
def test_other_errors_pass(error):
    with pytest.raises(type(error)), translated():
        raise error


def loop(x):
    for _ in tf.range(3):
        x = tf.reshape(x, [2, 2])[0]
    return x


def branch(x):
    if tf.reduce_sum(x) > 0:
        x = tf.gather(x, [7])
    return x


def assertion(x):
    tf.debugging.assert_less(x, 0.0, message="too large")
    return x


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (loop, "requested shape has 4"),
        (branch, r"indices\[0\] = 7 is not in"),
        (assertion, "too large"),
    ],
)
def test_the_reason_of_a_failure_in_a_function_is_kept(body, reason):
    function = tf.function(body, [tf.TensorSpec((None,), name="x")])
    model = Freezer(function).freeze()
    for call in (lambda x: model.run(model.outputs[0], {"x": x}), model.bind()):
        with pytest.raises(RunError, match=reason):
            call([1.0, 2.0, 3.0])


def test_an_error_in_a_traced_function_arrives_as_it_is():
    model = Freezer(tf.function(lambda x: x * 2.0, [tf.TensorSpec((2,), name="x")])).freeze()
    module = model.as_module()

    @tf.function
    def inner(value):
        return module(value)

    @tf.function
    def outer(value):
        if tf.reduce_sum(value) > 0:
            value = inner(value)
        return value

    with pytest.raises(FeedError, match="wrong shape"):
        outer(tf.ones([3]))
