from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfpersist.tf.lower.values import as_array, node_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [("dense/kernel", "dense/kernel"), ("a b:0", "a_b_0"), ("é", "_"), ("x.y-z>w", "x.y-z>w")],
)
def test_a_node_gets_a_name_that_a_graph_accepts(name, expected):
    assert node_name(name) == expected
    with tf.Graph().as_default():
        assert tf.constant(1, name=f"n{node_name(name)}").op.name == f"n{expected}"


def test_strings_become_objects_of_the_same_shape():
    assert as_array(b"abc", "string").shape == ()
    array = as_array(np.array([[b"a", b""]], object), "string")
    assert array.dtype == object
    assert array.tolist() == [[b"a", b""]]


def test_a_quantized_array_becomes_its_plain_integers():
    quantized = np.zeros(3, tf.qint8.as_numpy_dtype)
    assert as_array(quantized, "qint8").dtype == np.int8


def test_an_array_becomes_contiguous_and_a_scalar_stays_one():
    array = as_array(np.arange(6).reshape(2, 3).T, "int64")
    assert array.flags.c_contiguous
    assert array.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert as_array(np.float32(2), "float32").shape == ()
