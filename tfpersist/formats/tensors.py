"""Describe tensors without their elements, and load the elements only when they are needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import attrs
import numpy as np

from tfpersist.errors import UnsupportedError
from tfpersist.formats import dtypes
from tfpersist.formats.variant_tensor import Variant

# TensorFlow has no tensors of a higher rank.
MOST_DIMENSIONS = 254

Array = np.ndarray[Any, Any]


@attrs.frozen
class TensorSpec:
    """Data type and shape of a tensor.

    Args:
        dtype: TensorFlow's name of the type, such as "float32".
        shape: the size of each dimension, None where it is unknown; None for an unknown rank.

    Example:
        >>> print(TensorSpec("float32", (3, None)))
        float32[3,?]
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def known_shape(self) -> tuple[int, ...]:
        """The shape, which must be fully known.

        Raises:
            UnsupportedError: the rank or the size of a dimension is unknown.
        """
        if self.shape is None or None in self.shape:
            raise UnsupportedError(
                "the shape of a tensor is not fully known",
                expected="the size of every dimension",
                found=self,
                advice="Use a tensor of a known shape.",
            )
        return cast("tuple[int, ...]", self.shape)

    @property
    def elements(self) -> int | None:
        """The number of elements; None if the shape is not fully known."""
        if self.shape is None or None in self.shape:
            return None
        return math.prod(self.known_shape)

    @property
    def nbytes(self) -> int | None:
        """The number of bytes; None for strings, and if the shape is not fully known."""
        size, elements = dtypes.BY_NAME[self.dtype].size, self.elements
        return None if elements is None or not size else size * elements

    def accepts(self, other: TensorSpec) -> bool:
        """Return whether a tensor of the spec `other` fits this spec.

        An unknown size fits any size.

        Args:
            other: the spec of a tensor in a checkpoint, of a feed or of a variable.

        Returns:
            False if the data types, the ranks or two known sizes differ.

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
    """The part of a partitioned variable that a tensor holds.

    Args:
        full_name: name of the whole variable.
        full_shape: shape of the whole variable.
        start: first index in each dimension.
        length: number of indices in each dimension.
    """

    full_name: str
    full_shape: tuple[int, ...]
    start: tuple[int, ...]
    length: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        """True if the slice is the whole variable."""
        return self.length == self.full_shape


def _nothing() -> None:
    pass


@attrs.frozen
class Payload:
    """A tensor whose elements are loaded only when they are needed.

    Args:
        spec: its data type and shape.
        load: returns the elements as a C-contiguous array that nobody changes; strings as an object
            array of bytes. It is called once for each use and should keep nothing large alive.
        release: frees the memory of a use, if `load` cannot know when the use ends.

    Example:
        >>> payload = payload_of(np.float32([1, 2]))
        >>> print(payload.spec, payload.load())
        float32[2] [1. 2.]
    """

    spec: TensorSpec
    load: Callable[[], Array] = attrs.field(eq=False, repr=False)
    release: Callable[[], None] = attrs.field(default=_nothing, eq=False, repr=False)


def spec_of(array: Array) -> TensorSpec:
    """Return the spec of an array.

    Example:
        >>> print(spec_of(np.zeros((2, 3), np.int64)))
        int64[2,3]
    """
    if array.dtype.kind == "O" and array.size and isinstance(array.item(0), Variant):
        return TensorSpec("variant", array.shape)
    return TensorSpec(dtypes.by_numpy(array.dtype).name, array.shape)


def payload_of(array: Array, dtype: str | None = None) -> Payload:
    """Return a payload of an array in memory.

    Args:
        array: the elements.
        dtype: TensorFlow's name of the type if numpy's type differs, such as "qint8".
    """
    spec = spec_of(array) if dtype is None else TensorSpec(dtype, array.shape)
    return Payload(spec, lambda: array)
