"""Sizes as text: what shapes tell of them, and what they make of a step."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tfpersist.matching.forms.form_sizes import filled, size_of, solved

SIZES = st.integers(1, 9)


@given(SIZES, SIZES)
def test_the_shapes_of_a_cell_tell_its_inputs_and_units(inputs, units):
    shapes = [("i+u,4u", (inputs + units, 4 * units)), ("4u", (4 * units,))]
    assert solved(shapes) == {"i": inputs, "u": units}
    assert solved(reversed(shapes)) == {"i": inputs, "u": units}


@given(SIZES, SIZES, SIZES)
def test_a_product_is_solved_where_one_letter_is_left(rows, heads, size):
    shapes = [("d,hk", (rows, heads * size)), ("h,k", (heads, size))]
    assert solved(shapes) == {"d": rows, "h": heads, "k": size}


@pytest.mark.parametrize(
    "shapes",
    [
        [("4u", (6,))],
        [("a,b", (2, 3)), ("b,a", (2, 3))],
        [("a,b", (2,))],
        [("i+u,u", (3, 3))],
        [("2,u", (3, 1))],
        [("u", (0,))],
    ],
)
def test_a_shape_that_contradicts_is_no_such_form(shapes):
    assert solved(shapes) is None


def test_what_no_shape_tells_stays_unknown():
    assert solved([("hk", (6,))]) == {}
    assert solved([("hk", (6,))], {"h": 2}) == {"h": 2, "k": 3}


def test_sizes_stand_in_arguments_of_steps():
    sizes = {"i": 5, "u": 3, "h": 2}
    assert filled(("i", 4, "2hu+1"), sizes) == (5, 4, 13)
    assert filled(1.0, sizes) == 1.0
    assert size_of("-2u", sizes) == -6
