"""Losses of casts."""

from __future__ import annotations

import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from tfpersist.matching.plans import loss as loss_module
from tfpersist.matching.plans.loss import Loss, loss_of
from tfpersist.matching.recipes.recipe_steps import Cast


def cast(values, found, wanted):
    before = np.asarray(values, found)
    return loss_of("w", before, Cast(wanted).apply(before))


def test_a_wider_type_loses_nothing():
    for narrow in (np.float16, ml_dtypes.bfloat16, np.float32):
        loss = cast([0.1, np.nan, np.inf, -0.0], narrow, "float64")
        assert loss.is_exact
        assert str(loss).endswith(" to float64: no loss")


def test_errors_are_the_largest():
    loss = cast([1.0, 1.0 + 2**-12, 1000.25], np.float32, "float16")
    assert (loss.absolute, loss.relative) == (0.25, pytest.approx(0.25 / 1000.25))
    assert (loss.overflows, loss.underflows, loss.is_exact) == (0, 0, False)


def test_what_became_infinite_or_zero_is_counted():
    loss = cast([1e6, -1e6, np.inf, np.nan, 1e-9, 0.0], np.float32, "float16")
    assert (loss.overflows, loss.underflows) == (2, 1)
    assert (loss.absolute, loss.relative) == (pytest.approx(1e-9), 1.0)
    assert str(loss) == (
        "w: float32 to float16: largest error 1e-09, relative 1; 2 elements became infinite; 1"
        " element became 0"
    )


def test_bfloat16_keeps_the_range_of_float32():
    loss = cast([1e30, 1.0 + 2**-9], np.float32, "bfloat16")
    assert (loss.wanted, loss.overflows) == ("bfloat16", 0)
    assert 0 < loss.relative <= 2**-8


def test_a_tensor_without_elements_loses_nothing():
    assert cast(np.zeros((0, 2)), np.float64, "float16").is_exact


@given(
    arrays.arrays(np.float64, st.integers(0, 12), elements=st.floats(width=64)), st.integers(1, 5)
)
def test_parts_say_the_same_as_the_whole(values, size):
    whole = cast(values, np.float64, "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_module, "_PART", size)
        assert cast(values, np.float64, "float32") == whole


def test_an_exact_cast_says_so():
    assert str(Loss("w", "float16", "float32")) == "w: float16 to float32: no loss"
