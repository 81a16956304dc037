"""tfpersist writes the same bytes as SaveV2, and TensorFlow reads them."""

import io
import itertools
import pathlib
import threading
import time
import weakref

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import SaveError
from tfpersist.formats import bundle, crc32c, dtypes, tensors
from tfpersist.formats.bundle_writer import (
    Item,
    Items,
    load,
    load_many,
    write_bundle,
    write_shards,
)

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
DIRECT = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
DIRECT += ["float16", "float32", "float64", "complex64", "complex128"]


def item(key, array, dtype=None, part=None):
    return Item(key, tensors.payload_of(np.asarray(array), dtype), part)


def arrays(dtype):
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    return hnp.arrays(np.dtype(dtype if dtype != "bool" else "?"), shapes)


def strings():
    elements = st.lists(st.binary(max_size=200), max_size=5)
    return elements.map(lambda values: np.array([*values, None], object)[:-1])


ANY_ARRAY = st.one_of(*map(arrays, DIRECT), strings())


@given(st.dictionaries(KEYS, ANY_ARRAY, min_size=1, max_size=6))
def test_any_tensors(write_ours, write_theirs, values):
    items = [item(key, array) for key, array in values.items()]
    assert write_ours(items) == write_theirs(items)


def elements_of(name, dtype):
    if name == "string":
        return np.array([b"", b"a\0b", b"\xff" * 300, "ä".encode()], object)
    if dtype.size == 1 and name not in ("int8", "uint8", "bool", "qint8", "quint8"):
        return np.array([0, 1, -1 if name.startswith(("int", "float")) else 1]).astype(dtype.numpy)
    if name == "bool":
        return np.array([True, False, True])
    raw = np.arange(1, 1 + 6 * dtype.size, dtype=np.uint8)
    return raw.view(dtype.numpy).reshape(2, 3)


def test_every_data_type_that_tensorflow_can_save(
    write_ours, write_theirs, read_all, same_arrays, tmp_path
):
    import tensorflow as tf

    saved = []
    for name, dtype in dtypes.BY_NAME.items():
        if dtype.numpy is None:
            continue
        try:
            kind = tf.dtypes.as_dtype(dtype.number)
            items = [item(f"x/{name}", elements_of(name, dtype), name)]
            items.append(item(f"empty/{name}", elements_of(name, dtype)[:0], name))
            theirs = write_theirs(items)
        except (TypeError, ValueError):
            assert dtype.number >= 24, f"this TensorFlow should know {name}"
            continue
        ours = write_ours(items)
        assert ours == theirs, name
        values = read_all(*ours)
        assert same_arrays(values, dict(sorted((i.key, i.payload.load()) for i in items)))
        (tmp_path / "m.index").write_bytes(ours[0])
        (tmp_path / "m.data-00000-of-00001").write_bytes(ours[1])
        [restored] = tf.raw_ops.RestoreV2(
            prefix=str(tmp_path / "m"),
            tensor_names=[f"x/{name}"],
            shape_and_slices=[""],
            dtypes=[kind],
        )
        if name == "string":
            assert restored.numpy().tolist() == values["x/string"].tolist()
        elif not name.startswith(("qint", "quint")):
            assert restored.numpy().tobytes() == values[f"x/{name}"].tobytes()
        saved.append(name)
    assert {"int4", "uint4", "float8_e5m2", "float8_e4m3fn", "bfloat16", "qint32"} <= set(saved)
    assert len(saved) >= 25


def test_thousands_of_keys_in_many_blocks(write_ours, write_theirs, read_all):
    random = np.random.default_rng(1)
    names = [f"model/layer_{n // 7}/{'x' * (n % 90)}/kernel_{n}" for n in range(12_000)]
    items = [
        item(names[n], random.integers(0, 9, (n % 4, 2)).astype(np.int16))
        for n in random.permutation(len(names))
    ]
    ours = write_ours(items)
    assert len(ours[0]) > 2 * 256 * 1024
    assert ours == write_theirs(items)
    values = read_all(*ours)
    assert list(values) == sorted(names)
    assert all(np.array_equal(values[each.key], each.payload.load()) for each in items[::97])


@pytest.mark.parametrize("lengths", [[300_000, 3, 600_000, 5], [262_130, 20], [7] * 40])
def test_keys_around_the_size_of_a_block(write_ours, write_theirs, lengths):
    items = [item(f"{n}" + "k" * length, np.int8(n)) for n, length in enumerate(lengths)]
    assert write_ours(items) == write_theirs(items)


def test_keys_around_twice_the_size_of_a_block(write_ours, write_theirs):
    """From exactly that size on, key and value together begin a block."""
    counts = set()
    for length in range(524_270, 524_280):
        items = [item("0", np.int8(1)), item("1" + "k" * length, np.int8(2))]
        ours = write_ours(items)
        assert ours == write_theirs(items)
        counts.add(len(ours[0]) - length)
    assert len(counts) == 2


@pytest.mark.parametrize(
    "names",
    [["\x01", "\x7f", "a", "aa", "ab"], ["b" * n for n in range(1, 40)], ["ÿ", "ü/a", "ü/b"]],
)
def test_awkward_names(write_ours, write_theirs, names):
    items = [item(name, np.float32(3)) for name in names]
    assert write_ours(items) == write_theirs(items)


def halves(name, array, cut):
    for start, stop in ((0, cut), (cut, len(array))):
        place = tensors.Slice(
            name, array.shape, (start, *[0] * (array.ndim - 1)), (stop - start, *array.shape[1:])
        )
        yield item(name, array[start:stop], part=place)


@pytest.mark.parametrize("name", ["v", "a\x01b", "scope/ü", "v" * 200])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "float16"])
def test_partitioned_variables(write_ours, write_theirs, read_all, name, dtype):
    array = np.arange(300).reshape(100, 3).astype(dtype)
    items = [item("before", 1), *halves(name, array, 70), item("z", array)]
    ours = write_ours(items)
    assert ours == write_theirs(items)
    values = read_all(*ours)
    assert np.array_equal(values[name], array)
    assert sorted(values) == sorted(["before", name, "z"])


def test_large_offsets_in_the_keys_of_slices(write_ours, write_theirs):
    """Start and length are coded in 1 to 3 bytes here."""
    array = np.zeros(1_100_000, np.int8)
    cuts = [0, 1, 63, 127, 8191, 8192 + 64, 1_048_576 + 8255, len(array)]
    items = [
        item("v", array[a:b], part=tensors.Slice("v", array.shape, (a,), (b - a,)))
        for a, b in itertools.pairwise(cuts)
    ]
    assert write_ours(items) == write_theirs(items)


def test_a_part_that_is_the_whole_is_written_as_such(write_ours, write_theirs, read_all):
    array = np.ones((2, 2), np.float32)
    items = [item("v", array, part=tensors.Slice("v", (2, 2), (0, 0), (2, 2)))]
    ours = write_ours(items)
    assert ours == write_theirs(items)
    assert list(read_all(*ours)) == ["v"]


def test_tensorflow_restores_our_slices(write_ours, tmp_path):
    import tensorflow as tf

    array = np.arange(40, dtype=np.float32).reshape(10, 4)
    index, data = write_ours(list(halves("v", array, 4)))
    (tmp_path / "m.index").write_bytes(index)
    (tmp_path / "m.data-00000-of-00001").write_bytes(data)
    assert np.array_equal(tf.train.load_checkpoint(str(tmp_path / "m")).get_tensor("v"), array)
    [part] = tf.raw_ops.RestoreV2(
        prefix=str(tmp_path / "m"),
        tensor_names=["v"],
        shape_and_slices=["10 4 2,6:0,4"],
        dtypes=[tf.float32],
    )
    assert np.array_equal(part, array[2:8])


def test_tensors_of_an_object_checkpoint_are_written_byte_by_byte_the_same(
    tmp_path, write_ours, read_all
):
    """tf.train.Checkpoint.write merges; an object graph goes with the variables."""
    import tensorflow as tf

    root = tf.train.Checkpoint(
        a=tf.Variable([1.0, 2.0]), step=tf.Variable(5, dtype=tf.int64), s=tf.Variable("text")
    )
    prefix = root.write(str(tmp_path / "theirs"))
    index = pathlib.Path(prefix + ".index").read_bytes()
    data = pathlib.Path(bundle.shard_name(prefix, 0, 1)).read_bytes()
    values = read_all(index, data)
    loaded = bundle.read_index(memoryview(index), "x")
    order = sorted(loaded.entries.values(), key=lambda entry: entry.offset)
    items = [item(entry.key, values[entry.key], entry.spec.dtype) for entry in order]
    assert write_ours(items) == (index, data)
    assert "_CHECKPOINTABLE_OBJECT_GRAPH" in values


@given(st.dictionaries(KEYS, ANY_ARRAY, min_size=1, max_size=5))
def test_tensorflow_reads_aligned_data(write_ours, tmp_path_factory, values):
    import tensorflow as tf

    folder = tmp_path_factory.getbasetemp()
    index, data = write_ours([item(*each) for each in values.items()], alignment=64)
    (folder / "al.index").write_bytes(index)
    (folder / "al.data-00000-of-00001").write_bytes(data)
    reader = tf.train.load_checkpoint(str(folder / "al"))
    loaded = bundle.read_index(memoryview(index), "al.index")
    assert len(data) % 64 == 0
    for key, array in values.items():
        assert loaded.entries[key].offset % 64 == 0
        theirs = np.asarray(reader.get_tensor(key))
        assert theirs.shape == array.shape
        assert theirs.tolist() == array.tolist() or theirs.tobytes() == array.tobytes()


def test_data_is_written_in_chunks_and_one_payload_is_loaded_at_a_time():
    events = []

    class Sink:
        def reserve(self, size):
            events.append(("reserve", size))

        def write(self, data):
            events.append(("write", len(data)))

    def load(number, size):
        events.append(("load", number))
        return np.full(size, number, np.uint8)

    sizes = [10, 20, 3 << 20, 5, (1 << 20) + 1]
    items = [
        Item(
            str(n),
            tensors.Payload(tensors.TensorSpec("uint8", (size,)), lambda n=n, s=size: load(n, s)),
        )
        for n, size in enumerate(sizes)
    ]
    write_bundle(items, lambda count: [Sink()], alignment=1)
    assert events == [
        ("reserve", sum(sizes)),
        ("load", 0),
        ("load", 1),
        ("write", 30),
        ("load", 2),
        *[("write", 1 << 18)] * 12,
        ("load", 3),
        ("write", 5),
        ("load", 4),
        *[("write", 1 << 18)] * 4,
        ("write", 1),
    ]


def test_arrays_of_any_layout_and_byte_order(write_ours):
    array = np.arange(12, dtype=np.int32).reshape(3, 4)
    plain = write_ours([item("a", array)])
    assert write_ours([item("a", np.asfortranarray(array))]) == plain
    assert write_ours([item("a", array.astype(">i4"))]) == plain
    assert (
        write_ours([item("a", np.arange(24, dtype=np.int32).reshape(3, 8)[:, ::2] // 2)]) == plain
    )
    large = np.arange(1 << 19, dtype=np.int32).reshape(512, 1024)
    assert write_ours([item("a", large.T)]) == write_ours([item("a", large.T.copy())])


def test_strings_of_any_kind(write_ours):
    plain = write_ours([item("s", np.array([b"a", "ä".encode()], object))])
    assert write_ours([item("s", np.array(["a", "ä"]))]) == plain
    assert write_ours([item("s", np.array(["a", "ä"], object))]) == plain


def announced(dtype, shape, array):
    return Item("x", tensors.Payload(tensors.TensorSpec(dtype, shape), lambda: array))


@pytest.mark.parametrize(
    "items",
    [
        [item("a", 1), item("a", 2)],
        [item("", 1)],
        [item("\ud800", 1)],
        [item("s", np.array(["\ud800"], object))],
        [announced("float32", (2,), np.zeros(3, np.float32))],
        [announced("float32", (2,), np.zeros(2))],
        [announced("string", (1,), np.zeros(1))],
        [announced("string", (1,), np.array([5], object))],
        [announced("float32", None, np.zeros(2, np.float32))],
        [announced("float32", (None,), np.zeros(2, np.float32))],
        [announced("variant", (), np.zeros(()))],
        [item("v", np.zeros(4)), *halves("v", np.zeros(4), 2)],
        [*halves("v", np.zeros(4), 2), *halves("v", np.zeros(4), 2)],
        [*halves("v", np.zeros(4), 2), *halves("v", np.zeros(5), 3)],
        [*halves("v", np.zeros(4), 2), *halves("v", np.zeros(4, np.int32), 1)],
        [item("v", np.zeros(3), part=tensors.Slice("v", (4,), (0,), (2,)))],
    ],
)
def test_values_that_cannot_be_saved_are_refused(items, write_ours):
    with pytest.raises(SaveError) as caught:
        write_ours(items)
    assert caught.value.where


@pytest.mark.parametrize("spend", [True, False])
def test_values_are_released_as_soon_as_they_are_written(spend):
    values, loaded = [], []

    class Value(np.ndarray):
        pass

    def payload(number):
        value = np.full(80_000, number, np.uint8).view(Value)
        values.append(weakref.ref(value))

        def load():
            loaded.append(sum(known() is not None for known in values))
            return value

        return tensors.Payload(tensors.TensorSpec("uint8", value.shape), load)

    items = Items.of(Item(str(number), payload(number)) for number in range(4))
    write_bundle(items, lambda count: [Shard()], spend=spend)
    assert loaded == ([4, 3, 2, 1] if spend else [4] * 4)
    if spend:
        with pytest.raises(SaveError, match="cannot be written again"):
            write_bundle(items, lambda count: [Shard()])
    else:
        write_bundle(items, lambda count: [Shard()])


class Shard(io.BytesIO):
    reserved = None

    def reserve(self, size):
        assert self.reserved is None
        self.reserved = size


def sharded(items, **how):
    shards = []

    def begin(count):
        shards.extend(Shard() for _ in range(count))
        return shards

    index = write_bundle(items, begin, **how)
    assert [shard.reserved for shard in shards] == [len(shard.getvalue()) for shard in shards]
    return index, [shard.getvalue() for shard in shards]


def some_items():
    random = np.random.default_rng(3)
    items = [
        Item(f"v{n}", tensors.payload_of(random.random((n % 9 + 1, 400), np.float32)))
        for n in range(40)
    ]
    items.append(Item("text", tensors.payload_of(np.array([b"a", b"bc" * 900], object))))
    for start, length in ((0, 500), (500, 400)):
        part = tensors.Slice("p", (900,), (start,), (length,))
        items.append(Item("p", tensors.payload_of(random.random(length)), part))
    return items


@pytest.mark.parametrize("alignment", [1, 64])
def test_tensorflow_writes_the_same_shards_and_reads_ours(tmp_path, alignment):
    import tensorflow as tf

    items = some_items()
    index, shards = sharded(items, alignment=alignment, shard_size=20_000)
    assert len(shards) == 4
    prefix = str(tmp_path / "m")
    if alignment == 1:
        assert (index, shards) == merged_by_tensorflow(items, index, str(tmp_path / "theirs"))
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


def merged_by_tensorflow(items, index, prefix):
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
@pytest.mark.parametrize(("size", "count"), [(1 << 20, 64), (32 << 10, 512)])
def test_a_failing_shard_stops_the_others_before_its_error(number, size, count):
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

    items = [Item(f"{n}", tensors.payload_of(np.zeros(size, np.uint8))) for n in range(count)]
    with pytest.raises(OSError, match="No space left"):
        write_bundle(items, begin, shard_size=1 << 20)
    assert len(opened) == 4
    assert threading.active_count() == begun
    assert all(len(shard.getvalue()) < shard.reserved for shard in opened)


def some_shards(items, **how):
    """Write some of the tensors; return their places and the bytes of the shards."""
    shards = []

    def begin(count):
        shards.extend(Shard() for _ in range(count))
        return shards

    columns = Items.of(items)
    sizes = np.array([item.payload.spec.nbytes or -1 for item in items])
    places, count = write_shards(columns, sizes, begin, **how)
    assert count == len(shards)
    return places, [shard.getvalue() for shard in shards]


def content_at(places, shards, at):
    start = places.offsets[at]
    return shards[places.shards[at]][start : start + places.sizes[at]]


@pytest.mark.parametrize("numbers", [[40, 3, 17], [5], [0, 41, 42, 1, 2, 3]])
def test_some_tensors_are_written_in_the_requested_order(numbers):
    items = some_items()
    places, shards = some_shards(items, numbers=numbers, alignment=8)
    index, whole = sharded(items)
    text = bundle.read_index(memoryview(index), "x").entries["text"]
    assert len(shards) == 1
    assert places.offsets.tolist() == sorted(places.offsets.tolist())
    for at, number in enumerate(numbers):
        content, crc = content_at(places, shards, at), places.crcs[at]
        if items[number].key == "text":
            assert content == whole[0][text.offset : text.offset + text.size]
            assert crc == text.crc32c
        else:
            assert content == items[number].payload.load().tobytes()
            assert crc == crc32c.masked(crc32c.of(content))


def test_bytes_that_are_known_already_are_written_as_they_are():
    def unwanted():
        raise AssertionError

    spec = tensors.TensorSpec("int32", (2,))
    items = [Item("a", tensors.Payload(spec, unwanted)), item("b", np.int32([3, 4]))]
    items.append(Item("s", tensors.Payload(tensors.TensorSpec("string", ()), unwanted)))
    encoded = {0: (b"12345678", 17), 2: (b"text", 18)}
    places, (shard,) = some_shards(items, encoded=encoded, alignment=16)
    assert [content_at(places, [shard], at) for at in (0, 2)] == [b"12345678", b"text"]
    assert places.sizes.tolist() == [8, 8, 4]
    assert places.crcs[[0, 2]].tolist() == [crc32c.masked(17), crc32c.masked(18)]
    assert encoded.keys() == {0, 2}


def test_the_bytes_that_the_caller_knows_are_not_changed():
    encoded = {}
    some_shards([item("s", np.array([b"text"], object))], encoded=encoded)
    assert encoded == {}


@pytest.mark.parametrize(("most_shards", "shards"), [(1, (1, 1)), (2, (2, 2)), (4, (3, 4))])
def test_two_groups_of_tensors_share_no_shard(most_shards, shards):
    items = [item(f"v{n}", np.zeros(250, np.int32)) for n in range(13)]
    places, written = some_shards(items, apart=3, shard_size=1000, most_shards=most_shards)
    first, others = set(places.shards[:3].tolist()), set(places.shards[3:].tolist())
    assert (len(first), len(others)) == shards
    assert first.isdisjoint(others)
    assert len(written) == sum(shards)


def test_many_elements_are_loaded_as_one_by_one():
    class Array(np.ndarray):
        pass

    items = Items.of(
        [
            item("plain", np.zeros(2)),
            item("swapped", np.arange(3, dtype=">i4"), "int32"),
            item("view", np.arange(9)[::2]),
            item("subclass", np.ones(2).view(Array)),
            Item("list", tensors.Payload(tensors.TensorSpec("int64", (2,)), lambda: [1, 2])),
        ]
    )
    arrays = load_many(items, [4, 3, 2, 1, 0])
    for number, array in zip([4, 3, 2, 1, 0], arrays, strict=True):
        alone = load(items, number)
        assert array.dtype is alone.dtype is dtypes.BY_NAME[items.specs[number].dtype].numpy
        assert array.tolist() == alone.tolist()
        assert array.flags.c_contiguous
    misfits = [announced("float32", (2,), np.zeros(3, np.float32))]
    misfits.append(announced("float32", (2,), np.zeros(2)))
    for misfit in misfits:
        with pytest.raises(SaveError, match="do not fit its spec"):
            load_many(Items.of([misfit]), [0])
