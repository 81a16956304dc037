"""Encode and decode the elements of a string tensor in a data shard.

length*   one varint for each element
crc       masked crc32c of all lengths, each as 4 bytes (8 if it does not fit in 4)
element*  the bytes, one element after the other

The tensor's own checksum covers the lengths as above, the stored crc and the elements.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from tfpersist.errors import CorruptionError, UnsupportedError
from tfpersist.formats import crc32c, varint

_CRC_SIZE = 4


def encode(elements: np.ndarray[Any, Any]) -> tuple[bytes, int]:
    """Encode strings as SaveV2 does.

    Args:
        elements: an array of bytes or of str, which is encoded as UTF-8.

    Returns:
        The bytes for the data shard, and the plain checksum of the tensor.

    Raises:
        UnsupportedError: an element is not a string.

    Example:
        >>> encode(np.array([b"ab", b"c"], object))[0].hex()
        '020103717c67616263'
    """
    strings = [as_bytes(element) for element in elements.reshape(-1).tolist()]
    lengths = [len(string) for string in strings]
    crc = crc32c.of(_fixed(lengths, "little"))
    stored = crc32c.masked(crc).to_bytes(_CRC_SIZE, "little")
    content = b"".join(strings)
    return (
        b"".join([*map(varint.encode, lengths), stored, content]),
        crc32c.of(stored, content, start=crc),
    )


def as_bytes(element: object) -> bytes:
    """Return the bytes of one element of a string array.

    Raises:
        UnsupportedError: the element is not a string.
    """
    if isinstance(element, bytes):
        return element
    if isinstance(element, str):
        with contextlib.suppress(UnicodeEncodeError):
            return element.encode("utf-8", "surrogateescape")
    raise UnsupportedError(
        "an element of a string tensor is not a string",
        expected="bytes, or str that UTF-8 can encode",
        found=f"{type(element).__name__} {repr(element)[:80]}",
        advice="Convert the elements first.",
    )


def _fixed(lengths: list[int], order: str) -> bytes:
    """Encode lengths for their checksum: 4 bytes each, 8 if a length does not fit in 4."""
    sign = "<" if order == "little" else ">"
    if not lengths or max(lengths) <= 0xFFFFFFFF:
        return np.array(lengths, f"{sign}u4").tobytes()
    return b"".join(
        length.to_bytes(4 if length <= 0xFFFFFFFF else 8, "big" if sign == ">" else "little")
        for length in lengths
    )


def decode(
    data: memoryview, count: int, *, big_endian: bool, file: str, offset: int
) -> tuple[np.ndarray[Any, Any], int]:
    """Decode the elements of a string tensor.

    Args:
        data: the tensor's bytes in the shard.
        count: the number of elements.
        big_endian: whether a big-endian machine wrote them.
        file: name of the shard, for the error.
        offset: where `data` starts in the shard.

    Returns:
        The elements as a flat object array of bytes, and the plain checksum of the tensor.

    Raises:
        CorruptionError: the bytes are damaged.
    """
    if not data and not count:
        return np.empty(0, object), 0
    if count + _CRC_SIZE > len(data):
        raise _does_not_fit(file, offset, count, len(data))
    order = "big" if big_endian else "little"
    at, lengths = 0, []
    for _ in range(count):
        length = data[at] if at < len(data) else 0x80
        if length < 0x80:
            at += 1
        else:
            length, at = varint.read(data, at, len(data), file=file, offset=offset)
        lengths.append(length)
    if at + _CRC_SIZE + sum(lengths) != len(data):
        raise _does_not_fit(file, offset, count, len(data))
    crc = crc32c.of(_fixed(lengths, order))
    stored = data[at : at + _CRC_SIZE]
    expected = crc32c.masked(crc).to_bytes(_CRC_SIZE, "big" if big_endian else "little")
    if stored != expected:
        raise CorruptionError(
            "the checksum of the lengths of a string tensor does not match",
            file=file,
            offset=offset + at,
            expected=expected.hex(),
            found=stored.hex(),
        )
    at += _CRC_SIZE
    crc = crc32c.of(data[at - _CRC_SIZE :], start=crc)
    strings = np.empty(count, object)
    for index, length in enumerate(lengths):
        strings[index] = bytes(data[at : at + length])
        at += length
    return strings, crc


def _does_not_fit(file: str, offset: int, count: int, size: int) -> CorruptionError:
    return CorruptionError(
        "the strings of a tensor do not fill its bytes",
        file=file,
        offset=offset,
        expected=f"{size} bytes",
        found=f"{count} strings of other lengths",
    )
