"""Reading tables: views, compression, deliberate damage and hostile blocks."""

import cramjam
import pytest

from tfpersist.errors import CorruptionError
from tfpersist.formats import crc32c, sstable, sstable_writer, varint


def written(items):
    return sstable_writer.encode_table(items).content


def pairs(data):
    return [(key, bytes(value)) for key, value, _ in sstable.read_table(memoryview(data), "t")]


def block(content, kind=sstable.PLAIN):
    body = content + bytes([kind])
    return body + crc32c.masked(crc32c.of(body)).to_bytes(4, "little")


def entry(shared, key, value):
    numbers = (shared, len(key), len(value))
    return b"".join(map(varint.encode, numbers)) + key + value


def content_of(*entries, restarts=(0,)):
    numbers = [*restarts, len(restarts)]
    return b"".join(entries) + b"".join(number.to_bytes(4, "little") for number in numbers)


def table(*blocks, handles=None, separators=None):
    """A table of ready-made blocks, whose checksums are right whatever they hold."""
    out, found = b"", []
    for each in blocks:
        found.append((len(out), len(each) - 5))
        out += each
    handles = found if handles is None else handles
    separators = separators or [b"\xff" * (n + 1) for n in range(len(handles))]
    rows = [
        entry(0, key, varint.encode(start) + varint.encode(size))
        for key, (start, size) in zip(separators, handles, strict=True)
    ]
    offsets = [sum(map(len, rows[:n])) for n in range(len(rows))] or [0]
    meta, index = block(content_of()), block(content_of(*rows, restarts=offsets))
    footer = b"".join(
        varint.encode(start) + varint.encode(len(each) - 5)
        for start, each in ((len(out), meta), (len(out) + len(meta), index))
    )
    return out + meta + index + footer.ljust(40, b"\0") + sstable.MAGIC


def test_offsets_are_those_in_the_file():
    data = written([(b"a%02d" % n, b"value%02d" % n) for n in range(40)])
    for _, value, offset in sstable.read_table(memoryview(data), "t"):
        assert data[offset : offset + len(value)] == value


def test_values_are_views_that_cannot_be_written():
    data = bytearray(written([(b"a", b"123")]))
    [(_, value, _)] = sstable.read_table(memoryview(data), "t")
    assert value.readonly
    assert value.obj is data


def test_a_compressed_block_is_read():
    content = content_of(entry(0, b"k", b"v" * 900))
    packed = block(bytes(cramjam.snappy.compress_raw(content)), sstable.SNAPPY)
    assert pairs(table(packed)) == [(b"k", b"v" * 900)]


@pytest.mark.parametrize("claimed", [1 << 40, (1 << 64) - 1, 5000])
def test_a_compressed_block_that_claims_too_much_is_refused(claimed, refuses):
    packed = block(varint.encode(claimed) + b"\x00a", sstable.SNAPPY)
    assert refuses(lambda: pairs(table(packed)))
    with pytest.raises(CorruptionError, match="claims more bytes than it can hold"):
        pairs(table(packed))


HOSTILE = {
    "an unknown block type": [block(content_of(entry(0, b"k", b"")), 2)],
    "compressed rubbish": [block(b"\x05\xff\xff\xff", sstable.SNAPPY)],
    "no compressed length": [block(b"", sstable.SNAPPY)],
    "a block too short for restarts": [block(b"abc")],
    "more restarts than bytes": [block(b"\xff\xff\xff\xff")],
    "more restarts than bytes, barely": [block(bytes(4) + (2).to_bytes(4, "little"))],
    "a key that shares more than there is": [block(content_of(entry(1, b"k", b"")))],
    "a key longer than the block": [block(content_of(b"\x00\x7f\x00k"))],
    "a value longer than the block": [block(content_of(b"\x00\x01\x7fk"))],
    "lengths of 64 bits": [block(content_of(b"\x00" + b"\xff" * 9 + b"\x01\x00k"))],
    "lengths of more bits": [block(content_of(b"\xff" * 20))],
    "a length that is cut off": [block(content_of(b"\x00\x80"))],
    "an entry that is cut off": [block(content_of(b"\x00"))],
    "keys out of order": [block(content_of(entry(0, b"b", b""), entry(0, b"a", b"")))],
    "a key twice": [block(content_of(entry(0, b"a", b""), entry(1, b"", b"")))],
    "a key in two blocks": [block(content_of(entry(0, b"a", b"")))] * 2,
}


@pytest.mark.parametrize("blocks", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_blocks_are_refused(blocks, refuses):
    assert refuses(lambda: pairs(table(*blocks)))


GOOD = block(content_of(entry(0, b"a", b"1")))


@pytest.mark.parametrize(
    "handles",
    [
        [(0, 1 << 62)],
        [((1 << 64) - 5, 5)],
        [(len(GOOD) + 500, 0)],
        [(0, len(GOOD) - 5), (0, len(GOOD) - 5)],
        [(1, len(GOOD) - 5)],
        [(0, len(GOOD) + 100)],
    ],
)
def test_hostile_handles_are_refused(handles, refuses):
    assert refuses(lambda: pairs(table(GOOD, handles=handles)))


def test_a_block_may_be_referred_to_only_once_even_if_it_is_empty(refuses):
    empty = block(content_of())
    assert refuses(lambda: pairs(table(empty, handles=[(0, len(empty) - 5)] * 2)))


def test_blocks_that_share_one_byte_are_refused():
    """The last byte of a checksum is also the first byte of an entry, which is 0."""
    blocks = (block(content_of(entry(0, b"a", b"%d" % n))) for n in range(5000))
    first = next(block for block in blocks if block.endswith(b"\0"))
    second = block(content_of(entry(0, b"b", b"")))
    apart = [(0, len(first) - 5), (len(first), len(second) - 5)]
    keys = [b"a", b"b"]
    assert len(pairs(table(first, second, handles=apart, separators=keys))) == 2
    shared = [apart[0], (len(first) - 1, len(second) - 5)]
    with pytest.raises(CorruptionError, match="data blocks overlap"):
        pairs(table(first, second[1:], handles=shared, separators=keys))


def test_a_key_beyond_its_index_entry_is_refused(refuses):
    assert refuses(lambda: pairs(table(GOOD, separators=[b"A"])))


def test_shared_prefixes_cannot_blow_up_memory(refuses):
    """A megabyte of entries that each repeat a long key would become many gigabytes."""
    long = b"a" * 50_000
    entries = [entry(0, long, b"")]
    entries += [entry(len(long), n.to_bytes(3, "big"), b"") for n in range(20_000)]
    data = table(block(content_of(*entries)))
    assert refuses(lambda: pairs(data), most=100 * len(data))


def test_shared_prefixes_of_many_blocks_cannot_blow_up_memory_either(refuses):
    """The keys of no single block are too long for the file; those of all are."""
    blocks, separators = [], []
    for letter in b"abcdefgh":
        long = bytes([letter]) * 50_000
        entries = [entry(0, long, b"")]
        entries += [entry(len(long), n.to_bytes(2, "big"), b"") for n in range(300)]
        blocks.append(block(content_of(*entries)))
        separators.append(long + b"\xff")
    data = table(*blocks, separators=separators)
    assert refuses(lambda: pairs(data), most=100 * len(data))


@pytest.mark.parametrize("size", [0, 1, 47, 48, 100])
def test_files_without_magic_are_refused(size):
    with pytest.raises(CorruptionError, match="not an SSTable"):
        sstable.read_table(memoryview(bytes(size)), "t")


@pytest.mark.parametrize("items", [[], [(b"", b"x"), (b"abc", b"y" * 20), (b"abd", b"")]])
def test_every_damage_is_noticed_or_harmless(items, survives):
    data = written(items)
    assert survives(pairs, data, lambda found: found == items) > len(data)


def test_any_content_with_a_right_checksum_is_read_or_refused(refuses):
    content = content_of(entry(0, b"ab", b"1"), entry(1, b"c", b"22"), entry(2, b"d", b""))
    outcomes = set()
    for at in range(len(content)):
        for value in (0, 1, 0x7F, 0x80, 0xFF, content[at] ^ 1):
            changed = content[:at] + bytes([value]) + content[at + 1 :]
            outcomes.add(refuses(lambda changed=changed: pairs(table(block(changed)))))
    assert outcomes == {True, False}


@pytest.mark.parametrize("items", [[], [(b"a", b"1"), (b"b", b"2" * 300_000), (b"c", b"3" * 9)]])
def test_a_note_beside_the_entries(items):
    plain = written(items)
    noted = sstable_writer.with_note(plain, b"facts", b"noted")
    assert pairs(noted) == items
    assert sstable.read_note(memoryview(noted), b"facts", "t") == b"noted"
    assert sstable.read_note(memoryview(noted), b"other", "t") is None
    assert sstable.read_note(memoryview(plain), b"facts", "t") is None


def test_a_damaged_note_is_refused(refuses):
    noted = sstable_writer.with_note(written([(b"a", b"1")]), b"facts", b"noted")
    start = noted.index(b"noted")
    for at in range(start, len(noted) - sstable.FOOTER_SIZE):
        spoilt = bytearray(noted)
        spoilt[at] ^= 1
        try:
            found = sstable.read_note(memoryview(spoilt), b"facts", "t")
        except CorruptionError:
            continue
        # The last block is the index, which a note has nothing to do with.
        assert found == b"noted"
        assert at > start + len(b"noted") + sstable.TRAILER_SIZE
