"""Join many short byte strings row by row, without a Python step for each row.

A table has columns of byte strings. Its strings are copied into a matrix of bytes, in which each
column is as wide as its longest string. A mask marks the bytes that belong to a string. NumPy takes
all of these at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import attrs
import numpy as np

Numbers = np.ndarray[Any, np.dtype[np.int64]]
# A matrix of bytes, and the mask that marks those which belong to a string.
Cells = tuple[np.ndarray[Any, np.dtype[np.uint8]], np.ndarray[Any, np.dtype[np.bool_]]]

# A matrix of more bytes is split, so that one long string does not make all rows wide.
_MOST_CELLS = 4 << 20
_BITS = 7
# A varint of n bytes holds numbers below _LIMITS[n - 1].
_LIMITS = np.array([1 << _BITS * size for size in range(1, 9)])


def varint_sizes(numbers: Numbers) -> Numbers:
    """Return how many bytes each number takes as a varint."""
    return np.searchsorted(_LIMITS, numbers, side="right") + 1


class Column(Protocol):
    """A byte string for each row."""

    @property
    def lengths(self) -> Numbers:
        """The length of each string."""

    def cells(self, rows: slice) -> Cells:
        """Return the strings of some rows as a matrix and its mask."""


@attrs.frozen(eq=False)
class Strings:
    """Byte strings of any length.

    Args:
        strings: one for each row.
    """

    strings: Sequence[bytes]
    lengths: Numbers = attrs.field(init=False)

    @lengths.default
    def _measure(self) -> Numbers:
        return np.fromiter(map(len, self.strings), np.int64, len(self.strings))

    def cells(self, rows: slice) -> Cells:
        lengths = self.lengths[rows]
        width = int(lengths.max(initial=0))
        flat = b"".join([string.ljust(width) for string in self.strings[rows]])
        matrix = np.frombuffer(flat, np.uint8).reshape(len(lengths), width)
        return matrix, np.arange(width) < lengths.reshape(-1, 1)


@attrs.frozen(eq=False)
class Choices:
    """Byte strings that are chosen from a few different ones.

    Args:
        strings: the different ones.
        numbers: which of them each row has.
    """

    strings: Sequence[bytes]
    numbers: Numbers
    lengths: Numbers = attrs.field(init=False)

    @lengths.default
    def _measure(self) -> Numbers:
        return Strings(self.strings).lengths[self.numbers]

    def cells(self, rows: slice) -> Cells:
        # One long string does not make other rows wide.
        chosen, numbers = np.unique(self.numbers[rows], return_inverse=True)
        matrix, used = Strings([self.strings[number] for number in chosen]).cells(slice(None))
        return matrix[numbers], used[numbers]


@attrs.frozen(eq=False)
class Ends:
    """Byte strings without their first bytes.

    Args:
        strings: the whole strings.
        skipped: how many bytes to leave out of each.
    """

    strings: Strings
    skipped: Numbers
    lengths: Numbers = attrs.field(init=False)

    @lengths.default
    def _measure(self) -> Numbers:
        return self.strings.lengths - self.skipped

    def cells(self, rows: slice) -> Cells:
        matrix, used = self.strings.cells(rows)
        return matrix, used & (np.arange(matrix.shape[1]) >= self.skipped[rows].reshape(-1, 1))


@attrs.frozen(eq=False)
class Varints:
    """Integers as varints; see `varint`.

    Args:
        numbers: one for each row, from 0 to below 2**56.
    """

    numbers: Numbers
    lengths: Numbers = attrs.field(init=False)

    @lengths.default
    def _measure(self) -> Numbers:
        return varint_sizes(self.numbers)

    def cells(self, rows: slice) -> Cells:
        rest, lengths = self.numbers[rows], self.lengths[rows]
        width = int(lengths.max(initial=0))
        matrix = np.empty((len(rest), width), np.uint8)
        for place in range(width):
            more = rest >> _BITS
            matrix[:, place] = rest & 0x7F | (more > 0) << _BITS
            rest = more
        return matrix, np.arange(width) < lengths.reshape(-1, 1)


@attrs.frozen(eq=False)
class Fixed32:
    """Integers in four bytes each, the lowest byte first.

    Args:
        numbers: one for each row, below 2**32.
    """

    numbers: np.ndarray[Any, Any]
    lengths: Numbers = attrs.field(init=False)

    @lengths.default
    def _measure(self) -> Numbers:
        return np.full(len(self.numbers), 4)

    def cells(self, rows: slice) -> Cells:
        matrix = self.numbers[rows].astype("<u4").view(np.uint8).reshape(-1, 4)
        return matrix, np.ones(matrix.shape, np.bool_)


@attrs.frozen(eq=False)
class Field:
    """A field of a protobuf message. A row with the number 0 has no bytes.

    Args:
        tag: the byte before each number.
        column: the numbers.
    """

    tag: int
    column: Varints | Fixed32
    lengths: Numbers = attrs.field(init=False)

    @lengths.default
    def _measure(self) -> Numbers:
        return np.where(self.column.numbers, 1 + self.column.lengths, 0)

    def cells(self, rows: slice) -> Cells:
        matrix, used = self.column.cells(rows)
        present = (self.column.numbers[rows] != 0).reshape(-1, 1)
        tags = np.full(present.shape, self.tag, np.uint8)
        return np.hstack([tags, matrix]), np.hstack([present, used & present])


def join_rows(columns: Sequence[Column], start: int, stop: int) -> bytes:
    """Return the strings of a row, one column after the other, then those of the next row.

    Args:
        columns: the columns, all with the same number of rows.
        start: the number of the first row.
        stop: the number of the row after the last one.

    Example:
        >>> columns = [Strings([b"ab", b"c"]), Varints(np.array([300, 5]))]
        >>> join_rows(columns, 0, 2)
        b'ab\\xac\\x02c\\x05'
    """
    rows = slice(start, stop)
    width = sum(int(column.lengths[rows].max(initial=0)) for column in columns)
    if width * (stop - start) > _MOST_CELLS and stop - start > 1:
        middle = (start + stop) // 2
        return join_rows(columns, start, middle) + join_rows(columns, middle, stop)
    cells = [column.cells(rows) for column in columns]
    matrix = np.hstack([matrix for matrix, _ in cells])
    picked: np.ndarray[Any, Any] = matrix[np.hstack([used for _, used in cells])]
    return picked.tobytes()
