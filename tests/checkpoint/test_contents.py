import attrs
import numpy as np
import pytest

from tfpersist.checkpoint.contents import Bundle, V1Files, open_contents
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.files import Files, Listing
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import CorruptionError, StorageError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import Slice, TensorSpec, payload_of
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


def test_only_what_is_wanted_of_a_remote_store_is_fetched(tmp_path):
    storage = open_storage(f"local://{tmp_path}")
    contents = open_contents(storage, write(storage))
    assert contents.read("v").tolist() == [1.0, 1.0, 1.0]
    assert contents.shards == {}
    (data,) = tmp_path.glob("m.data-00000-of-?????")
    data.unlink()
    with pytest.raises(CorruptionError, match="missing") as caught:
        contents.read("v")
    assert caught.value.file == f"local://{data}"
    usual = open_storage(tmp_path)
    files = write(usual)
    usual.remove(files.shards)
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


class ChangingIndex:
    """A storage whose index differs at every read."""

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
        open_contents(ChangingIndex(storage), files)


def test_one_that_is_replaced_after_it_is_held_is_opened_by_its_name(tmp_path):
    storage = open_storage(tmp_path)
    files = write(storage, 1.0)
    hold = storage.hold(files.index)
    write(storage, 2.0)
    assert open_contents(storage, files, hold).read("v").tolist() == [2.0, 2.0, 2.0]
    hold.release()


def test_one_whose_index_is_written_in_place_is_opened_again(tmp_path):
    storage = open_storage(tmp_path)
    files = write(storage, 1.0)
    old = (tmp_path / files.index).read_bytes()
    write(storage, 2.0)
    new = (tmp_path / files.index).read_bytes()
    (tmp_path / files.index).write_bytes(old)
    hold = storage.hold(files.index)

    def in_place(name):
        data = hold.read(name)
        if name != files.index:
            (tmp_path / files.index).write_bytes(new)
        return data

    contents = open_contents(storage, files, attrs.evolve(hold, read=in_place))
    assert contents.read("v").tolist() == [2.0, 2.0, 2.0]
    hold.release()


def test_a_tensor_is_compared_with_its_checksum_at_the_first_read_alone(tmp_path):
    storage = open_storage(tmp_path)
    files = write(storage)
    first, second = open_contents(storage, files), open_contents(storage, files)
    assert first.read("v").tolist() == [1.0, 1.0, 1.0]
    changed = memoryview(np.float64([2, 1, 1]).tobytes())
    for contents in (first, second):
        contents.shards[0] = changed
    assert first.read("v").tolist() == [2.0, 1.0, 1.0]
    with pytest.raises(CorruptionError, match="v"):
        second.read("v")


def test_each_part_of_a_partitioned_tensor_is_released(tmp_path):
    storage, released = open_storage(tmp_path), []
    items = [
        Item("v", payload_of(np.full(3, at, np.int16)), Slice("v", (6,), (at,), (3,)))
        for at in (0, 3)
    ]
    write_checkpoint(storage, "m", items)

    class Forgetting(type(storage)):
        def forget(self, data):
            released.append(len(data))

    forgetting = Forgetting(storage.directory)
    contents = open_contents(forgetting, Listing(storage.names()).v2_files("m"))
    assert contents.read("v").tolist() == [0, 0, 0, 3, 3, 3]
    contents.release("v")
    assert released == [6, 6]


def test_a_data_file_that_cannot_be_read_is_not_a_missing_one(tmp_path):
    storage = open_storage(tmp_path)
    files = write(storage)

    class Failing(type(storage)):
        def read(self, name):
            if ".data-" in name:
                raise StorageError("cannot read this")
            return super().read(name)

    with pytest.raises(StorageError, match="cannot read this"):
        open_contents(Failing(storage.directory), files)
