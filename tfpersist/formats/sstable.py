"""Read an SSTable: sorted keys with values, in the layout of TensorFlow and LevelDB.

file      data block*, metaindex block, index block, footer
block     content, type (1 byte: 0 plain, 1 snappy), masked crc32c of content and type (4 bytes)
content   entry*, restart offset (4 bytes)*, number of restarts (4 bytes)
entry     shared, unshared, value length (varints), unshared key bytes, value bytes;
          the key is the first `shared` bytes of the key before it and the unshared bytes
handle    offset, size without type and crc (varints)
footer    metaindex handle, index handle, zeros up to 40 bytes, magic (8 bytes)

The metaindex block holds handles of blocks that are no data, under names. TensorFlow writes and
reads none; tfpersist notes facts there (`read_note`).

The index block holds one entry for each data block: the block's handle, under a key that is not
below the last key of the block and is below the first key of the next. Integers are little-endian.
"""

from __future__ import annotations

from typing import Any

import attrs
import cramjam

from tfpersist.errors import CorruptionError
from tfpersist.formats import crc32c, varint
from tfpersist.formats.foreign import foreign

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
FOOTER_SIZE = 48
TRAILER_SIZE = 5
PLAIN, SNAPPY = 0, 1

# Snappy encodes a copy of up to 64 bytes in 3.
_SNAPPY_RATIO = 22
# The most bytes of keys for one byte of the file. A writer stores every sixteenth key in full, so
# all keys of a real table together are at most 16 times as long as the file.
_KEY_RATIO = 64

Record = tuple[bytes, Any, int]


@attrs.frozen
class _Block:
    content: memoryview | bytes
    offset: int
    stop: int
    packed: bool

    def at(self, position: int) -> int:
        """Return the file offset of a position in the content; of a compressed block, its start."""
        return self.offset if self.packed else self.offset + position


def read_table(data: memoryview, file: str, *, copied: bool = False) -> list[Record]:
    """Read all entries, and compare every checksum.

    Args:
        data: the whole file.
        file: its name, for errors.
        copied: return values as bytes and not as views, which is faster for small values.

    Returns:
        Key, value and file offset of each entry, in the order of the keys. A value is a view of
        `data`, unless its block is compressed.

    Raises:
        CorruptionError: the bytes are not a table, or damaged.

    Example:
        >>> from tfpersist.formats.sstable_writer import encode_table
        >>> table = encode_table([(b"key", b"value")])
        >>> [(key, value, offset)] = read_table(memoryview(table.content), "example")
        >>> key, bytes(value), offset
        (b'key', b'value', 6)
    """
    data = data.toreadonly() if data.format == "B" and data.ndim == 1 else data.cast("B")
    metaindex, index = handles(data, file)
    _read_block(data, *metaindex, file)
    records: list[Record] = []
    budget = _KEY_RATIO * len(data)
    index_block = _read_block(data, *index, file)
    end = 0
    separator: bytes | None = None
    for next_separator, handle, offset in _records(index_block, None, budget, file):
        start, size, _ = _handle(handle, 0, len(handle), file, offset)
        if start < end:
            raise CorruptionError(
                "data blocks overlap",
                file=file,
                offset=offset,
                expected=f"a block at byte {end} or later",
                found=start,
            )
        block = _read_block(data, start, size, file)
        end = block.stop
        if copied:
            block = _Block(bytes(block.content), block.offset, block.stop, block.packed)
        block_records = _records(block, separator, budget, file)
        if block_records and block_records[-1][0] > next_separator:
            raise CorruptionError(
                "a block holds a key above that of its index entry",
                file=file,
                offset=block_records[-1][2],
                expected=f"a key up to {next_separator!r}",
                found=block_records[-1][0],
            )
        separator = next_separator
        budget -= sum(len(record[0]) for record in block_records)
        records += block_records
    return records


def read_note(data: memoryview, name: bytes, file: str) -> bytes | None:
    """Return the bytes that the metaindex of a table has under a name; None if it has none.

    Args:
        data: the whole file.
        name: what the note is called.
        file: its name, for errors.

    Raises:
        CorruptionError: the bytes are not a table, or damaged.

    Example:
        >>> from tfpersist.formats.sstable_writer import encode_table, with_note
        >>> table = encode_table([(b"key", b"value")]).content
        >>> noted = memoryview(with_note(table, b"by", b"me"))
        >>> read_note(noted, b"by", "x"), read_note(memoryview(table), b"by", "x")
        (b'me', None)
    """
    metaindex, _ = handles(data, file)
    notes = _records(_read_block(data, *metaindex, file), None, _KEY_RATIO * len(data), file)
    for found, handle, offset in notes:
        if found == name:
            start, size, _ = _handle(memoryview(handle), 0, len(handle), file, offset)
            return bytes(_read_block(data, start, size, file).content)
    return None


def handles(data: memoryview, file: str = "") -> tuple[tuple[int, int], tuple[int, int]]:
    """Return offset and size of the metaindex block and of the index block, by the footer."""
    start = len(data) - FOOTER_SIZE
    if start < 0 or data[-len(MAGIC) :] != MAGIC:
        other = foreign(data)
        end = f"{len(data)} bytes that end in {bytes(data[-len(MAGIC) :]).hex()!r}"
        raise CorruptionError(
            "this is not an SSTable, or its end is missing",
            file=file,
            offset=max(start, 0) + FOOTER_SIZE - len(MAGIC) if start >= 0 else 0,
            expected=f"at least {FOOTER_SIZE} bytes that end in {MAGIC.hex()}",
            found=other.name if other else end,
            advice=other.advice if other else None,
        )
    footer = data[start : start + FOOTER_SIZE - len(MAGIC)]
    meta_offset, meta_size, at = _handle(footer, 0, len(footer), file, start)
    offset, size, _ = _handle(footer, at, len(footer), file, start)
    return (meta_offset, meta_size), (offset, size)


def _handle(data: memoryview, at: int, end: int, file: str, offset: int) -> tuple[int, int, int]:
    start, at = varint.read(data, at, end, file=file, offset=offset)
    size, at = varint.read(data, at, end, file=file, offset=offset)
    return start, size, at


def _read_block(data: memoryview, offset: int, size: int, file: str) -> _Block:
    stop = offset + size + TRAILER_SIZE
    if stop > len(data) - FOOTER_SIZE:
        raise CorruptionError(
            "a block reaches beyond the end of the table",
            file=file,
            offset=min(offset, len(data)),
            expected=f"a block that ends before byte {len(data) - FOOTER_SIZE}",
            found=f"a block of {size} bytes at byte {offset}",
        )
    stored = int.from_bytes(data[stop - 4 : stop], "little")
    actual = crc32c.masked(crc32c.of(data[offset : stop - 4]))
    if stored != actual:
        raise CorruptionError(
            "the checksum of a table block does not match",
            file=file,
            offset=offset,
            expected=f"{stored:#010x}",
            found=f"{actual:#010x}",
        )
    content, compression = data[offset : offset + size], data[offset + size]
    if compression == PLAIN:
        return _Block(content, offset, stop, packed=False)
    if compression == SNAPPY:
        return _Block(_unpack(content, file, offset), offset, stop, packed=True)
    raise CorruptionError(
        "a table block has an unknown type",
        file=file,
        offset=offset + size,
        expected="0 (plain) or 1 (snappy)",
        found=compression,
    )


def _unpack(content: memoryview, file: str, offset: int) -> memoryview:
    claimed, _ = varint.read(content, 0, len(content), file=file, offset=offset)
    if claimed > _SNAPPY_RATIO * len(content):
        raise CorruptionError(
            "a compressed block claims more bytes than it can hold",
            file=file,
            offset=offset,
            expected=f"at most {_SNAPPY_RATIO * len(content)}",
            found=claimed,
        )
    try:
        return memoryview(bytes(cramjam.snappy.decompress_raw(bytes(content))))
    except cramjam.DecompressionError as error:
        raise CorruptionError(
            f"a compressed block cannot be decompressed: {error}", file=file, offset=offset
        ) from error


def _records(block: _Block, above: bytes | None, budget: int, file: str) -> list[Record]:
    """Decode a block; all keys must be above `above`, and have `budget` bytes at most together."""
    data, size = block.content, len(block.content)
    restarts = int.from_bytes(data[-4:], "little")
    end = size - 4 - 4 * restarts
    if size < 4 or end < 0:
        raise CorruptionError(
            "the restart points do not fit in their block",
            file=file,
            offset=block.at(max(size - 4, 0)),
            found=f"{restarts} in {size} bytes",
        )
    out: list[Record] = []
    key = b""
    at = 0
    while at < end:
        start = at
        shared, fresh, length = data[at], data[at + 1], data[at + 2]
        if shared | fresh | length < 0x80:
            at += 3
        else:
            shared, at = varint.read(data, at, end, file=file, offset=block.at(0))
            fresh, at = varint.read(data, at, end, file=file, offset=block.at(0))
            length, at = varint.read(data, at, end, file=file, offset=block.at(0))
        value_at = at + fresh
        stop = value_at + length
        budget -= shared + fresh
        if shared > len(key) or stop > end or budget < 0:
            raise CorruptionError(
                "a table entry claims more bytes than there are",
                file=file,
                offset=block.at(start),
                expected=f"at most {len(key)} shared bytes, {end - at} of key and value",
                found=f"{shared} shared, {fresh} of key, {length} of value",
            )
        key = key[:shared] + bytes(data[at:value_at])
        if above is not None and key <= above:
            raise CorruptionError(
                "the keys of a table are out of order",
                file=file,
                offset=block.at(start),
                expected=f"a key above {above!r}",
                found=key,
            )
        above = key
        out.append((key, data[value_at:stop], block.at(value_at)))
        at = stop
    return out
