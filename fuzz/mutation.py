"""Damage a file: its bytes, the fields of a message, the entries of a table.

A reader refuses random bytes at the first checksum or length. So these mutations decode messages,
damage one field and encode them again; tables get right checksums. So they reach deeper code.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence

from tfpersist.errors import TFPersistError
from tfpersist.formats import crc32c, sstable, sstable_writer, varint, wire

Mutation = Callable[[bytes, random.Random], bytes]

_EDGES = (0, 1, 2, 3, 7, 127, 128, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**32)
EDGES = (*_EDGES, 2**40, 2**53, 2**60, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
_TEXTS = (
    b"",
    b"\0",
    b"a",
    b"y",
    b"x",
    b"a:0",
    b"^a",
    b"a:1",
    b"f",
    b"g",
    b"WriteFile",
    b"Const",
    b"Merge",
)
_TEXTS += (
    b"Identity",
    b"VarHandleOp",
    b"dtype",
    b"value",
    b"shape",
    b"/",
    b"\xe2\x82\xac",
    b"a" * 3000,
)
_NESTING = 12


def spoil_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change a few bytes anywhere: flip, set, insert, remove, repeat, cut."""
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(spoilt) + 1)
        length = min(rng.choice((1, 1, 2, 4, 8, 64)), len(spoilt) - at)
        kind = rng.randrange(7)
        if kind == 0 and length:
            spoilt[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            spoilt[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            spoilt[at:at] = rng.choice((rng.randbytes(length), varint.encode(rng.choice(EDGES))))
        elif kind == 3:
            del spoilt[at : at + length]
        elif kind == 4:
            spoilt[at:at] = spoilt[at : at + length] * rng.choice((1, 1, 2, 50))
        elif kind == 5 and rng.random() < 0.2:
            del spoilt[at:]
        elif length >= 4:
            spoilt[at : at + 4] = (rng.choice(EDGES) & 0xFFFFFFFF).to_bytes(4, "little")
    return bytes(spoilt)


def spoil_message(data: bytes, rng: random.Random, nesting: int = 0) -> bytes:
    """Change one field at any depth of an encoded protobuf message; all lengths stay right."""
    fields = _fields(data)
    if not fields:
        return spoil_bytes(data, rng)
    field = rng.choice(fields)
    whole, body = data[field.start : field.end], data[field.body : field.end]
    tag = varint.encode(field.number << 3 | field.wire_type)
    choice = rng.random()
    if field.wire_type == wire.BYTES and choice < 0.8:
        inner = _spoil_body(body, rng, nesting)
        changed = tag + varint.encode(len(inner)) + inner
    elif choice < 0.84:
        changed = b""
    elif choice < 0.88:
        changed = whole * rng.choice((2, 2, 3, 40))
    elif choice < 0.92:
        other = rng.choice([each for each in fields if each.wire_type == field.wire_type])
        changed = tag + data[other.start + _tag(other) : other.end]
    elif choice < 0.93:
        changed = (
            whole + varint.encode(rng.randrange(1, 40) << 3) + varint.encode(rng.choice(EDGES))
        )
    elif field.wire_type == wire.VARINT:
        changed = tag + varint.encode(rng.choice(EDGES))
    elif field.wire_type == wire.BYTES:
        twins = [each for each in fields if each.number == field.number]
        other = rng.choice(twins)
        inner = data[other.body : other.end]
        if rng.random() < 0.2:
            inner = rng.choice((b"", b"a" * 3000, whole * 200, spoil_bytes(body, rng)))
        changed = tag + varint.encode(len(inner)) + inner
    else:
        changed = tag + rng.randbytes(len(body))
    return data[: field.start] + changed + data[field.end :]


def _tag(field: wire.Field) -> int:
    """Return the size of a field's tag."""
    return len(varint.encode(field.number << 3 | field.wire_type))


def _spoil_body(body: bytes, rng: random.Random, nesting: int) -> bytes:
    """Replace a text by another one, change a message inside, or change bytes."""
    if body.isascii() and bytes(body).decode().isprintable():
        if rng.random() < 0.5:
            return rng.choice(_TEXTS)
        at = rng.randrange(len(body) + 1)
        return body[:at] + rng.choice((b"", b"a", b":", b"/", b"^", b"0")) + body[at + 1 :]
    if nesting < _NESTING and _fields(body):
        return spoil_message(body, rng, nesting + 1)
    return spoil_bytes(body, rng)


def _fields(data: bytes) -> list[wire.Field]:
    try:
        return list(wire.fields(memoryview(data), 0, len(data), ""))
    except TFPersistError:
        return []


def spoil_table(data: bytes, rng: random.Random) -> bytes:
    """Change entries or bytes of an SSTable, and correct its checksums."""
    if len(data) < sstable.FOOTER_SIZE:
        return spoil_bytes(data, rng)
    return _spoil_entries(data, rng) if rng.random() < 0.7 else _spoil_blocks(data, rng)


def _spoil_entries(data: bytes, rng: random.Random) -> bytes:
    """Change some keys and values, and write a table with them."""
    records = sstable.read_table(memoryview(data), "")
    entries = {key: bytes(value) for key, value, _ in records} or {b"": b""}
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        key = rng.choice(list(entries))
        kind = rng.random()
        if kind < 0.75:
            entries[key] = spoil_message(entries[key], rng)
        elif kind < 0.8:
            entries[key] = entries[rng.choice(list(entries))]
        elif kind < 0.9:
            entries[spoil_bytes(key, rng)] = entries[key]
        elif len(entries) > 1:
            value = entries.pop(key)
            if rng.random() < 0.5:
                entries[spoil_bytes(key, rng)] = value
    return sstable_writer.encode_table(sorted(entries.items())).content


def _spoil_blocks(data: bytes, rng: random.Random) -> bytes:
    """Change bytes in the blocks and the footer, and correct the checksum of every block."""
    spoilt = bytearray(data)
    ends = _block_ends(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(spoilt) - len(sstable.MAGIC))
        spoilt[at] = rng.choice((rng.randrange(256), spoilt[at] ^ 1 << rng.randrange(8), 255, 0))
    start = 0
    for end in filter(lambda end: end <= len(spoilt), ends):
        spoilt[end - 4 : end] = crc32c.masked(crc32c.of(bytes(spoilt[start : end - 4]))).to_bytes(
            4, "little"
        )
        start = end
    return bytes(spoilt)


@functools.lru_cache(maxsize=256)
def _block_ends(data: bytes) -> list[int]:
    """Return the ends of the blocks: blocks have no gaps, so each end has a right checksum."""
    ends, start, last = [], 0, len(data) - sstable.FOOTER_SIZE
    footer = memoryview(data)[last : last + 40]
    blocks = []
    at = 0
    for _ in range(2):
        offset, at = varint.read(footer, at, 40, file="")
        size, at = varint.read(footer, at, 40, file="")
        blocks.append(offset + size + sstable.TRAILER_SIZE)
    if len(data) < 64 << 10:
        for end in range(5, min(blocks[0], last) + 1):
            stored = int.from_bytes(data[end - 4 : end], "little")
            plausible = end - start > sstable.TRAILER_SIZE and data[end - 5] <= sstable.SNAPPY
            if plausible and stored == crc32c.masked(crc32c.of(data[start : end - 4])):
                ends.append(end)
                start = end
    return sorted({*ends, *blocks})


def any_of(*mutations: Mutation, weights: Sequence[int] | None = None) -> Mutation:
    """Return a mutation that chooses one of these each time."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        [chosen] = rng.choices(mutations, weights)
        return chosen(data, rng)

    return mutate
