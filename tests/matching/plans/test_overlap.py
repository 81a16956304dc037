"""A tensor over a value of another shape, and over a part of one."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from tfpersist.formats.tensors import Slice
from tfpersist.matching.plans.overlap import overlaid

SHAPES = st.integers(0, 3).flatmap(
    lambda rank: st.tuples(*[st.lists(st.integers(0, 4), min_size=rank, max_size=rank)] * 2)
)


@given(SHAPES)
def test_every_element_in_both_shapes_is_taken_and_no_other(shapes):
    mine, theirs = shapes
    present = np.full(mine, -1)
    tensor = np.arange(np.prod(theirs, dtype=int)).reshape(theirs)
    value = overlaid(present, tensor)
    assert (present == -1).all()
    for at in np.ndindex(*mine):
        inside = all(place < size for place, size in zip(at, theirs, strict=True))
        assert value[at] == (tensor[at] if inside else -1)


def test_a_part_takes_what_reaches_into_it():
    tensor = np.arange(5)
    parts = [Slice("w", (8,), (start,), (3,)) for start in (0, 3, 5)]
    parts.append(Slice("w", (10,), (7,), (3,)))
    values = [overlaid(np.full(3, 9), tensor, part).tolist() for part in parts]
    assert values == [[0, 1, 2], [3, 4, 9], [9, 9, 9], [9, 9, 9]]
