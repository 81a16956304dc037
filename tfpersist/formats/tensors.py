"""What a tensor is, apart from its bytes; and bytes that are loaded only when they are wanted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from tfpersist.formats import dtypes


@attrs.frozen
class TensorSpec:
    """Data type and shape of a tensor.

    Args:
        dtype: TensorFlow's name of the type, such as "float32".
        shape: the extent of each dimension, None where it is open; None for an unknown rank.

    Example:
        >>> print(TensorSpec("float32", (3, None)))
        float32[3,?]
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def elements(self) -> int | None:
        """The number of elements; None where the shape is not fully known."""
        if self.shape is None or None in self.shape:
            return None
        return math.prod(self.shape)  # type: ignore[arg-type]

    @property
    def nbytes(self) -> int | None:
        """The number of bytes; None for strings and where the shape is not fully known."""
        size, elements = dtypes.BY_NAME[self.dtype].size, self.elements
        return None if elements is None or not size else size * elements

    def accepts(self, other: TensorSpec) -> bool:
        """Tell whether a tensor of the spec `other` fits here, open dimensions fitting any extent.

        Args:
            other: what a checkpoint, a feed or another variable has.

        Returns:
            False where the data types, the ranks or two known extents differ.

        Example:
            >>> TensorSpec("float32", (None, 2)).accepts(TensorSpec("float32", (3, 2)))
            True
        """
        if self.dtype != other.dtype or self.shape is None or other.shape is None:
            return self.dtype == other.dtype
        if self.shape == other.shape:
            return True
        return len(self.shape) == len(other.shape) and all(
            mine is None or theirs is None or mine == theirs
            for mine, theirs in zip(self.shape, other.shape, strict=True)
        )

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype}[...]"
        return f"{self.dtype}[{','.join('?' if n is None else str(n) for n in self.shape)}]"


@attrs.frozen
class Slice:
    """Which part of a partitioned variable a tensor is.

    Args:
        full_name: name of the whole variable.
        full_shape: shape of the whole variable.
        start: first index in each dimension.
        length: extent in each dimension.
    """

    full_name: str
    full_shape: tuple[int, ...]
    start: tuple[int, ...]
    length: tuple[int, ...]


def _nothing() -> None:
    pass


@attrs.frozen
class Payload:
    """A tensor whose elements are fetched only when they are wanted.

    Args:
        spec: its data type and shape.
        load: gives the elements as a C-contiguous array that nobody changes; strings as an object
            array of bytes. Called once for each use, so it should keep nothing large alive.
        release: gives back the memory that a use took, where `load` could not know when it ended.
    """

    spec: TensorSpec
    load: Callable[[], np.ndarray[Any, Any]] = attrs.field(eq=False, repr=False)
    release: Callable[[], None] = attrs.field(default=_nothing, eq=False, repr=False)


def spec_of(array: np.ndarray[Any, Any]) -> TensorSpec:
    """Describe an array.

    Example:
        >>> print(spec_of(np.zeros((2, 3), np.int64)))
        int64[2,3]
    """
    return TensorSpec(dtypes.by_numpy(array.dtype).name, array.shape)


def payload_of(array: np.ndarray[Any, Any], dtype: str | None = None) -> Payload:
    """Wrap an array that is there already.

    Args:
        array: the elements.
        dtype: TensorFlow's name of the type where numpy does not tell it, such as "qint8".
    """
    spec = spec_of(array) if dtype is None else TensorSpec(dtype, array.shape)
    return Payload(spec, lambda: array)
