"""Fill the rows of a variable from a tensor whose rows are in another order. Pure.

So an embedding follows a vocabulary that has changed.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import SelectionError, counted, value_text
from tfpersist.formats.tensors import Array, TensorSpec

_EXPECTED = "{old row: new row}, or a pair of lists: the old words and the new words"


@attrs.frozen
class RowMap:
    """A map from the rows of a tensor to the rows of a variable.

    Args:
        variable: the variable's name.
        old: rows of the tensor.
        new: for each of them, the row of the variable.
        old_size: how many rows the tensor has at least.
        new_size: how many rows the variable has at least.
    """

    variable: str
    old: tuple[int, ...] = attrs.field(repr=False)
    new: tuple[int, ...] = attrs.field(repr=False)
    old_size: int
    new_size: int

    def __str__(self) -> str:
        return f"{counted(len(self.new), 'row')} remapped"

    def check(self, wanted: TensorSpec, found: TensorSpec) -> None:
        """Raise an error unless tensor and variable have these rows, and equal ones.

        Args:
            wanted: the spec of the variable.
            found: the spec of the tensor.

        Raises:
            SelectionError: they do not.
        """
        mine, theirs = wanted.known_shape, found.known_shape
        if not mine or not theirs or wanted.dtype != found.dtype or mine[1:] != theirs[1:]:
            raise _wrong(self.variable, "its rows differ from those of the tensor", wanted, found)
        for side, size, rows in (
            ("tensor", self.old_size, theirs[0]),
            ("variable", self.new_size, mine[0]),
        ):
            if size > rows:
                raise _wrong(
                    self.variable,
                    f"the {side} has fewer rows than rows= says",
                    f"at least {size} rows",
                    rows,
                )

    def apply(self, present: Array, tensor: Array) -> Array:
        """Return the value with the rows of the tensor; other rows stay.

        Args:
            present: the value of the variable.
            tensor: the tensor.

        Returns:
            A copy.

        Example:
            >>> rows = row_map("w", {0: 2, 1: 0})
            >>> rows.apply(np.zeros(3), np.array([5.0, 6.0]))
            array([6., 0., 5.])
        """
        value = present.copy()
        value[list(self.new)] = tensor[list(self.old)]
        return value


def row_map(variable: str, rows: object) -> RowMap:
    """Return which row becomes which.

    Args:
        variable: the variable's name, for errors.
        rows: {old row: new row}, or a pair of word lists: row n belongs to word n.

    Raises:
        SelectionError: it is neither; a row is no number; two old rows become one new row; or a
            word is in a list twice.

    Example:
        >>> rows = row_map("w", (["a", "b", "c"], ["c", "x", "a"]))
        >>> list(zip(rows.old, rows.new))
        [(2, 0), (0, 2)]
    """
    if isinstance(rows, Mapping):
        old = tuple(_row(variable, row) for row in rows)
        new = tuple(_row(variable, row) for row in rows.values())
        twice = _first_twice(new)
        if twice is not None:
            raise _wrong(variable, "two old rows become one new row", "one each", twice)
        return RowMap(variable, old, new, max(old, default=-1) + 1, max(new, default=-1) + 1)
    if isinstance(rows, (tuple, list)) and len(rows) == 2:
        words = [_words(variable, side) for side in rows]
        places = {word: row for row, word in enumerate(words[0])}
        pairs = [(places[word], row) for row, word in enumerate(words[1]) if word in places]
        return RowMap(
            variable,
            tuple(old for old, _ in pairs),
            tuple(new for _, new in pairs),
            len(words[0]),
            len(words[1]),
        )
    raise _wrong(variable, "rows= has a value of another kind", _EXPECTED, value_text(rows))


def _row(variable: str, row: Any) -> int:
    try:
        number = operator.index(row)
    except TypeError:
        number = -1
    if number < 0 or isinstance(row, (bool, np.bool_)):
        raise _wrong(variable, "rows= has a wrong row", "an int, 0 or more", value_text(row))
    return number


def _words(variable: str, words: object) -> Sequence[object]:
    if isinstance(words, (str, bytes)) or not isinstance(words, Iterable):
        raise _wrong(variable, "rows= has a value of another kind", _EXPECTED, value_text(words))
    listed = list(words)
    for word in listed:
        if not isinstance(word, (str, bytes, int)):
            raise _wrong(variable, "rows= has a wrong word", "a str", value_text(word))
    twice = _first_twice(listed)
    if twice is not None:
        raise _wrong(variable, "a word is in a list twice", "each word once", value_text(twice))
    return listed


def _first_twice(items: Iterable[object]) -> object:
    seen: set[object] = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None


def _wrong(variable: str, problem: str, expected: object, found: object) -> SelectionError:
    return SelectionError(problem, where=variable, expected=expected, found=found)
