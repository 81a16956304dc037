"""Checksums of a frozen file: one of each payload, and one of all bytes between them.

They are the last field of the file, a `versions` of its own that protobuf merges with the others:

    Checksums = 4: VersionDef { 18934: record }
    record    = { offset: uint64, size: uint64, crc: uint32 } of each payload, in their order
                crc: uint32 of all other bytes before the field
                crc: uint32 of the record up to here

Numbers are little-endian; a crc is a masked CRC-32C, as in TensorFlow's own files. A program that
reads the GraphDef and writes it again puts the record elsewhere. Then it counts no more, because
the offsets do not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import numpy as np

from tfpersist.errors import CorruptionError
from tfpersist.formats import crc32c, varint, wire

VERSIONS_FIELD = 4
FIELD = 18934
_ENTRY = np.dtype([("offset", "<u8"), ("size", "<u8"), ("crc", "<u4")])
_CRC = 4
_VERSIONS_TAG = varint.encode(VERSIONS_FIELD << 3 | wire.BYTES)
_TAG = varint.encode(FIELD << 3 | wire.BYTES)


@attrs.frozen(eq=False)
class Checksums:
    """The record at the end of a file, and the bytes before it.

    Args:
        data: the bytes.
        payloads: offset, size and masked crc of each payload.
        others: the masked crc of all other bytes.
        file: the name of the file, for errors.
    """

    data: memoryview = attrs.field(repr=False)
    payloads: Sequence[tuple[int, int, int]]
    others: int
    file: str

    def check_skeleton(self) -> None:
        """Compare all bytes that are not in a payload.

        Raises:
            CorruptionError: they are not the bytes that were written.
        """
        crc = 0
        for start, end in self._between():
            crc = crc32c.of(self.data[start:end], start=crc)
        if crc32c.masked(crc) != self.others:
            raise CorruptionError(
                "the graph is damaged: its bytes are not those that were written",
                file=self.file,
                expected=f"checksum {self.others:#010x}",
                found=f"{crc32c.masked(crc):#010x}",
                advice=_ADVICE,
            )

    def check_payloads(self) -> None:
        """Compare the bytes of all payloads.

        Raises:
            CorruptionError: one of them has other bytes than were written.
        """
        for offset, size, expected in self.payloads:
            found = crc32c.masked(crc32c.of(self.data[offset : offset + size]))
            if found != expected:
                raise CorruptionError(
                    f"the {size:,} bytes of a constant are damaged",
                    file=self.file,
                    offset=offset,
                    expected=f"checksum {expected:#010x}",
                    found=f"{found:#010x}",
                    advice=_ADVICE,
                )

    def _between(self) -> Iterator[tuple[int, int]]:
        at = 0
        for offset, size, _ in self.payloads:
            yield at, offset
            at = offset + size
        yield at, len(self.data)


_ADVICE = "Copy the file again from where it was made"


def nbytes(payloads: int) -> int:
    """Return the size of the field for a number of payloads."""
    return len(_field(bytes(payloads * _ENTRY.itemsize + 2 * _CRC)))


def encode(payloads: Sequence[tuple[int, int, int]], others: int) -> bytes:
    """Return the field.

    Args:
        payloads: offset, size and masked crc of each payload, in the order of the file.
        others: the masked crc of all other bytes before the field.

    Example:
        >>> len(encode([], 7)) == nbytes(0)
        True
    """
    record = np.array(list(payloads), _ENTRY).tobytes() + others.to_bytes(_CRC, "little")
    return _field(record + crc32c.masked(crc32c.of_bytes(record)).to_bytes(_CRC, "little"))


def decode(view: memoryview, field: wire.Field, file: str) -> Checksums | None:
    """Return the checksums of a file.

    Args:
        view: the file.
        field: its last field.
        file: the name of the file, for errors.

    Returns:
        The checksums; None if the field is something else.

    Raises:
        CorruptionError: the checksums are damaged.
    """
    if field.number != VERSIONS_FIELD or field.wire_type != wire.BYTES or field.end != len(view):
        return None
    inner = list(wire.fields(view, field.body, field.end, file))
    if [(one.number, one.wire_type) for one in inner] != [(FIELD, wire.BYTES)]:
        return None
    record = bytes(view[inner[0].body : inner[0].end])
    entries, left = divmod(len(record) - 2 * _CRC, _ENTRY.itemsize)
    own = int.from_bytes(record[-_CRC:], "little")
    if entries < 0 or left or crc32c.masked(crc32c.of_bytes(record[:-_CRC])) != own:
        raise _damaged(field, file)
    table = np.frombuffer(record, _ENTRY, entries)
    payloads = [(int(e["offset"]), int(e["size"]), int(e["crc"])) for e in table]
    at = 0
    for offset, size, _ in payloads:
        if offset < at or offset + size > field.start:
            raise _damaged(field, file)
        at = offset + size
    others = int.from_bytes(record[-2 * _CRC : -_CRC], "little")
    return Checksums(view[: field.start], payloads, others, file)


def _damaged(field: wire.Field, file: str) -> CorruptionError:
    return CorruptionError(
        "the checksums of the file are damaged", file=file, offset=field.start, advice=_ADVICE
    )


def _field(record: bytes) -> bytes:
    inner = _TAG + varint.encode(len(record)) + record
    return _VERSIONS_TAG + varint.encode(len(inner)) + inner
