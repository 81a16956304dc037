"""Rows that are joined by columns are what joining string by string gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.formats import byte_columns, varint
from tfpersist.formats.byte_columns import (
    Choices,
    Ends,
    Field,
    Fixed32,
    Strings,
    Varints,
    join_rows,
    varint_sizes,
)

NUMBERS = st.one_of(
    st.integers(0, 300), st.integers(0, (1 << 55) - 1), st.sampled_from([127, 128, 16383, 16384])
)


def numbers(values):
    return np.array(values, np.int64)


@st.composite
def tables(draw):
    """Draw columns, and for each the strings that it stands for."""
    count = draw(st.integers(1, 9))

    def rows(element):
        return draw(st.lists(element, min_size=count, max_size=count))

    strings = rows(st.binary(max_size=20))
    skipped = [draw(st.integers(0, len(string))) for string in strings]
    few = draw(st.lists(st.binary(max_size=5), min_size=1, max_size=3))
    chosen = rows(st.integers(0, len(few) - 1))
    plain, tagged = rows(NUMBERS), rows(NUMBERS)
    fixed, tagged_fixed = rows(st.integers(0, 2**32 - 1)), rows(st.sampled_from([0, 1, 2**32 - 1]))

    def field(tag, values, encode):
        return [bytes([tag]) + encode(value) if value else b"" for value in values]

    def little(value):
        return value.to_bytes(4, "little")

    columns = [
        (Strings(strings), strings),
        (
            Ends(Strings(strings), numbers(skipped)),
            [s[n:] for s, n in zip(strings, skipped, strict=True)],
        ),
        (Choices(few, numbers(chosen)), [few[number] for number in chosen]),
        (Varints(numbers(plain)), list(map(varint.encode, plain))),
        (Field(0x18, Varints(numbers(tagged))), field(0x18, tagged, varint.encode)),
        (Fixed32(numbers(fixed)), list(map(little, fixed))),
        (Field(0x35, Fixed32(numbers(tagged_fixed))), field(0x35, tagged_fixed, little)),
    ]
    some = draw(st.lists(st.sampled_from(columns), min_size=1, max_size=7))
    start = draw(st.integers(0, count - 1))
    return some, start, draw(st.integers(start, count))


@pytest.mark.parametrize("most_cells", [1, 60, 4 << 20])
@given(table=tables())
def test_rows_are_joined_as_string_by_string(most_cells, table):
    pairs, start, stop = table
    for column, strings in pairs:
        assert column.lengths.tolist() == list(map(len, strings))
    expected = b"".join(strings[row] for row in range(start, stop) for _, strings in pairs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(byte_columns, "_MOST_CELLS", most_cells)
        assert join_rows([column for column, _ in pairs], start, stop) == expected


@given(NUMBERS)
def test_the_size_of_a_varint(number):
    assert varint_sizes(numbers([number])).tolist() == [len(varint.encode(number))]


def test_one_long_string_does_not_make_all_rows_as_wide():
    cells = []

    class Watched(Strings):
        def cells(self, rows):
            matrix, used = super().cells(rows)
            cells.append(matrix.size)
            return matrix, used

    strings = [b"ab"] * 5000 + [b"x" * 100_000] + [b"cd"] * 5000
    assert join_rows([Watched(strings)], 0, len(strings)) == b"".join(strings)
    assert max(cells) <= byte_columns._MOST_CELLS
