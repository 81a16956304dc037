"""Eager variables get values that are theirs alone, one by one or a hundred at once."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import CorruptionError
from tfpersist.tf.targets import eager

TYPES = ["float32", "float64", "int32", "int64", "uint8", "bool", "complex64", "bfloat16"]


def filled(count, seed):
    """Make a module of small variables of all types and shapes, and a few large ones."""
    generator = np.random.default_rng(seed)
    made = tf.Module()
    made.held = []
    for number in range(count):
        dtype = ml_dtypes.bfloat16 if number % 50 == 7 else TYPES[number % 3 * (number % 2)]
        shape = ((), (3,), (2, 5), (0,), (17, 3))[number % 5]
        made.held.append(tf.Variable(generator.integers(0, 2, shape).astype(dtype)))
    for size in (5_000, 300_001, 600_000):
        made.held.append(tf.Variable(generator.random(size, np.float32)))
    return made


def values_of(module):
    return [variable.numpy() for variable in module.held]


def equal(these, those):
    return all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(these, those, strict=True)
    )


@pytest.mark.parametrize("count", [30, 3_000])
def test_each_variable_gets_its_own_value_and_no_other(tmp_path, count):
    store = tfp.ModelStore(tmp_path)
    saved, other = filled(count, 1), filled(count, 2)
    checkpoint = store.save(saved)
    before = [variable.read_value() for variable in other.held]
    then = [value.numpy().copy() for value in before]
    report = store.restore(other)
    assert len(report.restored) == count + 3
    assert equal(values_of(other), values_of(saved))
    # What somebody has read before does not change with a restore.
    assert equal([value.numpy() for value in before], then)
    # Variables that are updated in place change neither each other nor the mapped file.
    expected = values_of(saved)
    for number, variable in enumerate(other.held):
        if variable.dtype.is_floating and number % 2 == 0:
            variable.assign_add(tf.ones(variable.shape, variable.dtype))
            expected[number] = expected[number] + np.ones((), expected[number].dtype)
    assert equal(values_of(other), expected)
    assert checkpoint.verify().ok
    store.restore(other)
    assert equal(values_of(other), values_of(saved))


def test_scatters_and_slices_stay_inside_of_their_variable(tmp_path):
    store = tfp.ModelStore(tmp_path)
    saved, other = tf.Module(), tf.Module()
    saved.held = [tf.Variable(np.full((8, 4), n, np.float32)) for n in range(2_500)]
    other.held = [tf.Variable(np.zeros((8, 4), np.float32)) for _ in range(2_500)]
    checkpoint = store.save(saved)
    store.restore(other)
    for variable in other.held[::3]:
        variable.scatter_update(tf.IndexedSlices(tf.fill((1, 4), -1.0), [7]))
        variable[0].assign(tf.fill((4,), -2.0))
    for number, value in enumerate(values_of(other)):
        expected = np.full((8, 4), number, np.float32)
        if number % 3 == 0:
            expected[7], expected[0] = -1, -2
        assert np.array_equal(value, expected)
    assert checkpoint.verify().ok


def test_nothing_is_assigned_if_one_of_many_is_damaged(tmp_path):
    store = tfp.ModelStore(tmp_path)
    saved, other = filled(2_500, 3), filled(2_500, 4)
    checkpoint = store.save(saved)
    (shard,) = tmp_path.glob("*.data-*")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    before = values_of(other)
    with pytest.raises(CorruptionError):
        store.restore(other)
    assert equal(values_of(other), before)
    assert checkpoint.name == "model.ckpt"


def test_copies_do_not_overlap():
    copies = eager._SmallCopies()
    values = [np.full(size, size, np.float32) for size in range(1, 400)]
    arrays = [copies.copy(value) for value in values]
    ends = sorted((c.__array_interface__["data"][0], c.nbytes) for c in arrays)
    assert all(a + size <= b for (a, size), (b, _) in itertools.pairwise(ends))
    assert equal(arrays, values)
