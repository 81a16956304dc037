"""The cases of the table of what can be frozen, and one more, for runtimes to be swept with."""

from __future__ import annotations

import casebook
import function_cases
import graph_cases
import numpy as np
import state_cases
import tensorflow as tf

assert function_cases, graph_cases
assert state_cases


def diagonals():
    """Models that are written with older ops than TensorFlow writes."""

    def net(x):
        square = tf.linalg.set_diag(tf.linalg.diag(x, k=1)[:3, :3], x * 2.0)
        many = tf.linalg.diag_part(square, k=(-1, 1), align="LEFT_LEFT")
        return tf.linalg.diag_part(square, k=-1), tf.linalg.diag_part(square), many, square

    return casebook.of_function(
        tf.function(net, input_signature=[tf.TensorSpec([3])]), np.array([1, 2, 3], np.float32)
    )


def build():
    """Return the cases that are not refused, by name."""
    every = {name: make() for name, make in casebook.CASES.items()}
    every["diagonals"] = diagonals()
    return {name: case for name, case in every.items() if case.expected is not None}
