"""Written tables: read again, the same as written entry by entry, and refused without order."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import SaveError
from tfpersist.formats import crc32c, sstable, sstable_writer, varint
from tfpersist.formats.byte_columns import Strings
from tfpersist.formats.sstable_writer import Keys, encode_columns


def written(items):
    return sstable_writer.encode_table(items).content


def pairs(data):
    return [(key, bytes(value)) for key, value, _ in sstable.read_table(memoryview(data), "t")]


@given(st.dictionaries(st.binary(max_size=6), st.binary(max_size=300), max_size=60))
def test_round_trip(items):
    ordered = sorted(items.items())
    assert pairs(written(ordered)) == ordered


@given(st.lists(st.integers(0, 600_000), max_size=6), st.integers(0, 5))
def test_many_blocks(sizes, prefix):
    items = [(b"k" * prefix + b"%03d" % n, bytes(size)) for n, size in enumerate(sizes)]
    assert pairs(written(items)) == items


def entry_by_entry(items):
    """Return the data blocks as LevelDB's block builder writes them, one entry after the other."""
    blocks, entries, restarts, count, last = [], bytearray(), [0], 0, b""

    def full_block():
        content = entries + b"".join(at.to_bytes(4, "little") for at in [*restarts, len(restarts)])
        typed = content + b"\0"
        return typed + crc32c.masked(crc32c.of(typed)).to_bytes(4, "little")

    for key, value in items:
        if entries and len(key) + len(value) >= 512 << 10:
            blocks.append(full_block())
            entries, restarts, count, last = bytearray(), [0], 0, b""
        shared = 0
        if count < 16:
            while shared < min(len(last), len(key)) and last[shared] == key[shared]:
                shared += 1
        else:
            restarts.append(len(entries))
            count = 0
        count += 1
        lengths = b"".join(map(varint.encode, (shared, len(key) - shared, len(value))))
        entries += lengths + key[shared:] + value
        last = key
        if len(entries) + 4 * len(restarts) + 4 >= 256 << 10:
            blocks.append(full_block())
            entries, restarts, count, last = bytearray(), [0], 0, b""
    return [*blocks, full_block()] if entries else blocks


@st.composite
def large_tables(draw):
    """Draw tables of several blocks, some of entries that end a block or begin one."""
    keys = draw(st.lists(st.binary(min_size=1, max_size=4), unique=True, min_size=1, max_size=40))
    sizes = st.one_of(
        st.integers(0, 300),
        st.integers(20_000, 60_000),
        st.integers((256 << 10) - 40, (256 << 10) + 2),
        st.integers((512 << 10) - 6, 512 << 10),
    )
    return [(key, bytes(draw(sizes))) for key in sorted(keys)]


@given(large_tables())
def test_blocks_are_those_of_a_table_written_entry_by_entry(items):
    table = sstable_writer.encode_table(items)
    blocks = entry_by_entry(items)
    assert table.content.startswith(b"".join(blocks))
    assert [size + sstable.TRAILER_SIZE for _, size in table.blocks] == list(map(len, blocks))
    assert len(table.ends) == len(items)
    for end, (_, value) in zip(table.ends.tolist(), items, strict=True):
        assert table.content[end - len(value) : end] == value
    assert pairs(table.content) == items


def test_thousands_of_short_entries():
    """Blocks of many entries, with a restart every sixteen of each."""
    items = [(b"layer/%06d" % n, b"v" * (n % 30)) for n in range(40_000)]
    table = sstable_writer.encode_table(items)
    blocks = entry_by_entry(items)
    assert len(blocks) > 2
    assert table.content.startswith(b"".join(blocks))


def test_a_block_ends_with_the_entry_that_fills_it():
    for size in range((256 << 10) - 30, (256 << 10) + 1):
        items = [(b"a", bytes(size)), (b"b", b"1"), (b"c", b"2")]
        table = sstable_writer.encode_table(items)
        assert table.content.startswith(b"".join(entry_by_entry(items)))
        assert len(table.blocks) == len(entry_by_entry(items))


def test_the_shortest_entries_fill_a_block():
    """An entry of four bytes: three lengths, and one byte of the key."""
    items = [(number.to_bytes(3, "big"), b"") for number in range(70_000)]
    blocks = entry_by_entry(items)
    assert len(blocks) == 2
    assert sstable_writer.encode_table(items).content.startswith(b"".join(blocks))


@given(st.lists(st.binary(max_size=5), unique=True, min_size=1, max_size=20))
def test_keys_know_what_they_share_with_the_one_before(keys):
    ordered = sorted(keys)
    shared = Keys.of(ordered).shared.tolist()
    assert shared[0] == 0
    for length, (last, key) in zip(shared[1:], pairwise(ordered), strict=True):
        assert last[:length] == key[:length]
        assert last[length : length + 1] != key[length : length + 1]


def test_keys_serve_for_several_tables():
    keys = Keys.of([b"a", b"ab", b"b"])
    for values in ([b"1", b"2", b"3"], [b"", b"x" * 300_000, b"y"]):
        expected = written(list(zip([b"a", b"ab", b"b"], values, strict=True)))
        assert encode_columns(keys, [Strings(values)]).content == expected
    assert keys.shared.tolist() == [0, 1, 0]


def test_values_of_several_columns():
    keys = Keys.of([b"a", b"b"])
    table = encode_columns(keys, [Strings([b"1", b""]), Strings([b"2", b"3"])])
    assert pairs(table.content) == [(b"a", b"12"), (b"b", b"3")]


def test_other_ends_of_values():
    items = [(b"k%05d" % n, b"head" + n.to_bytes(4, "little")) for n in range(30_000)]
    table = sstable_writer.encode_table(items)
    assert len(table.blocks) > 1
    numbers = np.array([7, 29_999, 12_345])
    changed = dict(items)
    for number in numbers.tolist():
        changed[b"k%05d" % number] = b"head" + (number + 1).to_bytes(4, "little")
    expected = written(sorted(changed.items()))
    assert table.with_tails(numbers, (numbers + 1).astype(np.uint32)) == expected


def test_keys_out_of_order_are_not_written():
    with pytest.raises(SaveError, match="out of order"):
        written([(b"b", b""), (b"a", b"")])
    with pytest.raises(SaveError, match="out of order"):
        written([(b"a", b""), (b"a", b"")])
