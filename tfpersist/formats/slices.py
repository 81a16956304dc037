"""The parts of a partitioned variable: their keys in a checkpoint, and how they make up the whole.

The key of a part is an order-preserving code of: 0, the variable's name, its rank, and start and
length of each dimension. A number is its length in bytes, then its bytes (big-endian); a string
escapes 00 as 00 FF and FF as FF 00 and ends in 00 01. A signed number of n bytes starts with a sign
bit and n - 1 more bits of its value (1 for 0 and above), then the opposite bit; the rest is the
number, big-endian.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfpersist.errors import CorruptionError
from tfpersist.formats import dtypes, schema
from tfpersist.formats.tensors import Slice, TensorSpec

# What TensorFlow writes for the length of a dimension that is not cut.
WHOLE = -1

Extent = tuple[int, int]


def part_key(name: bytes, extents: Iterable[Extent]) -> bytes:
    """Encode the key under which a checkpoint holds one part of a variable.

    Args:
        name: name of the whole variable.
        extents: start and length in each dimension; `(0, WHOLE)` where it is not cut.

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


def _signed(number: int) -> bytes:
    size = 1
    while not -(1 << (7 * size - 1)) <= number < 1 << (7 * size - 1):
        size += 1
    bits = 8 * size
    # n ones in front for a number of n bytes that is not negative, n zeros for a negative one.
    ones = ((1 << size) - 1) << (bits - size)
    value = number | ones if number >= 0 else (number & ((1 << bits) - 1)) & ~ones
    return value.to_bytes(size, "big")


def extents_of(proto: schema.Message) -> tuple[Extent, ...]:
    """Take start and length of each dimension from a TensorSliceProto.

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
    """Turn extents into a slice of a variable, which they must lie in.

    Args:
        name: name of the whole variable.
        shape: its shape.
        extents: start and length in each dimension, `WHOLE` for all of it.
        file: name of the file that says so, for the error.
        offset: where it says so.

    Returns:
        The slice, with every length spelt out.

    Raises:
        CorruptionError: rank or bounds do not fit the shape.
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
            f"a part of variable {name!r} does not lie in it",
            file=file,
            offset=offset,
            expected=f"a part of {list(shape)}",
            found=f"starts and lengths {[list(extent) for extent in extents]}",
        )
    return Slice(name, tuple(shape), starts, lengths)


def check_cover(
    name: str, shape: Sequence[int], parts: Sequence[Slice], *, file: str, offset: int
) -> None:
    """Refuse parts whose sizes do not add up to the whole.

    Raises:
        CorruptionError: some elements are missing or there twice.
    """
    found = sum(math.prod(part.length) for part in parts)
    if found != math.prod(shape):
        raise CorruptionError(
            f"the parts of variable {name!r} do not make up the whole",
            file=file,
            offset=offset,
            expected=f"{math.prod(shape)} elements",
            found=f"{found} in {len(parts)} parts",
        )


def assemble(
    spec: TensorSpec,
    parts: Iterable[tuple[Slice, np.ndarray[Any, Any]]],
    *,
    file: str,
    offset: int,
) -> np.ndarray[Any, Any]:
    """Put the parts of a variable together.

    Args:
        spec: what the whole is; `check_cover` has passed.
        parts: each part with its elements; one at a time if it is an iterator.
        file: name of the file that lists the parts, for the error.
        offset: where it lists them.

    Returns:
        A new array.

    Raises:
        CorruptionError: parts overlap.
    """
    shape: tuple[int, ...] = spec.shape  # type: ignore[assignment]
    whole = np.empty(shape, dtypes.BY_NAME[spec.dtype].numpy)
    filled = np.zeros(shape, np.bool_)
    for part, elements in parts:
        region = tuple(
            slice(start, start + length)
            for start, length in zip(part.start, part.length, strict=True)
        )
        if filled[region].any():
            raise CorruptionError(
                f"the parts of variable {part.full_name!r} overlap",
                file=file,
                offset=offset,
                found=f"starts {list(part.start)}, lengths {list(part.length)}",
            )
        filled[region] = True
        whole[region] = elements
    return whole
