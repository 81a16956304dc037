from __future__ import annotations

import collections

import pytest
import tensorflow as tf

from tfpersist.tf.lower.structures import names_of_arguments, names_of_results

Pair = collections.namedtuple("Pair", "left right")
SPEC = tf.TensorSpec((None,))


@pytest.mark.parametrize(
    ("structure", "names"),
    [
        (1, [""]),
        ((1, [2, 3]), ["", "", ""]),
        ({"b": 1, "a": 2}, ["a", "b"]),
        ({"b": {"z": 1, "y": [2, 3]}, "a": None}, ["b_y_0", "b_y_1", "b_z"]),
        (Pair(1, (2, 3)), ["left", "right_0", "right_1"]),
        ((1, {"a": 2}), ["", "a"]),
        (({"a": 1}, {"a": 2, "b": 3}), ["0_a", "1_a", "b"]),
        ({3: 1, 12: 2}, ["3", "12"]),
    ],
)
def test_results_are_called_by_their_keys_in_the_order_of_tf_nest(structure, names):
    leaves = [leaf for leaf in tf.nest.flatten(structure) if leaf is not None]
    tensors = tf.nest.map_structure(lambda leaf: leaf and tf.constant(leaf), structure)
    assert names_of_results(tensors) == names
    assert len(names) == len(leaves)


def test_parts_of_ragged_tensors_are_numbered():
    ragged = tf.ragged.constant([[1], [2, 3]])
    assert names_of_results({"r": ragged, "t": tf.constant(1)}) == ["r_0", "r_1", "t"]


def test_arguments_are_called_by_keys_and_by_the_argument_where_these_are_not_one():
    signature = (SPEC, {"k": SPEC, "n": 3}, {"k": SPEC, "m": [SPEC]}), {"more": {"z": SPEC}}
    found = names_of_arguments(signature, ["x", "d", "e", "more"])
    assert found == ["", "d_k", "e_k", "m_0", "z"]
    assert names_of_arguments(None, []) == []
