"""Values of eager variables are views; many are read and assigned at once."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfpersist.tf.internals.eager import GROUP, assign_together, read_together, view


def test_a_view_shares_the_memory_of_a_variable_and_outlives_its_changes():
    variable = tf.Variable(np.arange(1000, dtype=np.float32))
    first, second = (
        view(tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=tf.float32))
        for _ in range(2)
    )
    assert np.shares_memory(first, second)
    assert not first.flags.writeable
    variable.assign_add(tf.ones(1000))
    np.testing.assert_array_equal(first, np.arange(1000, dtype=np.float32))


@pytest.mark.parametrize("shape", [(), (2,), (0, 3)])
def test_a_view_of_strings_is_an_array_of_bytes(shape):
    found = view(tf.fill(shape, b"x\0y"))
    assert found.dtype == object
    assert found.tolist() == np.full(shape, b"x\0y", object).tolist()


def test_variables_are_read_together_in_their_order():
    variables = [tf.Variable(np.full(3, i, np.float32)) for i in range(600)]
    values = read_together(variables)
    assert [value[0] for value in values] == list(range(600))
    assert not values[0].flags.writeable


def test_variables_of_several_types_are_read_together():
    variables = [tf.Variable(b"a"), tf.Variable(3, dtype=tf.bfloat16), tf.Variable([True])]
    values = read_together(variables)
    assert [value.tolist() for value in values] == [b"a", 3.0, [True]]


def test_nothing_is_read_if_a_variable_has_no_value():
    empty = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[2], shared_name="without_value")

    class Uninitialized:
        handle, dtype = empty, tf.float32

    assert read_together([tf.Variable(1.0), Uninitialized()]) is None


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
def test_a_group_is_assigned(dtype):
    variables = [tf.Variable(np.zeros(2, dtype)) for _ in range(GROUP)]
    values = [np.full(2, number, dtype) for number in range(GROUP)]
    assert assign_together([variable.handle for variable in variables], values)
    assert [variable.numpy().tolist() for variable in variables] == [[n, n] for n in range(GROUP)]


def test_a_variable_that_occurs_twice_is_not_assigned():
    variable = tf.Variable([0.0])
    values = [np.ones(1, np.float32), np.zeros(1, np.float32)]
    assert not assign_together([variable.handle, variable.handle], values)
    assert variable.numpy() == 0


def test_the_eager_context_starts_with_the_first_operation(fresh):
    out = fresh(
        """
        from tfpersist.tf.internals.eager import has_context
        import sys
        print(has_context(), "tensorflow" in sys.modules)
        import tensorflow as tf
        print(has_context())
        tf.constant(1)
        print(has_context())
        """
    )
    assert out.splitlines() == ["False False", "False", "True"]
