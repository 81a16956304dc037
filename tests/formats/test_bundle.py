"""Reading V2 checkpoints: of every TensorFlow, of another machine, damaged, hostile."""

import pathlib

import numpy as np
import pytest
from bundles import item, rewritten, with_shape

from tfpersist.errors import CorruptionError, NameNotFoundError, UnsupportedError
from tfpersist.formats import (
    bundle,
    bundle_tensors,
    crc32c,
    dtypes,
    schema,
    slices,
    sstable,
    tensors,
)

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
PREFIXES = sorted(str(path.relative_to(GOLDEN).with_suffix("")) for path in GOLDEN.rglob("*.index"))


def files(prefix):
    index = pathlib.Path(f"{prefix}.index").read_bytes()
    count = bundle.read_index(memoryview(index), "x").num_shards
    names = (bundle.shard_name(str(prefix), n, count) for n in range(count))
    return index, *(pathlib.Path(name).read_bytes() for name in names)


def read_as_tensorflow_reads_it(prefix, read_all):
    import tensorflow as tf

    index, *shards = files(prefix)
    values = read_all(index, *shards)
    reader = tf.train.load_checkpoint(str(prefix))
    assert set(values) == set(reader.get_variable_to_shape_map())
    types = reader.get_variable_to_dtype_map()
    # TensorFlow gives nobody the elements of variants.
    for key, array in ((key, one) for key, one in values.items() if types[key] != tf.variant):
        theirs = np.asarray(reader.get_tensor(key))
        assert theirs.shape == array.shape
        if array.dtype.kind == "O":
            assert theirs.tolist() == array.tolist()
        else:
            assert (theirs.dtype, theirs.tobytes()) == (array.dtype, array.tobytes())


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_golden_checkpoint_is_read_as_tensorflow_reads_it(golden, prefix, read_all):
    read_as_tensorflow_reads_it(golden / prefix, read_all)


def test_every_checkpoint_of_the_corpus_is_read_as_tensorflow_reads_it(corpus, read_all):
    prefixes = [path.with_suffix("") for path in sorted(corpus.rglob("*.index"))]
    assert len(prefixes) == 36
    for prefix in prefixes:
        read_as_tensorflow_reads_it(prefix, read_all)


@pytest.mark.parametrize("name", ["model_v2.ckpt-5", "model_v2_sharded.ckpt-5"])
def test_values_are_what_the_writing_tensorflow_computed(
    tensorflow_1, name, read_all, golden_values
):
    values = read_all(*files(tensorflow_1 / name))
    whole = golden_values(tensorflow_1 / "golden.npz")
    # The values of the corpus leave strings out.
    assert set(values) - set(whole) <= {"misc/str"}
    assert len(whole) >= 16
    for key, array in whole.items():
        found = values[key]
        assert (found.dtype, found.tolist()) == (array.dtype, array.tolist()), key


def test_an_array_is_a_read_only_view(sample):
    index, data = bundle.read_index(memoryview(sample[0]), "x"), bytearray(sample[1])
    array = bundle_tensors.read_tensor(index, "a/b", lambda _: (memoryview(data), "d"))
    assert not array.flags.writeable
    assert np.shares_memory(array, np.frombuffer(data, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 5


@pytest.mark.parametrize("key", ["s", "v", "e", "a/c"])
def test_a_copied_array_is_read_only(sample, read_all, key):
    assert not read_all(*sample)[key].flags.writeable


def test_the_index_has_the_specs_of_all_tensors(sample):
    index = bundle.read_index(memoryview(sample[0]), "m.index")
    assert list(index.entries) == ["a/b", "a/c", "e", "s", "v"]
    assert (index.num_shards, index.big_endian, len(index.parts)) == (1, False, 2)
    assert str(index.entries["v"].spec) == "float32[3,2]"
    assert [part.start for part in index.entries["v"].slices] == [(0, 0), (2, 0)]
    assert set(index.parts) == {bundle.part_key(part) for part in index.entries["v"].slices}


def test_an_unknown_name_names_its_neighbour(sample, read_all):
    index = bundle.read_index(memoryview(sample[0]), "m.index")
    with pytest.raises(NameNotFoundError, match="'a/b'"):
        bundle_tensors.read_tensor(index, "z/b", lambda _: (memoryview(b""), "d"))


def test_every_damage_of_an_index_is_noticed_or_harmless(sample, read_all, same_arrays, survives):
    index, data = sample
    whole = read_all(index, data)
    assert survives(
        lambda damaged: read_all(damaged, data), index, lambda found: same_arrays(found, whole)
    ) > 2 * len(index)


def test_every_damage_of_a_shard_is_noticed_or_harmless(sample, read_all, same_arrays, survives):
    index, data = sample
    whole = read_all(index, data)
    noticed = survives(
        lambda damaged: read_all(index, damaged), data, lambda found: same_arrays(found, whole)
    )
    assert noticed >= 4 * len(data)


def test_without_verification_damage_still_fails_only_as_corruption(sample, read_all, survives):
    index, data = sample
    noticed = survives(lambda damaged: read_all(index, damaged, verify=False), data, lambda _: True)
    assert noticed < 4 * len(data), "as many as with verification"
    assert noticed >= len(data), "every cut"


def header(**fields):
    return schema.BundleHeaderProto(**fields).SerializeToString()


@pytest.mark.parametrize("count", [-1, 0])
def test_an_impossible_number_of_shards_is_refused(sample, read_all, count):
    index = rewritten(sample[0], lambda found: {**found, b"": header(num_shards=count)})
    with pytest.raises(CorruptionError):
        read_all(index, sample[1])


def test_a_huge_number_of_shards_takes_no_memory(sample, read_all, refuses):
    index = rewritten(sample[0], lambda found: {**found, b"": header(num_shards=(1 << 31) - 1)})
    assert not refuses(lambda: read_all(index, sample[1]))


def test_a_later_version_is_refused_as_such(sample):
    proto = schema.BundleHeaderProto(num_shards=1)
    proto.version.min_consumer = 2
    index = rewritten(sample[0], lambda found: {**found, b"": proto.SerializeToString()})
    with pytest.raises(UnsupportedError, match="later TensorFlow"):
        bundle.read_index(memoryview(index), "x")


def test_a_version_that_is_declared_bad_is_refused(sample):
    proto = schema.BundleHeaderProto(num_shards=1)
    proto.version.bad_consumers.append(bundle.VERSION)
    index = rewritten(sample[0], lambda found: {**found, b"": proto.SerializeToString()})
    with pytest.raises(UnsupportedError, match="later TensorFlow"):
        bundle.read_index(memoryview(index), "x")


def test_a_table_that_is_not_an_index_is_refused(sample):
    for change in (lambda found: {}, lambda found: {b"a/b": found[b"a/b"]}):
        with pytest.raises(CorruptionError, match="header"):
            bundle.read_index(memoryview(rewritten(sample[0], change)), "x")


def test_tensors_that_share_bytes_are_refused(sample, read_all):
    index = rewritten(sample[0], lambda found: {**found, b"a/d": found[b"a/c"]})
    with pytest.raises(CorruptionError, match="share bytes"):
        read_all(index, sample[1])


def test_errors_of_missing_and_short_shards_differ(sample):
    index = bundle.read_index(memoryview(sample[0]), "m.index")
    with pytest.raises(CorruptionError, match="reaches beyond the end"):
        bundle.check_ranges(index, {}, "m.index")
    bundle.check_ranges(index, {0: len(sample[1])}, "m.index")
    with pytest.raises(CorruptionError, match="reaches beyond the end"):
        bundle.check_ranges(index, {0: len(sample[1]) - 1}, "m.index")


def slice_entries(sample, *extents, full=(3, 2), own=None):
    """The sample's index with other slices for variable v."""

    def change(found):
        proto = with_shape(*full, size=0, crc32c=0)
        for starts_lengths in extents:
            part = proto.slices.add()
            for start, length in starts_lengths:
                added = part.extent.add(start=start)
                if length != slices.WHOLE:
                    added.length = length
        return {**found, b"v": proto.SerializeToString(), **(own or {})}

    return rewritten(sample[0], change)


@pytest.mark.parametrize(
    "extents",
    [
        [((0, 2), (0, 2))],
        [((0, 2), (0, 2)), ((0, 2), (0, 2))],
        [((0, 2), (0, 2)), ((1, 1), (0, 2))],
        [((0, 2), (0, 2)), ((2, 2), (0, 2))],
        [((0, 2), (0, 2)), ((-1, 1), (0, 2))],
        [((0, 2), (0, 2)), ((2, 1),)],
        [((0, 2), (0, 2)), ((2, 1), (0, 2), (0, 1))],
        [((0, 2), (0, 2)), ((2, -1), (0, 2))],
        [((0, 1 << 62), (0, 1 << 62))],
    ],
)
def test_slices_that_do_not_make_up_the_variable_are_refused(sample, read_all, extents):
    with pytest.raises(CorruptionError):
        read_all(slice_entries(sample, *extents), sample[1])


def test_a_slice_that_is_listed_twice_is_refused(sample):
    """The sizes add up, and there is an entry for each."""
    index = slice_entries(sample, ((0, 2), (0, 2)), ((0, 2), (0, 2)), full=(4, 2))
    with pytest.raises(CorruptionError, match="do not fit it; expected distinct slices"):
        bundle.read_index(memoryview(index), "x")


def test_a_slice_that_is_partitioned_itself_is_refused(sample):
    key = slices.part_key(b"v", [(0, 2), (0, 2)])
    records = {key: bytes(v) for key, v, _ in sstable.read_table(memoryview(sample[0]), "x")}
    whole = with_shape(2, 2, size=0, crc32c=0)
    part = whole.slices.add()
    part.extent.add(start=0, length=2), part.extent.add(start=0, length=2)
    index = slice_entries(
        sample,
        *(((0, 2), (0, 2)), ((2, 1), (0, 2))),
        own={
            key: whole.SerializeToString(),
            slices.part_key(key, [(0, 2), (0, 2)]): records[key],
        },
    )
    with pytest.raises(CorruptionError, match="a part of a partitioned variable is missing"):
        bundle.read_index(memoryview(index), "x")


def test_slices_that_overlap_and_leave_a_hole_are_refused(read_all, write_ours):
    """Their sizes add up all the same."""
    places = [((0, 2), (0, 1)), ((1, 2), (0, 1)), ((0, 2), (1, 1))]
    items = []
    for place in places:
        starts, lengths = zip(*place, strict=True)
        part = tensors.Slice("v", (3, 2), starts, lengths)
        items.append(item("v", np.zeros(lengths, np.float32), part=part))
    with pytest.raises(CorruptionError, match="overlap"):
        read_all(*write_ours(items))


def test_parts_may_span_whole_dimensions_without_saying_their_length(tmp_path, read_all):
    """A shape_and_slices of `4 2 0,3:-` leaves the length of the second dimension open."""
    import tensorflow as tf

    array = np.arange(8, dtype=np.float32).reshape(4, 2)
    prefix = str(tmp_path / "m")
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=["v", "v"],
        shape_and_slices=["4 2 0,3:-", "4 2 3,1:-"],
        tensors=[array[:3], array[3:]],
    )
    assert np.array_equal(read_all(*files(prefix))["v"], array)


def test_shards_that_were_merged(tmp_path, read_all):
    import tensorflow as tf

    array = np.arange(10, dtype=np.int32)
    for number in range(2):
        tf.raw_ops.SaveV2(
            prefix=str(tmp_path / f"p{number}"),
            tensor_names=["v", f"own{number}"],
            shape_and_slices=[f"10 {5 * number},5", ""],
            tensors=[array[5 * number :][:5], np.array([b"text"], object)],
        )
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(tmp_path / "p0"), str(tmp_path / "p1")],
        destination_prefix=str(tmp_path / "m"),
    )
    values = read_all(*files(tmp_path / "m"))
    assert np.array_equal(values["v"], array)
    assert values["own0"].tolist() == values["own1"].tolist() == [b"text"]


def big_endian(index, data, arrays):
    """The same checkpoint as a big-endian machine would have written it."""
    found = bundle.read_index(memoryview(index), "x")
    out, changed = bytearray(data), {b"": header(num_shards=1, endianness=1)}
    for key, array in arrays.items():
        at, size = found.entries[key].offset, found.entries[key].size
        if array.dtype.kind == "O":
            lengths = [len(element) for element in array.ravel()]
            crc = crc32c.of(np.array(lengths, ">u4").tobytes())
            stored = crc32c.masked(crc).to_bytes(4, "big")
            out[at + len(lengths) : at + len(lengths) + 4] = stored
            crc = crc32c.of(bytes(out[at + len(lengths) : at + size]), start=crc)
        else:
            width = array.itemsize // (2 if array.dtype.kind == "c" else 1)
            raw = np.frombuffer(array.tobytes(), np.uint8).reshape(-1, width)[:, ::-1]
            out[at : at + size] = raw.tobytes()
            crc = crc32c.of(bytes(out[at : at + size]))
        proto = schema.BundleEntryProto(
            dtype=dtypes.BY_NAME[found.entries[key].spec.dtype].number,
            offset=at,
            size=size,
            crc32c=crc32c.masked(crc),
        )
        proto.shape.SetInParent()
        for length in array.shape:
            proto.shape.dim.add(size=length)
        changed[key.encode()] = proto.SerializeToString()
    return rewritten(index, lambda _: changed), bytes(out)


def test_a_checkpoint_of_a_big_endian_machine(write_ours, read_all, same_arrays, tmp_path):
    import tensorflow as tf

    arrays = {
        "b": np.array([True, False]),
        "c": np.array([[1 + 2j, 3]], np.complex64),
        "d": np.array([1.5, 2.5]),
        "h": np.array([1.5, -2], dtypes.BY_NAME["bfloat16"].numpy),
        "i": np.array([1, -2, 3], np.int16),
        "n": np.zeros((0, 2), np.int64),
        "s": np.array([b"ab", b"", b"c"], object),
    }
    ours = write_ours([item(key, array) for key, array in arrays.items()])
    swapped = big_endian(*ours, arrays)
    assert same_arrays(read_all(*swapped), arrays)
    (tmp_path / "m.index").write_bytes(swapped[0])
    (tmp_path / "m.data-00000-of-00001").write_bytes(swapped[1])
    reader = tf.train.load_checkpoint(str(tmp_path / "m"))
    for key, array in arrays.items():
        assert reader.get_tensor(key).tolist() == array.tolist()


def test_variants_are_read_beside_other_tensors(tmp_path):
    import tensorflow as tf

    prefix = str(tmp_path / "m")
    variant = tf.raw_ops.EmptyTensorList(
        element_shape=[2], max_num_elements=3, element_dtype=tf.float32
    )
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=["list", "x"],
        shape_and_slices=["", ""],
        tensors=[variant, tf.constant(7)],
    )
    data, shard = files(prefix)
    index = bundle.read_index(memoryview(data), "m.index")
    bundle.check_ranges(index, {0: len(shard)}, "m.index")
    assert str(index.entries["list"].spec) == "variant[]"
    read = bundle_tensors.read_tensor(index, "list", lambda _: (memoryview(shard), "d"))
    assert read.shape == ()
    assert b"tensorflow::TensorList" in read.item()
    assert bundle_tensors.read_tensor(index, "x", lambda _: (memoryview(shard), "d")) == 7


def test_more_dimensions_than_numpy_has_are_refused_when_read(read_all, sample):
    proto = with_shape(*[1] * 100, dtype=9, size=8, offset=4)
    index = rewritten(sample[0], lambda found: {b"": found[b""], b"x": proto.SerializeToString()})
    with pytest.raises(UnsupportedError, match="numpy cannot hold"):
        read_all(index, sample[1], verify=False)


def test_tensorflow_is_not_needed(fresh, sample, tmp_path):
    (tmp_path / "i").write_bytes(sample[0])
    (tmp_path / "d").write_bytes(sample[1])
    printed = fresh(
        """
        import sys
        from tfpersist.formats import bundle, bundle_tensors, bundle_writer, v1, state, tensor_proto
        read = lambda name: memoryview(open(name, "rb").read())
        index = bundle.read_index(read("i"), "i")
        shard = lambda number: (read("d"), "d")
        print([bundle_tensors.read_tensor(index, key, shard).shape for key in index.entries])
        print("tensorflow" in sys.modules)
        """
    )
    assert printed == "[(2,), (), (0, 3), (2,), (3, 2)]\nFalse\n"
