"""Encode an SSTable byte for byte as TensorFlow does. `sstable` describes the layout.

Blocks are not compressed. A block ends with the entry that brings it to 256 KiB, or before an entry
of 512 KiB or more. Every sixteenth key is written in full, and every key of the index block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import SaveError
from tfpersist.formats import crc32c, sstable, varint
from tfpersist.formats.byte_columns import (
    Column,
    Ends,
    Numbers,
    Strings,
    Varints,
    join_rows,
    varint_sizes,
)

BLOCK_SIZE = 256 << 10
RESTART_INTERVAL = 16


@attrs.frozen(eq=False)
class Table:
    """The bytes of a table, and the places of the values in them.

    Args:
        content: the bytes.
        ends: where each value ends.
        blocks: start of each data block, and its size without type and checksum.
    """

    content: bytes
    ends: np.ndarray[Any, np.dtype[np.int64]]
    blocks: tuple[tuple[int, int], ...]

    def with_tails(
        self, numbers: np.ndarray[Any, np.dtype[np.int64]], tails: np.ndarray[Any, Any]
    ) -> bytes:
        """Return the bytes of the table with other ends of some values.

        Args:
            numbers: the numbers of these values.
            tails: the new last four bytes of each, as a number.

        Example:
            >>> table = encode_table([(b"a", b"-1234")])
            >>> other = table.with_tails(np.array([0]), np.array([0x34333231], np.uint32))
            >>> other == table.content, other == encode_table([(b"a", b"-....")]).content
            (True, False)
        """
        content = np.frombuffer(self.content, np.uint8).copy()
        places = self.ends[numbers].reshape(-1, 1) + np.arange(-4, 0)
        content[places] = tails.astype("<u4").view(np.uint8).reshape(-1, 4)
        for start, size in self.blocks:
            checked = start + size + 1
            crc = crc32c.masked(crc32c.of(content[start:checked])).to_bytes(4, "little")
            content[checked : checked + 4] = np.frombuffer(crc, np.uint8)
        return content.tobytes()


@attrs.frozen(eq=False)
class Keys:
    """The keys of a table in ascending order. Several tables can have the same keys.

    Args:
        keys: the keys.
        shared: how many bytes each has in common with the one before, at the beginning.
    """

    keys: Strings
    shared: Numbers

    @classmethod
    def of(cls, keys: Sequence[bytes]) -> Keys:
        """Return keys with what they have in common.

        Raises:
            SaveError: the keys are out of order.

        Example:
            >>> Keys.of([b"a", b"abc", b"abd"]).shared
            array([0, 1, 2])
        """
        shared = np.zeros(len(keys), np.int64)
        for number, (last, key) in enumerate(pairwise(keys), 1):
            if key <= last:
                raise SaveError(
                    "the keys of a table are out of order",
                    expected=f"a key above {last!r}",
                    found=key,
                )
            shared[number] = _shared_prefix(last, key)
        return cls(Strings(keys), shared)


def encode_table(items: Iterable[tuple[bytes, bytes]]) -> Table:
    """Encode a table.

    Args:
        items: keys with their values, in strictly ascending order of the keys.

    Raises:
        SaveError: the keys are out of order.

    Example:
        >>> table = encode_table([(b"a", b"1"), (b"b", b"2")]).content
        >>> len(table)
        103
        >>> [(key, bytes(value)) for key, value, _ in sstable.read_table(memoryview(table), "x")]
        [(b'a', b'1'), (b'b', b'2')]
    """
    pairs = list(items)
    keys = Keys.of([key for key, _ in pairs])
    return encode_columns(keys, [Strings([value for _, value in pairs])])


def encode_columns(keys: Keys, values: Sequence[Column]) -> Table:
    """Encode a table whose values are in columns.

    Args:
        keys: the keys.
        values: the columns, with a row for each key; the strings of a row make up its value.
    """
    value_lengths = _total(values)
    bounds, shared = _cut(keys, value_lengths)
    suffixes = Ends(keys.keys, shared)
    lengths = [Varints(numbers) for numbers in (shared, suffixes.lengths, value_lengths)]
    entries: list[Column] = [*lengths, suffixes, *values]
    ends = _total(entries).cumsum()
    starts = np.append(0, ends)

    content = bytearray()
    blocks: list[tuple[int, int]] = []
    index = bytearray()
    index_restarts: list[int] = []
    for start, stop in pairwise(bounds):
        ends[start:stop] += len(content) - starts[start]
        restarts = starts[start:stop:RESTART_INTERVAL] - starts[start]
        blocks.append(_append_block(content, join_rows(entries, start, stop), restarts))
        key = _after(keys.keys.strings[stop - 1 : stop + 1])
        handle = _encode_handle(*blocks[-1])
        index_restarts.append(len(index))
        index += b"\0" + varint.encode(len(key)) + varint.encode(len(handle)) + key + handle
    footer = _encode_handle(*_append_block(content, b"", [0]))
    footer += _encode_handle(*_append_block(content, bytes(index), index_restarts or [0]))
    content += _padded(footer)
    return Table(bytes(content), ends, tuple(blocks))


def _padded(footer: bytes) -> bytes:
    return footer.ljust(sstable.FOOTER_SIZE - len(sstable.MAGIC), b"\0") + sstable.MAGIC


def _typed(block: bytes) -> bytes:
    """Return a block with its type and checksum."""
    typed = block + bytes([sstable.PLAIN])
    return typed + crc32c.masked(crc32c.of(typed)).to_bytes(4, "little")


def with_note(table: bytes, name: bytes, note: bytes) -> bytes:
    """Return a table with a block that its metaindex names; the entries stay as they are.

    Args:
        table: the bytes of a table, as `encode_table` returns it.
        name: what the note is called.
        note: its bytes.

    Example:
        >>> table = encode_table([(b"a", b"1")]).content
        >>> noted = memoryview(with_note(table, b"by", b"me"))
        >>> [(key, bytes(value)) for key, value, _ in sstable.read_table(noted, "x")]
        [(b'a', b'1')]
    """
    (meta, _), (index, index_size) = sstable.handles(memoryview(table))
    content = bytearray(table[:meta])
    handle = _encode_handle(len(content), len(note))
    content += _typed(note)
    entry = b"\0" + varint.encode(len(name)) + varint.encode(len(handle)) + name + handle
    footer = _encode_handle(*_append_block(content, entry, [0]))
    footer += _encode_handle(len(content), index_size)
    content += table[index : index + index_size + sstable.TRAILER_SIZE]
    return bytes(content) + _padded(footer)


def _total(columns: Sequence[Column]) -> Numbers:
    total: Numbers = np.sum([column.lengths for column in columns], axis=0)
    return total


def _cut(keys: Keys, value_lengths: Numbers) -> tuple[list[int], Numbers]:
    """Cut a table into blocks.

    Returns:
        The numbers of the entries between which the blocks are; and for each entry, how many bytes
        of its key it leaves out.
    """
    shared, key_lengths = keys.shared.copy(), keys.keys.lengths
    huge = np.flatnonzero(key_lengths + value_lengths >= 2 * BLOCK_SIZE)
    # Three lengths come before each key and value.
    most_entries = BLOCK_SIZE // (3 + int(value_lengths.min(initial=0))) + 1
    bounds = [0]
    while (start := bounds[-1]) < len(shared):
        stop = min([len(shared), start + most_entries, *huge[huge > start][:1].tolist()])
        some = slice(start, stop)
        shared[start:stop:RESTART_INTERVAL] = 0
        fresh = key_lengths[some] - shared[some]
        numbers = (shared[some], fresh, value_lengths[some])
        sizes = fresh + value_lengths[some] + sum(map(varint_sizes, numbers))
        restarts = np.arange(stop - start) // RESTART_INTERVAL + 1
        full = np.flatnonzero(sizes.cumsum() + 4 * restarts + 4 >= BLOCK_SIZE)
        if full.size and start + full[0] + 1 < stop:
            stop = start + int(full[0]) + 1
            shared[stop : some.stop] = keys.shared[stop : some.stop]
        bounds.append(stop)
    return bounds, shared


def _append_block(
    content: bytearray, entries: bytes, restarts: Sequence[int] | Numbers
) -> tuple[int, int]:
    """Append a block; return where it starts, and its size without type and checksum."""
    start = len(content)
    block = entries + np.array([*restarts, len(restarts)], "<u4").tobytes()
    content += _typed(block)
    return start, len(block)


def _encode_handle(start: int, size: int) -> bytes:
    return varint.encode(start) + varint.encode(size)


def _shared_prefix(first: bytes, second: bytes) -> int:
    """Return how many bytes two keys have in common at their beginning."""
    length = min(len(first), len(second))
    difference = int.from_bytes(first[:length], "big") ^ int.from_bytes(second[:length], "big")
    return length - (difference.bit_length() + 7) // 8


def _after(keys: Sequence[bytes]) -> bytes:
    """Return a short key that is not below the last key of a block.

    Args:
        keys: that key, and the first key of the next block if there is one; the result is below it.
    """
    last = keys[0]
    if len(keys) > 1:
        shared = _shared_prefix(*keys)
        if shared < min(map(len, keys)) and last[shared] + 1 < keys[1][shared]:
            return last[:shared] + bytes([last[shared] + 1])
        return last
    kept = len(last) - len(last.lstrip(b"\xff"))
    return last if kept == len(last) else last[:kept] + bytes([last[kept] + 1])
