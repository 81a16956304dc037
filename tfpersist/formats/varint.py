"""Encode and decode variable-length integers.

A varint has seven bits in each byte, the lowest first. All bytes but the last have the top bit set.
"""

from __future__ import annotations

from tfpersist.errors import CorruptionError

_LONGEST = 10
_BITS = 64


def encode(value: int) -> bytes:
    """Encode a non-negative integer.

    Example:
        >>> encode(5), encode(300)
        (b'\\x05', b'\\xac\\x02')
    """
    # Most integers are short, and an index has several for each tensor: short ones go fast.
    if value < 0x80:
        return bytes((value,))
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    if value < 0x200000:
        return bytes((value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14))
    out = []
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read(
    data: bytes | memoryview, at: int, end: int, *, file: str, offset: int = 0
) -> tuple[int, int]:
    """Decode the integer that starts at `at`.

    Args:
        data: bytes that contain it.
        at: position of its first byte in `data`.
        end: position in `data` before which it must end.
        file: name of the file that `data` comes from, for the error.
        offset: where `data` starts in that file.

    Returns:
        The integer, below 2**64, and the position after it.

    Raises:
        CorruptionError: it is cut off, longer than ten bytes, or does not fit in 64 bits.

    Example:
        >>> read(b"\\xac\\x02", 0, 2, file="x")
        (300, 2)
    """
    value = shift = 0
    stop = min(at + _LONGEST, end)
    for position in range(at, stop):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> _BITS:
                break
            return value, position + 1
        shift += 7
    raise CorruptionError(
        "an integer is cut off or too long",
        file=file,
        offset=offset + at,
        expected="a varint of at most 64 bits",
        found=f"bytes {bytes(data[at:stop]).hex()!r}",
    )
