"""Reading V1 checkpoints: of old releases, fresh from TensorFlow, damaged, hostile."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import CorruptionError, NameNotFoundError, UnsupportedError
from tfpersist.formats import bundle, dtypes, schema, slices, sstable, sstable_writer, v1

RELEASES = ("0.12.1", "1.4.1", "1.15.5")
NAMES = ("bntrain_v1.ckpt", "model_v1.ckpt-5", "plain_v1.ckpt", "shard2_v1.ckpt-?????-of-00003")
CHECKPOINTS = [f"{release}/{name}" for release in RELEASES for name in NAMES]
CHECKPOINTS += ["0.12.1/session_bundle/00000123/export-?????-of-00001"]
IN_CORPUS = [
    *[f"made-by-tf/{release}/{name}" for release in ("1.0.1", *RELEASES[1:]) for name in NAMES],
    "tensorflow/session_bundle_half_plus_two_v1/00000123/export-?????-of-00001",
]
NUMBERS = ["bool", "int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64"]
NUMBERS += ["complex64", "complex128", "uint16"]


def read(*files):
    index = v1.merge([v1.read_v1(memoryview(data), f"s{n}") for n, data in enumerate(files)])
    return {key: v1.read_tensor(index, key) for key in index.entries}


def contents(path):
    files = sorted(path.parent.glob(path.name)) if "?" in path.name else [path]
    return [file.read_bytes() for file in files]


def restore(path, key, dtype, spec=""):
    import tensorflow as tf

    [value] = tf.raw_ops.RestoreV2(
        prefix=str(path),
        tensor_names=[key],
        shape_and_slices=[spec],
        dtypes=[tf.dtypes.as_dtype(dtype)],
    )
    return value.numpy()


def read_as_tensorflow_reads_it(path):
    index = v1.merge([v1.read_v1(memoryview(data), path.name) for data in contents(path)])
    assert len(index.entries) > 1
    for key, entry in index.entries.items():
        ours = v1.read_tensor(index, key)
        assert (entry.spec.shape, ours.flags.writeable) == (ours.shape, False)
        parts = [""]
        if entry.slices:
            whole = " ".join(map(str, ours.shape))
            extents = [zip(each.start, each.length, strict=True) for each in entry.slices]
            specs = [":".join(f"{start},{size}" for start, size in each) for each in extents]
            parts = [f"{whole} {spec}" for spec in specs]
        found = [restore(path, key, entry.spec.dtype, part) for part in parts]
        if entry.slices:
            regions = [tuple(map(slice, p.start, np.add(p.start, p.length))) for p in entry.slices]
            assert sum(theirs.size for theirs in found) == ours.size
            for region, theirs in zip(regions, found, strict=True):
                assert ours[region].tobytes() == theirs.tobytes()
        else:
            assert ours.tolist() == found[0].tolist()


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_golden_checkpoint_is_read_as_tensorflow_reads_it(golden, name):
    read_as_tensorflow_reads_it(golden / name)


def test_every_checkpoint_of_the_corpus_is_read_as_tensorflow_reads_it(corpus):
    for name in IN_CORPUS:
        read_as_tensorflow_reads_it(corpus / name)


def test_values_are_what_the_writing_tensorflow_computed(tensorflow_1, golden_values):
    values = read(*contents(tensorflow_1 / "model_v1.ckpt-5"))
    whole = golden_values(tensorflow_1 / "golden.npz")
    # The values of the corpus leave strings out.
    assert set(values) - set(whole) <= {"misc/str"}
    assert len(whole) >= 16
    for key, array in whole.items():
        found = values[key]
        assert (found.dtype, found.tolist()) == (array.dtype, array.tolist()), key


def saved(folder, names, tensors, specs=None):
    import tensorflow as tf

    path = folder / "m"
    tf.raw_ops.SaveSlices(
        filename=str(path),
        tensor_names=names,
        shapes_and_slices=specs or [""] * len(names),
        data=tensors,
    )
    return path.read_bytes()


@given(
    st.lists(
        st.sampled_from(NUMBERS).flatmap(
            lambda name: hnp.arrays(
                np.dtype("?" if name == "bool" else name),
                hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=4),
            )
        ),
        min_size=1,
        max_size=4,
    )
)
def test_files_of_tensorflow_are_read(tmp_path_factory, arrays):
    names = [f"v/{number}" for number in range(len(arrays))]
    values = read(saved(tmp_path_factory.getbasetemp(), names, arrays))
    assert list(values) == names
    for name, array in zip(names, arrays, strict=True):
        assert values[name].dtype == array.dtype
        assert values[name].shape == array.shape
        assert values[name].tobytes() == array.tobytes()


def test_strings_and_empty_tensors(tmp_path):
    text = np.array([[b"a", b""], [b"\xff\0", b"b" * 500]], object)
    values = read(saved(tmp_path, ["s", "e"], [text, np.zeros((0, 3), np.float32)]))
    assert values["s"].tolist() == text.tolist()
    assert (values["e"].shape, values["e"].dtype) == ((0, 3), np.float32)


@pytest.mark.parametrize("name", ["qint8", "quint8", "qint32"])
def test_quantized_tensors(tmp_path, name):
    import tensorflow as tf

    raw = np.array([1, 2, 100], dtypes.BY_NAME[name].numpy)
    values = read(saved(tmp_path, ["q"], [tf.bitcast(tf.constant(raw), name)]))
    assert (values["q"].dtype, values["q"].tolist()) == (raw.dtype, [1, 2, 100])


@pytest.fixture(scope="module")
def array():
    return np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture(scope="module")
def sample(tmp_path_factory, array):
    """A small file: a variable in two parts, a scalar, a string."""
    return saved(
        tmp_path_factory.mktemp("v1"),
        ["v", "n", "v", "s"],
        [array[:1], np.int64(7), array[1:], np.array([b"x"], object)],
        ["4 3 0,1:-", "", "4 3 1,3:-", ""],
    )


def test_parts_in_one_file_and_in_several(tmp_path, sample, array):
    assert np.array_equal(read(sample)["v"], array)
    first = saved(tmp_path, ["v", "a"], [array[:, :2], np.int8(1)], ["4 3 0,4:0,2", ""])
    second = saved(tmp_path, ["v", "b"], [array[:, 2:], np.int8(2)], ["4 3 0,4:2,1", ""])
    values = read(first, second)
    assert np.array_equal(values["v"], array)
    assert list(values) == ["a", "b", "v"]
    with pytest.raises(CorruptionError, match="do not add up to the whole"):
        read(first)
    with pytest.raises(CorruptionError, match="there twice"):
        read(first, first)


def test_files_that_do_not_belong_together(tmp_path, array):
    first = saved(tmp_path, ["v"], [array[:2]], ["4 3 0,2:-"])
    for other, spec in ((array[2:].astype(np.float64), "4 3 2,2:-"), (array[2:], "5 3 2,2:-")):
        second = saved(tmp_path, ["v"], [other], [spec])
        with pytest.raises(CorruptionError, match="differ in data type or full shape"):
            read(first, second)


def test_the_index_has_the_specs_of_all_tensors(sample):
    index = v1.merge([v1.read_v1(memoryview(sample), "m")])
    assert [str(entry.spec) for entry in index.entries.values()] == [
        "int64[]",
        "string[1]",
        "float32[4,3]",
    ]
    assert [part.start for part in index.entries["v"].slices] == [(0, 0), (1, 0)]
    assert (index.num_shards, index.file) == (1, "m")
    with pytest.raises(NameNotFoundError, match="'n'"):
        v1.read_tensor(index, "nn")


def test_every_damage_is_noticed(sample, same_arrays, survives):
    whole = read(sample)
    noticed = survives(read, sample, lambda found: same_arrays(found, whole))
    assert noticed > 3 * len(sample)


def records(data):
    return {key: bytes(value) for key, value, _ in sstable.read_table(memoryview(data), "x")}


def rewritten(found):
    return sstable_writer.encode_table(sorted(found.items())).content


def test_any_record_with_a_right_checksum_is_read_or_refused(sample, refuses):
    found = records(sample)
    outcomes = set()
    for key, value in found.items():
        for at in range(len(value)):
            changes = [value[:at]]
            for byte in (0, 1, 0x7F, 0x80, 0xFF, value[at] ^ 1, value[at] ^ 0x40):
                changes.append(value[:at] + bytes([byte]) + value[at + 1 :])
            for changed in changes:
                data = rewritten({**found, key: changed})
                outcomes.add(refuses(lambda data=data: read(data)))
    assert outcomes == {True, False}


def changed_list(sample, change):
    found = records(sample)
    proto = schema.SavedTensorSlices.FromString(found[b""])
    change(proto.meta, {variable.name: variable for variable in proto.meta.tensor})
    return rewritten({**found, b"": proto.SerializeToString()})


def huge(meta, by_name):
    by_name["n"].shape.dim.add(size=1 << 40)
    by_name["n"].slice[0].extent.add()


def overflowing(meta, by_name):
    for _ in range(3):
        by_name["n"].shape.dim.add(size=1 << 40)


HOSTILE = {
    "an unknown type": lambda meta, found: setattr(found["n"], "type", 99),
    "another type": lambda meta, found: setattr(found["n"], "type", 1),
    "a negative extent": lambda meta, found: setattr(found["v"].shape.dim[0], "size", -4),
    "another shape": lambda meta, found: setattr(found["v"].shape.dim[0], "size", 5),
    "an unknown rank": lambda meta, found: setattr(found["n"].shape, "unknown_rank", True),
    "a huge tensor": huge,
    "a shape that overflows": overflowing,
    "a name that has no elements": lambda meta, found: setattr(found["n"], "name", "m"),
    "a slice that has no elements": lambda meta, found: setattr(
        found["v"].slice[0].extent[0], "start", 3
    ),
    "a slice twice": lambda meta, found: found["v"].slice.append(found["v"].slice[0]),
    "a missing slice": lambda meta, found: found["v"].slice.pop(),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_lists_of_variables_are_refused(sample, change):
    data = changed_list(sample, change)
    with pytest.raises(CorruptionError):
        read(data)


def test_elements_under_the_name_of_another_variable_are_refused(sample):
    found = records(sample)
    keys = [slices.part_key(b"n", []), slices.part_key(b"s", [(0, slices.WHOLE)])]
    assert set(keys) < set(found)
    found[keys[0]], found[keys[1]] = found[keys[1]], found[keys[0]]
    with pytest.raises(CorruptionError, match="do not fit"):
        read(rewritten(found))


def test_elements_that_say_another_name_are_refused(sample):
    found, key = records(sample), slices.part_key(b"n", [])
    message = schema.SavedTensorSlices.FromString(found[key])
    message.data.name = "m"
    with pytest.raises(CorruptionError, match="elements of 'n', got 1 elements of 'm'"):
        read(rewritten({**found, key: message.SerializeToString()}))


def test_a_later_version_is_refused_as_such(sample):
    data = changed_list(sample, lambda meta, _: setattr(meta.versions, "min_consumer", 2))
    with pytest.raises(UnsupportedError, match="later TensorFlow"):
        read(data)


def test_a_table_without_a_list_is_refused():
    for found in ({}, {b"x": b"y"}):
        with pytest.raises(CorruptionError, match="list of variables"):
            read(rewritten(found))


def test_the_two_formats_are_not_confused(golden, sample):
    path = golden / "0.12.1" / "plain_v2.ckpt.index"
    with pytest.raises(CorruptionError, match="not a V1 checkpoint"):
        read(path.read_bytes())
    with pytest.raises(CorruptionError):
        bundle.read_index(memoryview(sample), "x")
