"""Encode the keys of the parts of a partitioned variable, and assemble the parts.

The key of a part is an encoding of: 0, the variable's name, its rank, and start and length of each
dimension. Keys sort as what they encode. A number is its length in bytes, then its bytes
(big-endian). A string escapes 00 as 00 FF and FF as FF 00, and ends in 00 01. A signed number of n
bytes starts with n equal bits (1 if the number is 0 or more) and the opposite bit; the rest is the
number, big-endian.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import add
from typing import Any

import numpy as np

from tfpersist.errors import CorruptionError
from tfpersist.formats import dtypes, schema
from tfpersist.formats.tensors import Slice, TensorSpec

# The length that TensorFlow writes for a dimension that is not cut.
WHOLE = -1

Extent = tuple[int, int]


def part_key(name: bytes, extents: Iterable[Extent]) -> bytes:
    """Return the key under which a checkpoint holds one part of a variable.

    Args:
        name: name of the whole variable.
        extents: start and length in each dimension; `(0, WHOLE)` if it is not cut.

    Example:
        >>> part_key(b"v", [(0, 2), (0, WHOLE)])
        b'\\x00v\\x00\\x01\\x01\\x02\\x80\\x82\\x80\\x7f'
    """
    extents = list(extents)
    escaped = b"\0\xff".join(piece.replace(b"\xff", b"\xff\0") for piece in name.split(b"\0"))
    rank = len(extents)
    size = (rank.bit_length() + 7) // 8
    head = b"\0" + escaped + b"\0\1" + bytes([size]) + rank.to_bytes(size, "big")
    return head + b"".join(_signed(number) for extent in extents for number in extent)


@functools.lru_cache(1 << 12)
def _signed(number: int) -> bytes:
    size = 1
    while not -(1 << (7 * size - 1)) <= number < 1 << (7 * size - 1):
        size += 1
    bits = 8 * size
    # A number of n bytes begins with n ones if it is 0 or more, and with n zeros if it is negative.
    ones = ((1 << size) - 1) << (bits - size)
    value = number | ones if number >= 0 else (number & ((1 << bits) - 1)) & ~ones
    return value.to_bytes(size, "big")


def extents_of(proto: schema.Message) -> tuple[Extent, ...]:
    """Return start and length of each dimension of a TensorSliceProto.

    A dimension that is not cut has no length in the proto; its length becomes `WHOLE`.

    Example:
        >>> extents_of(schema.TensorSliceProto(extent=[{"start": 2, "length": 3}, {}]))
        ((2, 3), (0, -1))
    """
    return tuple(
        (extent.start, extent.length if extent.HasField("length") else WHOLE)
        for extent in proto.extent
    )


def resolve(
    name: str, shape: Sequence[int], extents: Sequence[Extent], *, file: str, offset: int
) -> Slice:
    """Return the slice of a variable that extents describe.

    Args:
        name: name of the whole variable.
        shape: its shape.
        extents: start and length in each dimension, `WHOLE` for a dimension that is not cut.
        file: name of the file that holds the extents, for the error.
        offset: where they are in that file.

    Returns:
        The slice; `WHOLE` is replaced by the size of the dimension.

    Raises:
        CorruptionError: the extents do not fit in the shape.
    """
    lengths = tuple(
        size if length == WHOLE else length
        for (_, length), size in zip(extents, shape, strict=False)
    )
    starts = tuple(start for start, _ in extents)
    if len(extents) != len(shape) or any(
        start < 0 or length < 0 or start + length > size
        for start, length, size in zip(starts, lengths, shape, strict=True)
    ):
        raise CorruptionError(
            f"a part of variable {name!r} is not inside the variable",
            file=file,
            offset=offset,
            expected=f"a part of {list(shape)}",
            found=f"starts and lengths {[list(extent) for extent in extents]}",
        )
    return Slice(name, tuple(shape), starts, lengths)


def check_cover(
    name: str, shape: Sequence[int], parts: Sequence[Slice], *, file: str, offset: int
) -> None:
    """Raise if the sizes of the parts do not add up to that of the whole.

    Raises:
        CorruptionError: elements are missing, or are in two parts.
    """
    elements = sum(math.prod(part.length) for part in parts)
    if elements != math.prod(shape):
        raise CorruptionError(
            f"the parts of variable {name!r} do not add up to the whole",
            file=file,
            offset=offset,
            expected=f"{math.prod(shape)} elements",
            found=f"{elements} in {len(parts)} parts",
        )


def assemble(
    spec: TensorSpec,
    places: Sequence[Slice],
    parts: Iterable[np.ndarray[Any, Any]],
    *,
    file: str,
    offset: int,
) -> np.ndarray[Any, Any]:
    """Return the whole variable, assembled from its parts.

    Args:
        spec: data type and shape of the whole; `check_cover` has passed.
        places: the slice that each part is.
        parts: their elements; an iterator needs only one part in memory at a time.
        file: name of the file that lists the parts, for the error.
        offset: where they are listed in that file.

    Returns:
        A new array.

    Raises:
        CorruptionError: parts overlap.
    """
    overlap = _overlap_of_rows if all(map(is_of_rows, places)) else _overlap
    wrong = overlap(spec, places)
    if wrong is not None:
        raise CorruptionError(
            f"the parts of variable {wrong.full_name!r} overlap",
            file=file,
            offset=offset,
            found=f"starts {list(wrong.start)}, lengths {list(wrong.length)}",
        )
    whole = np.empty(spec.known_shape, dtypes.BY_NAME[spec.dtype].numpy)
    for place, elements in zip(places, parts, strict=True):
        whole[_region(place)] = elements
    return whole


def is_of_rows(place: Slice) -> bool:
    """Return whether a slice is cut in its first dimension at most."""
    return place.length[1:] == place.full_shape[1:]


def _overlap_of_rows(spec: TensorSpec, places: Sequence[Slice]) -> Slice | None:
    """Return a slice that shares rows with another one; None if there is none."""
    if not spec.known_shape:
        return places[1] if len(places) > 1 else None
    filled = [place for place in places if place.length[0]]
    filled.sort(key=lambda place: place.start[0])
    for place, following in pairwise(filled):
        if place.start[0] + place.length[0] > following.start[0]:
            return following
    return None


def _overlap(spec: TensorSpec, places: Sequence[Slice]) -> Slice | None:
    """Return a slice that shares elements with another one; None if there is none."""
    filled = np.zeros(spec.known_shape, np.bool_)
    for place in places:
        region = _region(place)
        if filled[region].any():
            return place
        filled[region] = True
    return None


def _region(place: Slice) -> tuple[slice, ...]:
    return tuple(map(slice, place.start, map(add, place.start, place.length)))
