"""Entries of an index: of the usual form, of any other form, hostile."""

import pytest
from bundles import entry, rewritten, with_shape
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import CorruptionError
from tfpersist.formats import bundle_entry, dtypes, schema, sstable


def test_any_entry_with_a_right_checksum_is_read_or_refused(sample, read_all, refuses):
    index, data = sample
    records = {key: bytes(v) for key, v, _ in sstable.read_table(memoryview(index), "x")}
    outcomes = []
    for key, value in records.items():
        for at in range(len(value)):
            for byte in (0, 1, 2, 0x7F, 0x80, 0xFF, value[at] ^ 1, value[at] ^ 0x40):
                changed = value[:at] + bytes([byte]) + value[at + 1 :]
                hostile = rewritten(index, lambda found: {**found, key: changed})  # noqa: B023
                outcomes.append(refuses(lambda h=hostile: read_all(h, data)))
            hostile = rewritten(index, lambda found: {**found, key: value[:at]})  # noqa: B023
            outcomes.append(refuses(lambda h=hostile: read_all(h, data)))
    assert set(outcomes) == {True, False}


HOSTILE = {
    "no data type": entry(dtype=0),
    "an unknown data type": entry(dtype=77),
    "a ref type": entry(dtype=101),
    "a huge type": entry(dtype=-5),
    "a negative extent": with_shape(-1),
    "a size that does not fit": with_shape(3),
    "a huge tensor": with_shape(1 << 40, size=4 << 40),
    "a shape whose product overflows": with_shape(1 << 32, 1 << 32, size=0),
    "an overflow beside a zero": with_shape(0, 1 << 62, 1 << 62, size=0),
    "too many dimensions": with_shape(*[1] * 300),
    "a shard out of range": entry(shard_id=1),
    "a negative shard": entry(shard_id=-1),
    "a huge shard": entry(shard_id=(1 << 31) - 1),
    "an offset behind the end": entry(offset=1 << 40),
    "a negative offset": entry(offset=-4),
    "a negative size": entry(size=-4),
    "an offset that overflows": entry(offset=(1 << 63) - 2),
    "strings behind the end": entry(dtype=7, size=1 << 50),
    "many strings in few bytes": with_shape(1 << 40, dtype=7, size=9),
    "strings of no bytes": with_shape(5, dtype=7, size=0),
    "strings of a negative size": with_shape(5, dtype=7, size=-1),
}


@pytest.mark.parametrize("proto", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_entries_are_refused(sample, read_all, proto):
    index = rewritten(sample[0], lambda found: {b"": found[b""], b"x": proto.SerializeToString()})
    with pytest.raises(CorruptionError):
        read_all(index, sample[1])


def test_an_entry_of_unusual_form_is_read(sample, read_all):
    """Fields in another order, an unknown field, an unpacked default: protobuf allows all."""
    value = bytes.fromhex
    plain = {key: bytes(v) for key, v, _ in sstable.read_table(memoryview(sample[0]), "x")}[b"a/c"]
    head, rest = plain[:4], plain[4:]
    for changed in (
        rest + head,
        plain + value("f80701"),
        plain + value("1800"),
        value("1800") + plain,
    ):
        index = rewritten(sample[0], lambda found: {**found, b"a/c": changed})  # noqa: B023
        assert read_all(index, sample[1])["a/c"] == 0.5


def test_names_that_are_not_utf8_survive(read_all, sample):
    index = rewritten(sample[0], lambda found: {b"": found[b""], b"\xff\xfe": found[b"a/c"]})
    [(key, value)] = read_all(index, sample[1]).items()
    assert key.encode("utf-8", "surrogateescape") == b"\xff\xfe"
    assert value == 0.5


NUMBERS = st.one_of(st.integers(0, 3), st.integers(0, 1 << 63), st.sampled_from([127, 128]))
SPECS = [(1, (2,)), (1, ()), (9, (0, 3)), (7, (1,)), (3, (1, 1))]


@st.composite
def encoded(draw):
    """An entry as it is written, with another number in it or one byte changed, or as it is."""
    dtype, shape = draw(st.sampled_from(SPECS))
    size = dtypes.by_number(dtype).size
    for extent in shape:
        size *= extent
    place = bundle_entry.encode_place(
        draw(NUMBERS),
        size if draw(st.booleans()) else draw(NUMBERS),
        draw(st.integers(1, 0xFFFFFFFF)),
        shard=draw(st.integers(0, 300)),
    )
    raw = bytearray(with_shape(*shape, dtype=dtype, size=0, crc32c=0).SerializeToString() + place)
    if draw(st.booleans()):
        raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    return bytes(raw[: draw(st.sampled_from([len(raw), len(raw) - 1]))])


def agrees(raw, num_shards):
    """Return whether an entry is decoded; check that protobuf decodes the same."""
    try:
        decoded, keys = bundle_entry.Decoder("x", num_shards).entry(b"k", memoryview(raw), 0)
    except CorruptionError:
        return False
    try:
        proto = schema.BundleEntryProto.FromString(raw)
    except DecodeError:
        pytest.fail(f"protobuf refuses {raw.hex()}")
    if keys:
        return True
    number = dtypes.BY_NAME[decoded.spec.dtype].number
    shape = tuple(dimension.size for dimension in proto.shape.dim)
    assert (number, decoded.spec.shape) == (proto.dtype, shape)
    numbers = (decoded.shard, decoded.offset, decoded.size, decoded.crc32c)
    assert numbers == (proto.shard_id, proto.offset, proto.size, proto.crc32c)
    assert 0 <= decoded.shard < num_shards
    assert 0 <= decoded.offset < 1 << 63
    assert decoded.size == decoded.spec.nbytes or decoded.spec.dtype == "string"
    return True


@given(encoded(), st.sampled_from([0, 1, 2, 200]))
def test_the_fast_decoder_agrees_with_protobuf(raw, num_shards):
    agrees(raw, num_shards)


@pytest.mark.parametrize(
    ("place", "num_shards", "accepted"),
    [
        ("28083501000000", 1, True),
        ("28083501000000", 0, False),
        ("180128083501000000", 1, False),
        ("180128083501000000", 2, True),
        ("187f28083501000000", 127, False),
        ("18800128083501000000", 129, True),
        ("18800128083501000000", 128, False),
        ("20ffffffffffffffff7f28083501000000", 1, True),
        ("2080808080808080808000" + "28083501000000", 1, True),
        ("2080808080808080808001" + "28083501000000", 1, False),
        ("208080808080808080808000" + "28083501000000", 1, False),
        ("28093501000000", 1, False),
    ],
)
def test_numbers_at_their_bounds(place, num_shards, accepted):
    """Two float32: the tag of each number, and the number as a varint."""
    head = with_shape(2, size=0, crc32c=0).SerializeToString()
    assert agrees(head + bytes.fromhex(place), num_shards) == accepted
