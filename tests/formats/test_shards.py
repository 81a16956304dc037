"""Several data shards, written at once, are what a sharded Saver writes."""

from __future__ import annotations

import io
import pathlib
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.formats import bundle
from tfpersist.formats.bundle_layout import lay_out
from tfpersist.formats.bundle_writer import Item, write_bundle
from tfpersist.formats.tensors import Slice, TensorSpec, payload_of

SIZES = st.lists(st.one_of(st.integers(0, 40), st.integers(500, 2000)), min_size=1, max_size=30)


class Shard(io.BytesIO):
    reserved = None

    def reserve(self, size):
        assert self.reserved is None
        self.reserved = size


def written(items, **how):
    shards = []

    def begin(count):
        shards.extend(Shard() for _ in range(count))
        return shards

    index = write_bundle(items, begin, **how)
    assert [shard.reserved for shard in shards] == [len(shard.getvalue()) for shard in shards]
    return index, [shard.getvalue() for shard in shards]


@given(SIZES, st.integers(1, 800), st.sampled_from([1, 64]))
def test_shards_are_about_even_and_not_too_small(sizes, shard_size, alignment):
    names = [str(number) for number in range(len(sizes))]
    specs = [TensorSpec("int8", (size,)) for size in sizes]
    layout = lay_out(names, specs, [None] * len(sizes), {}, alignment, shard_size=shard_size)
    assert [number for shard in layout.shards for number in shard] == list(range(len(sizes)))
    filled = [sum(sizes[number] for number in shard) for shard in layout.shards]
    wanted = max(1, min(4, sum(sizes) // shard_size))
    assert len(filled) == 1 or (len(filled) <= wanted and 2 * min(filled) >= shard_size)
    even = sum(sizes) / wanted
    if even >= max(sizes) + shard_size:
        assert len(filled) == wanted
        assert all(abs(size - even) <= max(sizes) for size in filled)
    assert all(layout.size(shard) % alignment == 0 for shard in layout.shards)


@given(SIZES, st.integers(0, 30), st.integers(0, 800))
def test_what_is_kept_apart_shares_no_shard_with_the_rest(sizes, apart, shard_size):
    apart = min(apart, len(sizes))
    names = [str(number) for number in range(len(sizes))]
    specs = [TensorSpec("int8", (size,)) for size in sizes]
    columns = (names, specs, [None] * len(sizes))
    layout = lay_out(*columns, {}, 1, shard_size=shard_size, apart=apart)
    assert [number for shard in layout.shards for number in shard] == list(range(len(sizes)))
    assert all(shard.stop <= apart or shard.start >= apart for shard in layout.shards)
    assert all(len(shard) for shard in layout.shards)


def some_items():
    random = np.random.default_rng(3)
    items = [
        Item(f"v{n}", payload_of(random.random((n % 9 + 1, 400), np.float32))) for n in range(40)
    ]
    items.append(Item("text", payload_of(np.array([b"a", b"bc" * 900], object))))
    for start, length in ((0, 500), (500, 400)):
        part = Slice("p", (900,), (start,), (length,))
        items.append(Item("p", payload_of(random.random(length)), part))
    return items


@pytest.mark.parametrize("alignment", [1, 64])
def test_tensorflow_writes_the_same_shards_and_reads_ours(tmp_path, alignment):
    import tensorflow as tf

    items = some_items()
    index, shards = written(items, alignment=alignment, shard_size=20_000)
    assert len(shards) == 4
    prefix = str(tmp_path / "m")
    if alignment == 1:
        assert (index, shards) == theirs(items, index, str(tmp_path / "theirs"))
    for number, shard in enumerate(shards):
        pathlib.Path(bundle.shard_name(prefix, number, 4)).write_bytes(shard)
    pathlib.Path(prefix + ".index").write_bytes(index)
    reader = tf.train.load_checkpoint(prefix)
    for item in items[:41]:
        assert np.array_equal(reader.get_tensor(item.key), item.payload.load())
    [whole] = tf.raw_ops.RestoreV2(
        prefix=prefix, tensor_names=["p"], shape_and_slices=[""], dtypes=[tf.float64]
    )
    assert np.array_equal(whole, np.concatenate([item.payload.load() for item in items[41:]]))


def theirs(items, index, prefix):
    """Let TensorFlow write the same tensors into each shard, and merge them as it does."""
    import tensorflow as tf

    found = bundle.read_index(memoryview(index), "m.index")

    def shard_of(item):
        if item.part is None:
            return found.entries[item.key].shard
        return found.parts[bundle.part_key(item.part)].shard

    parts = [f"{prefix}-part{number}" for number in range(found.num_shards)]
    for number, part in enumerate(parts):
        chosen = [item for item in items if shard_of(item) == number]
        tf.raw_ops.SaveV2(
            prefix=part,
            tensor_names=[item.key for item in chosen],
            shape_and_slices=[
                f"900 {item.part.start[0]},{item.part.length[0]}" if item.part else ""
                for item in chosen
            ],
            tensors=[tf.constant(item.payload.load()) for item in chosen],
        )
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=prefix)
    names = [bundle.shard_name(prefix, number, len(parts)) for number in range(len(parts))]
    index = pathlib.Path(prefix + ".index").read_bytes()
    return index, [pathlib.Path(name).read_bytes() for name in names]


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_one_shard_that_fails_stops_the_others_before_it_is_told(number):
    refused = threading.Event()

    class Refusing(Shard):
        def write(self, data):
            refused.set()
            raise OSError(28, "No space left on device")

    class Slow(Shard):
        def write(self, data):
            refused.wait()
            time.sleep(0.02)  # far longer than it takes to tell the others
            return super().write(data)

    begun = threading.active_count()
    opened = []

    def begin(count):
        opened.extend(Refusing() if n == number else Slow() for n in range(count))
        return opened

    items = [Item(f"{n}", payload_of(np.zeros(1 << 20, np.uint8))) for n in range(64)]
    with pytest.raises(OSError, match="No space left"):
        write_bundle(items, begin, shard_size=1 << 20)
    assert len(opened) == 4
    assert threading.active_count() == begun
    assert all(len(shard.getvalue()) < shard.reserved for shard in opened)
