"""Files of h5py itself, of Keras 3 and of tf-keras, whole and damaged."""

import io
import zipfile

import h5py
import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.checkpoint.hdf5 import is_hdf5, open_hdf5
from tfpersist.errors import CorruptionError, TFPersistError, UnsupportedError


def written(fill, **options):
    """Return the bytes of an HDF5 file that a function fills."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", **options) as file:
        fill(file)
    return memoryview(stream.getvalue())


def plain(file):
    file["layer/kernel"] = np.arange(6, dtype=np.float32).reshape(2, 3)
    file["layer/step"] = np.int64(7)


def zipped(weights, compression=zipfile.ZIP_STORED, **members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, text in members.items():
            archive.writestr(name.replace("_", "."), text)
        if weights is not None:
            archive.writestr("model.weights.h5", bytes(weights))
    return memoryview(stream.getvalue())


def test_tensors_are_listed_by_their_paths_and_read():
    opened = open_hdf5(written(plain), "f")
    assert {key: str(spec) for key, spec in opened.specs.items()} == {
        "layer/kernel": "float32[2,3]",
        "layer/step": "int64[]",
    }
    kernel, step = opened.read_many(["layer/kernel", "layer/step"])
    np.testing.assert_array_equal(kernel, np.arange(6, dtype=np.float32).reshape(2, 3))
    assert step == 7
    assert opened.flaw() == ""


def test_another_byte_order_becomes_that_of_this_machine():
    opened = open_hdf5(
        written(lambda file: file.create_dataset("x", data=np.array([1, 2], ">f4"))), "f"
    )
    array = opened.read("x")
    assert array.dtype == np.float32
    assert array.dtype.isnative
    assert array.tolist() == [1, 2]


def test_bfloat16_is_what_an_attribute_says():
    def fill(file):
        file["x"] = np.array([0x3F80, 0x4000], np.uint16).view("V2")
        file["x"].attrs["dtype"] = "bfloat16"

    opened = open_hdf5(written(fill), "f")
    assert str(opened.specs["x"]) == "bfloat16[2]"
    assert opened.read("x").astype(np.float32).tolist() == [1, 2]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_file_has_its_weights_and_their_checksum(compression):
    data = zipped(written(plain), compression, config_json="{}")
    opened = open_hdf5(data, "f")
    assert opened.read("layer/step") == 7
    assert opened.flaw() == ""


def test_a_zip_file_notices_another_bit():
    data = bytearray(zipped(written(plain)))
    at = data.index(np.arange(6, dtype=np.float32).tobytes())
    data[at + 8] ^= 1
    opened = open_hdf5(memoryview(data), "f")
    assert opened.flaw() == "the checksum of model.weights.h5 does not match"


def test_a_damaged_zip_file_does_not_verify(tmp_path):
    data = bytearray(zipped(written(plain)))
    path = tmp_path / "model.keras"
    path.write_bytes(data)
    assert str(tfp.Checkpoint(path).verify()).count("\n") == 0
    data[data.index(np.arange(6, dtype=np.float32).tobytes()) + 8] ^= 1
    path.write_bytes(data)
    assert not tfp.Checkpoint(path).verify().ok


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (zipped(None, other_txt="x"), "no model of Keras"),
        (zipped(b"no HDF5"), "cannot be read as HDF5"),
        (zipped(written(plain))[:200], "cannot be read as HDF5"),
    ],
)
def test_a_zip_file_without_weights_is_refused(data, match):
    with pytest.raises((CorruptionError, UnsupportedError), match=match):
        open_hdf5(data, "f")


def test_a_member_cannot_be_larger_than_its_bytes_allow():
    data = bytearray(zipped(written(plain), zipfile.ZIP_DEFLATED))
    entry = data.index(b"PK\1\2")
    data[entry + 24 : entry + 28] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(CorruptionError, match="larger than it can be"):
        open_hdf5(memoryview(data), "f")


def test_every_cut_is_an_error_of_our_own_or_harms_no_tensor():
    data = written(plain)
    for size in range(8, len(data), 37):
        with pytest.raises(TFPersistError):
            open_hdf5(data[:size], "f").read("layer/kernel")


def virtual():
    """Return a tensor whose elements are in another file."""
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    return layout


@pytest.mark.parametrize(
    "fill",
    [
        lambda file: file.update({"x": h5py.ExternalLink("other.h5", "/x")}),
        lambda file: file.update({"x": h5py.SoftLink("/y")}),
        lambda file: file.create_dataset("x", (4,), "f4", external=[("/etc/hostname", 0, 16)]),
        lambda file: file.create_virtual_dataset("x", virtual()),
        lambda file: file.create_dataset("x", data=h5py.Empty("f4")),
    ],
    ids=["external link", "soft link", "external storage", "virtual", "empty"],
)
def test_what_leads_out_of_the_file_is_refused(fill):
    with pytest.raises(UnsupportedError):
        open_hdf5(written(fill), "f")


@pytest.mark.parametrize(
    "options",
    [{}, {"chunks": (1 << 10,)}, {"chunks": (1 << 20,), "compression": "gzip"}],
    ids=["contiguous", "chunks", "compressed"],
)
def test_what_is_declared_and_not_there_is_not_allocated(options):

    def fill(file):
        file.create_dataset("x", (1 << 40,), "f4", **options)

    with pytest.raises(CorruptionError, match="larger than it can be"):
        open_hdf5(written(fill), "f")


def test_a_compressed_tensor_of_zeros_is_read():

    def fill(file):
        file.create_dataset("x", data=np.zeros(5000), compression="gzip")

    assert not open_hdf5(written(fill), "f").read("x").any()


def test_a_group_in_itself_has_an_end():
    def fill(file):
        file["a/b"] = 1.0
        file["a/again"] = file["a"]

    with pytest.raises(CorruptionError, match="too many groups"):
        open_hdf5(written(fill), "f")


def test_names_that_steer_a_terminal_are_escaped_in_errors():

    def fill(file):
        file.update({"x\x1b[2J": h5py.SoftLink("/y")})

    with pytest.raises(UnsupportedError) as caught:
        open_hdf5(written(fill), "f")
    assert "\x1b" not in str(caught.value)


def test_a_name_that_is_no_text_is_damage():
    data = bytearray(written(lambda file: file.update({"x234567": 1.0})))
    data[data.index(b"x234567")] = 0xFF
    with pytest.raises(CorruptionError):
        open_hdf5(memoryview(data), "f")


def test_a_heap_without_an_end_is_damage():
    def fill(file):
        file.attrs["names"] = ["one", "two"]

    data = bytearray(written(fill))
    heap = data.index(b"GCOL")
    data[heap + 16 + 8 : heap + 16 + 16] = b"\xff" * 8
    with pytest.raises(CorruptionError, match="a wrong size"):
        open_hdf5(memoryview(data), "f")


def test_only_the_first_bytes_count():
    assert is_hdf5(written(plain))
    assert not is_hdf5(memoryview(b""))


def test_a_checkpoint_is_such_a_file(tmp_path):
    (tmp_path / "model.h5").write_bytes(written(plain))
    for path in (tmp_path, tmp_path / "model.h5"):
        checkpoint = tfp.Checkpoint(path)
        assert list(checkpoint) == ["layer/kernel", "layer/step"]
        assert checkpoint.diff(checkpoint).same == 2
        result = checkpoint.verify()
        assert result.ok
        assert "no checksums" in str(result)


def test_a_folder_with_several_such_files_needs_a_name(tmp_path):
    for name in ("a.h5", "b.keras", "c.txt"):
        (tmp_path / name).write_bytes(written(plain))
    with pytest.raises(tfp.CheckpointNotFoundError, match="there are 2 files of Keras") as caught:
        tfp.Checkpoint(tmp_path)
    assert "'a.h5', 'b.keras'" in str(caught.value)


def test_a_checkpoint_in_the_folder_is_meant_and_not_the_file(tmp_path):
    (tmp_path / "a.h5").write_bytes(written(plain))
    tfp.ModelStore(tmp_path).save({"v": np.float32(3)})
    assert list(tfp.Checkpoint(tmp_path)) == ["v"]
    value = {"v": np.zeros((), np.float32)}
    tfp.ModelStore(tmp_path).restore(value)
    assert value["v"] == 3


def test_arrays_are_restored_by_the_paths_of_tensors(tmp_path):
    (tmp_path / "model.h5").write_bytes(written(plain))
    for location in (tmp_path, tmp_path / "model.h5"):
        value = {"layer/step": np.zeros((), np.int64)}
        tfp.ModelStore(location).restore(value)
        assert value["layer/step"] == 7
        store = tfp.ModelStore(location).rename({"layer/step": "mine"}).only(["mine"])
        value = {"mine": np.zeros((), np.int64), "other": np.ones(1)}
        assert store.restore(value, dry_run=True).fits
        assert value["mine"] == 0


def test_nothing_is_saved_into_such_a_file(tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes(written(plain))
    store = tfp.ModelStore(path)
    for action in (lambda: store.save({"v": np.float32(1)}), store.checkpoints, store.verify):
        with pytest.raises(tfp.StorageError, match="this is a file of Keras"):
            action()
    assert path.read_bytes() == bytes(written(plain))
