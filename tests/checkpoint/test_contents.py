import numpy as np
import pytest

from tfpersist.checkpoint.contents import Bundle, V1Files, open_contents
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.files import Files, Listing
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import CorruptionError, StorageError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import TensorSpec, payload_of
from tfpersist.storage import open_storage


def write(storage, value=1.0):
    write_checkpoint(storage, "m", [Item("v", payload_of(np.full(3, value)))])
    return Listing(storage.names()).v2_files("m")


def test_shards_of_a_disk_are_mapped_at_once_and_stay(tmp_path):
    storage = open_storage(tmp_path)
    contents = open_contents(storage, write(storage))
    assert isinstance(contents, Bundle)
    write(storage, 2.0)
    assert contents.read("v").tolist() == [1.0, 1.0, 1.0]
    assert contents.specs == {"v": TensorSpec("float64", (3,))}


def test_shards_of_a_remote_store_are_fetched_when_wanted(tmp_path):
    storage = open_storage(f"local://{tmp_path}")
    contents = open_contents(storage, write(storage))
    assert contents.shards == {}
    assert contents.read("v").tolist() == [1.0, 1.0, 1.0]
    assert contents.shards.keys() == {0}
    (tmp_path / "m.data-00000-of-00001").unlink()
    with pytest.raises(CorruptionError, match="missing") as caught:
        open_contents(storage, Files("m", "m.index", ()))
    assert caught.value.file == f"local://{tmp_path}/m.data-00000-of-00001"


def test_a_v1_checkpoint(golden):
    storage = open_storage(golden / "1.4.1")
    files = Directory.look(storage).files("shard2_v1.ckpt")
    contents = open_contents(storage, files)
    assert isinstance(contents, V1Files)
    assert len(contents.specs) == 5
    assert contents.read("fc1/b").shape == (3,)


class Restless:
    """A storage whose index is another at every reading."""

    def __init__(self, storage):
        self.storage = storage
        self.location = storage.location
        self.maps = True
        self.value = 0.0

    def read(self, name):
        if name == "m.index":
            self.value += 1
            write(self.storage, self.value)
        return self.storage.read(name)


def test_one_that_is_replaced_all_the_time(tmp_path):
    storage = open_storage(tmp_path)
    files = write(storage)
    with pytest.raises(StorageError, match="replaced 20 times while it was being opened"):
        open_contents(Restless(storage), files)
