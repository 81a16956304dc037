"""Each step by itself: what it makes, which tensors it refuses, and whether it can be undone."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tfpersist.errors import SelectionError
from tfpersist.formats.tensors import TensorSpec, spec_of
from tfpersist.matching.recipes.recipe_steps import (
    KINDS,
    AddToBlock,
    Cast,
    Concat,
    Pad,
    Reorder,
    Reshape,
    Slice,
    Stack,
    Sum,
    Transpose,
)

SQUARE = np.arange(6, dtype=np.float32).reshape(2, 3)
STRINGS = np.array([b"a", b"b"], object)


@pytest.mark.parametrize(
    ("step", "value"),
    [
        (Slice(1, 1), [[1, 2], [4, 5]]),
        (Slice(1, -1), [[2], [5]]),
        (Slice(1, 0, -1), [[0, 1], [3, 4]]),
        (Slice(0, 1, 1), np.zeros((0, 3))),
        (Pad(1, 1, 0), [[0, 0, 1, 2], [0, 3, 4, 5]]),
        (Reorder(1, (2, 0, 1)), [[2, 0, 1], [5, 3, 4]]),
        (Transpose((1, 0)), [[0, 3], [1, 4], [2, 5]]),
        (Reshape((3, 2)), [[0, 1], [2, 3], [4, 5]]),
        (Cast("float16"), SQUARE),
        (AddToBlock(1, 3, 1, -1.0), [[0, 0, 2], [3, 3, 5]]),
        (AddToBlock(0, 2, 1, 10), [[0, 1, 2], [13, 14, 15]]),
        (Sum(0), [3, 5, 7]),
        (Sum(1), [3, 12]),
    ],
)
def test_it_makes_the_value(step, value):
    made = step.apply(SQUARE)
    np.testing.assert_array_equal(made, value)
    assert step.spec(spec_of(SQUARE)) == spec_of(made)


def test_tensors_are_joined():
    np.testing.assert_array_equal(Concat(1).apply([SQUARE, SQUARE[:, :1]])[0], [0, 1, 2, 0])
    np.testing.assert_array_equal(Stack(2).apply([SQUARE, -SQUARE])[1, 2], [5, -5])


@pytest.mark.parametrize(
    ("step", "array", "words"),
    [
        (Slice(1, 1, 4), SQUARE, "outside of axis 1; expected a part of 0:3"),
        (Slice(1, 2, 1), SQUARE, "outside of axis 1"),
        (Slice(1, -4), SQUARE, "outside of axis 1"),
        (Slice(2, 0), SQUARE, r"no such axis; expected more than 2 axes, got float32\[2,3\]"),
        (Reorder(1, (1, 0)), SQUARE, "axis 1 has no equal blocks; expected a multiple of 2, got 3"),
        (Transpose((0,)), SQUARE, "another rank; expected 1 axes"),
        (
            Reshape((2, 2)),
            SQUARE,
            r"number of elements differs; expected as many as float32\[2,2\]",
        ),
        (AddToBlock(1, 2, 0, 1.0), SQUARE, "no equal blocks"),
        (AddToBlock(0, 2, 0, 1.0), STRINGS, "cannot be computed with; expected a float type"),
        (Sum(0), STRINGS, "cannot be computed with"),
        (Sum(2), SQUARE, "no such axis"),
        (Pad(0, 1, 0), STRINGS, "cannot be computed with"),
        (Cast("float32"), STRINGS, "cannot be computed with"),
        (Cast("float32"), np.zeros(2, np.int32), "cannot be computed with"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(step, array, words):
    with pytest.raises(SelectionError, match=words):
        step.spec(spec_of(array))


def test_tensors_that_do_not_fit_together_are_refused():
    specs = [TensorSpec("float32", (2, 3)), TensorSpec("float32", (2, 4))]
    assert Concat(1).spec(specs) == TensorSpec("float32", (2, 7))
    for step in (Concat(0), Stack(0)):
        with pytest.raises(SelectionError, match="do not fit together"):
            step.spec(specs)
    with pytest.raises(SelectionError, match="do not fit together"):
        Concat(1).spec([specs[0], TensorSpec("float16", (2, 4))])
    with pytest.raises(SelectionError, match="cannot have such an axis"):
        Stack(3).spec(specs[:1])


def test_strings_are_moved_too():
    assert Reorder(0, (1, 0)).apply(STRINGS).tolist() == [b"b", b"a"]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_each_float_type_keeps_its_type(dtype):
    array = SQUARE.astype(dtype)
    for step in (AddToBlock(1, 3, 0, 0.1), Sum(0), Pad(0, 0, 1), Reorder(1, (1, 0, 2))):
        assert step.apply(array).dtype == dtype


def test_a_cast_is_undone_only_if_no_value_was_lost():
    for narrow, wide in (("float16", "float32"), ("bfloat16", "float32"), ("float32", "float64")):
        assert Cast(wide).inverse(TensorSpec(narrow, ())) == Cast(narrow)
        assert Cast(narrow).inverse(TensorSpec(wide, ())) is None
    assert Cast("float16").inverse(TensorSpec("bfloat16", ())) is None
    assert Cast("float16").inverse(TensorSpec("float16", ())) == Cast("float16")


def test_what_loses_elements_is_not_undone():
    spec = spec_of(SQUARE)
    assert Slice(0, 0).inverse(spec) == Slice(0, 0)
    assert Slice(0, 1).inverse(spec) is None
    assert Sum(0).inverse(spec) is None
    assert Sum(0).inverse(TensorSpec("float32", (1, 3))) == Reshape((1, 3))


def test_the_table_has_each_step_by_its_name():
    assert {name: kind.name for name, kind in KINDS.items()} == {name: name for name in KINDS}
