"""Encode an SSTable byte for byte as TensorFlow does. `sstable` describes the layout.

Blocks are not compressed. A block ends with the entry that brings it to 256 KiB, or before an entry
of 512 KiB or more. Every sixteenth key is written in full, and every key of the index block.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import SaveError
from tfpersist.formats import crc32c, sstable, varint

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


class _Block:
    """A block to which entries are added."""

    def __init__(self, restart_interval: int) -> None:
        self._interval = restart_interval
        self.clear()

    def clear(self) -> None:
        self._parts: list[bytes] = []
        self._restarts = [0]
        self._since_restart = 0
        self._last = b""
        self.length = 0

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, key: bytes, value: bytes) -> int:
        shared = 0
        if self._since_restart < self._interval:
            shared = _shared_prefix(self._last, key)
        else:
            self._restarts.append(self.length)
            self._since_restart = 0
        self._since_restart += 1
        self._last = key
        fresh, length = len(key) - shared, len(value)
        if shared | fresh | length < 0x80:
            entry = bytes((shared, fresh, length)) + key[shared:] + value
        else:
            entry = b"".join([*map(varint.encode, (shared, fresh, length)), key[shared:], value])
        self._parts.append(entry)
        self.length += len(entry)
        return self.length + 4 * len(self._restarts) + 4

    def content(self) -> bytes:
        restarts = [*self._restarts, len(self._restarts)]
        return b"".join([*self._parts, *(number.to_bytes(4, "little") for number in restarts)])


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
    data, index = _Block(RESTART_INTERVAL), _Block(1)
    written: list[bytes] = []
    blocks: list[tuple[int, int]] = []
    ends: list[int] = []
    offset = 0
    last: bytes | None = None
    handle = b""

    def emit(block: _Block) -> bytes:
        nonlocal offset
        content = block.content() + bytes([sstable.PLAIN])
        written.append(content + crc32c.masked(crc32c.of(content)).to_bytes(4, "little"))
        start, size = offset, len(content) - 1
        offset += size + sstable.TRAILER_SIZE
        if block is data:
            blocks.append((start, size))
        block.clear()
        return varint.encode(start) + varint.encode(size)

    for key, value in items:
        if last is not None and key <= last:
            raise SaveError(
                "the keys of a table are out of order", expected=f"a key above {last!r}", found=key
            )
        if len(key) + len(value) >= 2 * BLOCK_SIZE and data:
            handle = emit(data)
        if handle:
            index.add(_separator(last or b"", key), handle)
            handle = b""
        size = data.add(key, value)
        ends.append(offset + data.length)
        last = key
        if size >= BLOCK_SIZE:
            handle = emit(data)
    if data:
        handle = emit(data)
    metaindex = emit(_Block(RESTART_INTERVAL))
    if handle:
        index.add(_successor(last or b""), handle)
    footer = metaindex + emit(index)
    written.append(footer.ljust(sstable.FOOTER_SIZE - len(sstable.MAGIC), b"\0") + sstable.MAGIC)
    return Table(b"".join(written), np.array(ends, np.int64), tuple(blocks))


def _shared_prefix(first: bytes, second: bytes) -> int:
    """Return how many bytes two keys have in common at their beginning."""
    length = min(len(first), len(second))
    difference = int.from_bytes(first[:length], "big") ^ int.from_bytes(second[:length], "big")
    return length - (difference.bit_length() + 7) // 8


def _separator(last: bytes, first: bytes) -> bytes:
    """Return a short key that is not below `last` and is below `first`."""
    shared = _shared_prefix(last, first)
    if shared < min(len(last), len(first)) and last[shared] + 1 < first[shared]:
        return last[:shared] + bytes([last[shared] + 1])
    return last


def _successor(last: bytes) -> bytes:
    """Return a short key that is not below `last`."""
    kept = len(last) - len(last.lstrip(b"\xff"))
    return last if kept == len(last) else last[:kept] + bytes([last[kept] + 1])
