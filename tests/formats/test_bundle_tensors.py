"""Reading many tensors at once returns the same as reading each of them."""

from __future__ import annotations

import io

import attrs
import numpy as np
import pytest

from tfpersist.errors import CorruptionError, NameNotFoundError
from tfpersist.formats import bundle, bundle_tensors, crc32c
from tfpersist.formats.bundle_writer import Item, write_bundle
from tfpersist.formats.tensors import Slice, payload_of


class Shard(io.BytesIO):
    def reserve(self, size):
        pass


ARRAYS = {
    "bytes": np.array([b"a", b"", b"longer"], object),
    "empty": np.zeros((0, 3), np.float32),
    "large": np.arange(700_000, dtype=np.float64),
    "larger": np.arange(2_000_000, dtype=np.int32).reshape(2, -1),
    "scalar": np.array(7, np.int64),
    "small": np.arange(6, dtype=np.float32).reshape(2, 3),
}


def written():
    items = [Item(key, payload_of(array)) for key, array in ARRAYS.items()]
    half = np.ones((2, 2), np.float32)
    for start in (0, 2):
        items.append(Item("parts", payload_of(half), Slice("parts", (4, 2), (start, 0), (2, 2))))
    shard = Shard()
    encoded = write_bundle(sorted(items, key=lambda item: item.key), lambda count: [shard])
    return bundle.read_index(memoryview(encoded), "m.index"), bytearray(shard.getvalue())


def shards(content):
    return lambda number: (memoryview(content), "m.data")


def test_reading_many_equals_reading_each():
    index, content = written()
    keys = [*index.entries, "small"]
    for key, array in zip(
        keys, bundle_tensors.read_tensors(index, keys, shards(content)), strict=True
    ):
        alone = bundle_tensors.read_tensor(index, key, shards(content))
        assert array.dtype == alone.dtype
        assert array.shape == alone.shape
        assert np.array_equal(array, alone)
        assert not array.flags.writeable


@pytest.mark.parametrize("key", ["bytes", "large", "larger", "scalar", "small"])
def test_damage_is_met_unless_the_checksum_is_known(key):
    index, content = written()
    content[index.entries[key].offset + index.entries[key].size - 1] ^= 1
    keys = sorted(index.entries)
    with pytest.raises(CorruptionError, match=key):
        list(bundle_tensors.read_tensors(index, keys, shards(content)))
    if key != "bytes":
        read = bundle_tensors.read_tensors(index, keys, shards(content), trusted={key})
        assert len(list(read)) == len(keys)


def test_a_checksum_that_is_known_is_not_computed_again(monkeypatch):
    index, content = written()

    def fail(*buffers):
        raise AssertionError

    keys = {"large", "larger", "scalar", "small"}
    monkeypatch.setattr(crc32c, "of", fail)
    for key, array in zip(
        keys, bundle_tensors.read_tensors(index, keys, shards(content), trusted=keys), strict=True
    ):
        assert np.array_equal(array, ARRAYS[key])


def test_numbers_of_the_other_byte_order_are_turned():
    index, content = written()
    for key in ("scalar", "small"):
        entry = index.entries[key]
        place = slice(entry.offset, entry.offset + entry.size)
        content[place] = ARRAYS[key].byteswap().tobytes()
        crc = crc32c.masked(crc32c.of(bytes(content[place])))
        changed = {**index.entries, key: attrs.evolve(entry, crc32c=crc)}
        index = attrs.evolve(index, entries=changed, big_endian=True)
    for key in ("scalar", "small"):
        [array] = bundle_tensors.read_tensors(index, [key], shards(content))
        assert np.array_equal(array, ARRAYS[key])


def test_parts_that_share_bytes_are_refused():
    """A small file could ask for much memory: the whole is as large as its parts claim."""
    index, content = written()
    places = [bundle.part_key(part) for part in index.entries["parts"].slices]
    first, second = (index.parts[place] for place in places)
    changed = {**index.parts, places[1]: attrs.evolve(second, offset=first.offset + 1)}
    with pytest.raises(CorruptionError, match="share bytes"):
        bundle_tensors.read_tensor(
            attrs.evolve(index, parts=changed), "parts", shards(content), verify=False
        )


def test_a_truncated_shard_and_a_wrong_name_are_errors():
    index, content = written()
    with pytest.raises(CorruptionError, match="beyond the end"):
        list(bundle_tensors.read_tensors(index, index.entries, shards(content[:100])))
    with pytest.raises(NameNotFoundError, match="smal"):
        list(bundle_tensors.read_tensors(index, ["smal"], shards(content)))


def test_checksums_are_the_same_with_and_without_the_c_function(monkeypatch):
    data = np.random.default_rng(0).integers(0, 256, 3_000_001, np.uint8)
    views = [data, data[1:], data[7:300_000], data[:5]]
    fast = [crc32c.of(view, start=3) for view in views]
    monkeypatch.setattr(crc32c, "_EXTEND", None)
    assert [crc32c.of(view, start=3) for view in views] == fast
    assert fast[3] == crc32c.of(data[:5].tobytes(), start=3)
