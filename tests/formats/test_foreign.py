"""A file of another kind is named for what it is, by every reader."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.errors import CorruptionError, TFPersistError, UnsupportedError
from tfpersist.formats import schema, sstable
from tfpersist.formats.foreign import foreign

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123\n"
ONNX = b"\x08\x08\x12\x07pytorch\x3a\x02\x0a\x00"


def npz():
    file = io.BytesIO()
    np.savez(file, weights=np.zeros(2))
    return file.getvalue()


def npy():
    file = io.BytesIO()
    np.save(file, np.zeros(2))
    return file.getvalue()


def zipped(name):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"")
    return file.getvalue()


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights"))
    return file.getvalue()


SAFETENSORS = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'

FILES = {
    "PyTorch": (zipped("archive/data.pkl"), "PyTorch"),
    "safetensors": (struct.pack("<Q", len(SAFETENSORS)) + SAFETENSORS + bytes(4), "safetensors"),
    "pickle of a dict": (pickle.dumps({"w": [1]}, protocol=4), "pickle"),
    "old pickle": (pickle.dumps([1.5], protocol=2), "pickle"),
    "tar": (tar(), "tar archive"),
    "answer in XML": (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "XML"),
    "answer in JSON": (b'{"error": "Not found"}', "JSON.*download"),
    "npz": (npz(), r"npz\).*np.load"),
    "npy": (npy(), "NumPy array"),
    "gzip": (b"\x1f\x8b\x08\0", "gzip"),
    "pointer": (POINTER, "Git LFS.*git lfs pull"),
    "page": (b"\n<!DOCTYPE html>\n<html><body>Not found</body></html>", "web page"),
    "XHTML": (b'<?xml version="1.0"?>\n<html xmlns="x"></html>', "web page"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3....", "Lite"),
    "ONNX": (ONNX, "ONNX Runtime"),
}


@pytest.mark.parametrize(("data", "message"), FILES.values(), ids=FILES)
def test_every_reader_names_it(data, message, tmp_path):
    assert foreign(memoryview(data)) is not None
    for name, read in (
        ("a.pb", tfp.FrozenModel.load),
        ("b.pb", tfp.safety.scan),
        ("c.pb", lambda path: dict(tfp.Checkpoint(path))),
        ("d.bin", lambda path: dict(tfp.Checkpoint(path))),
        ("e.pb", lambda path: tfp.Freezer(path).freeze()),
        ("f.meta", tfp.safety.scan),
        ("g.pb", lambda path: tfp.ModelStore(path).latest()),
        ("h.bin", lambda path: tfp.ModelStore(path).restore({"w": np.zeros(2)})),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(TFPersistError, match=f"(?s){message}") as caught:
            read(tmp_path / name)
        assert "Restore another checkpoint" not in str(caught.value)


@pytest.mark.parametrize("data", [POINTER, b"<html></html>"])
def test_a_file_of_a_checkpoint_that_is_something_else(data):
    with pytest.raises(CorruptionError, match=r"got a (pointer of Git LFS|web page)"):
        sstable.read_table(memoryview(data), "model.ckpt.index")
    with pytest.raises(CorruptionError, match=r"got a (pointer of Git LFS|web page)"):
        schema.parse(schema.MetaGraphDef, data, file="model.ckpt.meta")


@pytest.mark.parametrize("read", [tfp.FrozenModel.load, tfp.safety.scan])
@pytest.mark.parametrize(
    ("data", "message"),
    [(b"\x89HDF\r\n\x1a\n\0\0", "HDF5.*load_model"), (b"PK\x03\x04" + bytes(26), "zip file")],
)
def test_a_file_of_keras_is_no_graph(data, message, read, tmp_path):
    """Checkpoint reads such files."""
    (tmp_path / "a.pb").write_bytes(data)
    with pytest.raises(UnsupportedError, match=message):
        read(tmp_path / "a.pb")


def test_messages_of_tensorflow_are_not_foreign():
    graph = schema.GraphDef(node=[schema.NodeDef(name="a", op="NoOp")])
    meta = schema.MetaGraphDef(graph_def=graph)
    saved = schema.SavedModel(saved_model_schema_version=1, meta_graphs=[meta])
    for message in (graph, meta, saved):
        assert foreign(memoryview(message.SerializeToString())) is None
    assert foreign(memoryview(b"")) is None
