"""Keys and assembly of the parts of partitioned variables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import CorruptionError
from tfpersist.formats import slices, tensors

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


@given(st.lists(st.tuples(INT64, INT64), max_size=3), st.lists(st.tuples(INT64, INT64), max_size=3))
def test_keys_of_one_variable_sort_as_their_slices(one, other):
    keys = [slices.part_key(b"v", extents) for extents in (one, other)]
    assert (keys[0] < keys[1]) == ((len(one), one) < (len(other), other))


@given(st.binary(max_size=5), st.binary(max_size=5))
def test_keys_sort_as_the_names_of_the_variables(one, other):
    assert (slices.part_key(one, []) < slices.part_key(other, [])) == (one < other)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (0, "80"),
        (-1, "7f"),
        (63, "bf"),
        (64, "c040"),
        (-64, "40"),
        (-65, "3fbf"),
        (0x424242, "f0424242"),
        (-0x800, "3800"),
        ((1 << 63) - 1, "ffc07fffffffffffffff"),
        (-(1 << 63), "003f8000000000000000"),
    ],
)
def test_signed_numbers(number, code):
    """Two of these are the examples in TensorFlow's description of the code."""
    assert slices.part_key(b"", [(number, 0)])[5:-1].hex() == code


def part(start, length, full=(4,)):
    return tensors.Slice("v", full, start, length)


def assembled(*parts, full=(4,)):
    spec = tensors.TensorSpec("float32", full)
    places = [place for place, _ in parts]
    slices.check_cover("v", full, places, file="f", offset=3)
    elements = [elements for _, elements in parts]
    return slices.assemble(spec, places, elements, file="f", offset=3)


def test_parts_make_up_the_whole():
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    cuts = [((0, 0), (2, 3)), ((2, 0), (1, 3)), ((0, 3), (3, 1))]
    parts = [
        (part(start, length, (3, 4)), whole[start[0] :, start[1] :][: length[0], : length[1]])
        for start, length in cuts
    ]
    assert np.array_equal(assembled(*parts, full=(3, 4)), whole)


@pytest.mark.parametrize(
    "cuts", [[(0, 3)], [(0, 3), (3, 2)], [(0, 2), (1, 2)], [(0, 4), (0, 4)], [(1, 2), (1, 2)]]
)
def test_holes_and_overlaps_are_refused(cuts):
    parts = [(part((start,), (size,)), np.zeros(size, np.float32)) for start, size in cuts]
    with pytest.raises(CorruptionError) as caught:
        assembled(*parts)
    assert (caught.value.file, caught.value.offset) == ("f", 3)


@pytest.mark.parametrize(
    ("extents", "starts", "lengths"),
    [
        ([(0, 3), (0, slices.WHOLE)], (0, 0), (3, 4)),
        ([(2, 1), (3, 1)], (2, 3), (1, 1)),
        ([(3, 0), (0, 0)], (3, 0), (0, 0)),
        ([(0, slices.WHOLE)] * 2, (0, 0), (3, 4)),
    ],
)
def test_a_part_inside_the_variable(extents, starts, lengths):
    resolved = slices.resolve("v", (3, 4), extents, file="f", offset=3)
    assert resolved == part(starts, lengths, (3, 4))


@pytest.mark.parametrize(
    "extents",
    [
        [(-1, 2), (0, 4)],
        [(0, -2), (0, 4)],
        [(2, 2), (0, 4)],
        [(0, 3), (1, slices.WHOLE)],
        [(0, 3)],
        [(0, 3), (0, 4), (0, 1)],
    ],
)
def test_a_part_outside_of_the_variable_is_refused(extents):
    with pytest.raises(CorruptionError, match="is not inside the variable") as caught:
        slices.resolve("v", (3, 4), extents, file="f", offset=3)
    assert (caught.value.file, caught.value.offset) == ("f", 3)


def test_an_empty_variable_in_empty_parts():
    parts = [
        (part((0, 0), (0, 2), (0, 4)), np.zeros((0, 2))),
        (part((0, 2), (0, 2), (0, 4)), np.zeros((0, 2))),
    ]
    assert assembled(*parts, full=(0, 4)).shape == (0, 4)
