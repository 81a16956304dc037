"""The checkpoint that an incremental save starts from, and the reasons why there is none."""

from __future__ import annotations

import contextlib
import os

import numpy as np
import pytest

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.earlier import EarlierCheckpoint, open_earlier
from tfpersist.checkpoint.save_memory import SaveMemory
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.formats import schema, sstable
from tfpersist.formats.bundle_index_writer import tensor_list
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.sstable_writer import encode_table
from tfpersist.formats.tensors import Slice, TensorSpec, payload_of
from tfpersist.storage import open_storage
from tfpersist.storage.local import LocalDirectory
from tfpersist.storage.staged import StagedStorage

HALVES = (Slice("p", (4,), (0,), (2,)), Slice("p", (4,), (2,), (2,)))


def items():
    whole = np.arange(4.0)
    return [
        Item("b", payload_of(np.arange(300, dtype=np.int32))),
        Item("text", payload_of(np.array([b"one", b"two"], object))),
        *(Item("p", payload_of(whole[half.start[0] :][:2]), half) for half in HALVES),
        Item("a", payload_of(np.ones((2, 3), np.float32))),
    ]


def save(storage, prefix, memory=None):
    write_checkpoint(storage, prefix, items(), incremental=True, durable=False, memory=memory)


@contextlib.contextmanager
def earlier(storage, prefix="m-9", memory=None):
    with open_earlier(Directory.look(storage), prefix, memory or SaveMemory()) as opened:
        yield opened


def reason(storage, prefix="m-9"):
    with earlier(storage, prefix) as opened:
        assert isinstance(opened, str)
        return opened


def contents(opened):
    """Return all that is known of the tensors, by name and slice."""
    stored = opened.stored(np.arange(len(opened.names)))
    columns = [column.tolist() for column in opened.places.columns]
    return {
        (name, part): (spec, *place, bytes(content))
        for name, part, spec, *place, content in zip(
            opened.names, opened.parts, opened.specs, *columns, stored, strict=True
        )
    }


@pytest.fixture
def storage(tmp_path):
    return open_storage(tmp_path)


def test_the_last_save_of_this_process_is_known_without_reading(storage):
    memory = SaveMemory()
    save(storage, "m-1", memory)
    with earlier(storage, memory=memory) as known, earlier(storage) as read:
        assert known.last is not None
        assert read.last is None
        assert contents(known) == contents(read)
        assert contents(known)["b", None][-1] == np.arange(300, dtype=np.int32).tobytes()
        assert contents(known)["p", HALVES[1]][-1] == np.float64([2, 3]).tobytes()
        for opened in (known, read):
            assert opened.prefix == "m-1"
            assert len(opened.shards) == len(opened.holds) == len(opened.stamps) == 1
            assert opened.stamps[0][1] == len(opened.shards[0])


def test_a_checkpoint_that_another_process_saved_is_read(storage):
    memory = SaveMemory()
    save(storage, "m-1", memory)
    write_checkpoint(storage, "m-2", [Item("a", payload_of(np.zeros(9)))])
    with earlier(storage, memory=memory) as opened:
        assert opened.prefix == "m-2"
        assert opened.last is None
        assert opened.names == ["a"]


def test_the_newest_of_the_same_name_is_opened(storage):
    for prefix in ("m-1", "m-2", "other-3"):
        save(storage, prefix)
    with earlier(storage) as opened:
        assert opened.prefix == "m-2"
    with earlier(storage, "other-1") as opened:
        assert opened.prefix == "other-3"
    assert reason(storage, "third-1") == "there is no earlier checkpoint"


def test_its_files_are_held_while_it_is_open(storage):
    save(storage, "m-1")
    names = ["m-1.index", "m-1.data-00000-of-00001"]
    with earlier(storage):
        assert [storage.hold(name, alone=True) for name in names] == [None, None]
    for name in names:
        storage.hold(name, alone=True).release()


@pytest.mark.parametrize("name", ["m-1.index", "m-1.data-00000-of-00001"])
def test_a_checkpoint_that_is_being_removed_is_left_alone(storage, name):
    save(storage, "m-1")
    hold = storage.hold(name, alone=True)
    assert reason(storage) == "m-1 is being removed"
    hold.release()


def replacing(tmp_path, ending):
    """Return a storage in which another process replaces a file as soon as it is held."""

    class Replaced(LocalDirectory):
        def hold(self, name, *, alone):
            hold = super().hold(name, alone=alone)
            if name.endswith(ending):
                other = tmp_path / "other"
                other.write_bytes((tmp_path / name).read_bytes())
                other.replace(tmp_path / name)
            return hold

    return StagedStorage(Replaced(str(tmp_path)))


@pytest.mark.parametrize("known", [True, False])
def test_a_checkpoint_whose_index_is_replaced_is_not_used(tmp_path, known):
    memory = SaveMemory()
    save(open_storage(tmp_path), "m-1", memory)
    storage = replacing(tmp_path, ".index")
    with earlier(storage, memory=memory if known else None) as opened:
        assert opened == "m-1 is being replaced"


@pytest.mark.parametrize("known", [True, False])
def test_a_data_file_that_is_replaced_is_not_linked(tmp_path, known):
    memory = SaveMemory()
    save(open_storage(tmp_path), "m-1", memory)
    save(replacing(tmp_path, ".data-00000-of-00001"), "m-2", memory if known else None)
    checkpoint = Checkpoint(tmp_path / "m-2")
    assert checkpoint.verify().ok
    assert checkpoint.increment.shared == 0
    assert "was replaced while it was linked" in checkpoint.increment.reason


@pytest.mark.parametrize("known", [True, False])
def test_a_data_file_that_is_too_short_is_not_used(storage, tmp_path, known):
    memory = SaveMemory()
    save(storage, "m-1", memory)
    path = tmp_path / "m-1.data-00000-of-00001"
    os.truncate(path, 1200)
    with earlier(storage, memory=memory if known else None) as opened:
        assert isinstance(opened, str) or all(
            len(content) == size
            for content, size in zip(
                opened.stored(np.arange(len(opened.names))),
                opened.places.sizes.tolist(),
                strict=True,
            )
        )


def test_a_damaged_index_is_reported(storage, tmp_path):
    save(storage, "m-1")
    path = tmp_path / "m-1.index"
    path.write_bytes(path.read_bytes()[:-9])
    assert reason(storage).startswith("m-1 cannot be used: ")


def test_a_checkpoint_of_a_big_endian_machine_is_not_used(storage, tmp_path):
    save(storage, "m-1")
    path = tmp_path / "m-1.index"
    table = sstable.read_table(memoryview(path.read_bytes()), "x")
    rows = {key: bytes(value) for key, value, _ in table}
    header = schema.BundleHeaderProto.FromString(rows[b""])
    header.endianness = 1
    rows[b""] = header.SerializeToString()
    path.write_bytes(encode_table(sorted(rows.items())).content)
    assert reason(storage) == "m-1 is of another layout"


def test_a_storage_without_hard_links(tmp_path):
    storage = open_storage(f"local://{tmp_path}/run")
    assert reason(storage) == "this kind of store has no hard links"


def test_tensors_are_found_by_name_slice_and_spec(storage):
    memory = SaveMemory()
    save(storage, "m-1", memory)
    half = TensorSpec("float64", (2,))
    asked = [
        ("a", TensorSpec("float32", (2, 3)), None, True),
        ("b", TensorSpec("int32", (300,)), Slice("b", (300,), (0,), (300,)), True),
        ("a2", TensorSpec("float32", (2, 3)), None, False),
        ("p", half, HALVES[1], True),
        ("p", half, Slice("p", (4,), (1,), (2,)), False),
        ("text", TensorSpec("string", (3,)), None, False),
    ]
    names, specs, parts, found = map(list, zip(*asked, strict=True))
    for remembered in (memory, SaveMemory()):
        with earlier(storage, memory=remembered) as opened:
            assert isinstance(opened, EarlierCheckpoint)
            numbers = opened.numbers_of(tensor_list(names, specs, parts)).tolist()
            assert [number >= 0 for number in numbers] == found
            for number, name, part in zip(numbers, names, parts, strict=True):
                if number >= 0:
                    assert opened.names[number] == name
                    assert opened.parts[number] == (part if name == "p" else None)


def test_the_same_tensors_as_in_the_last_save_keep_their_numbers(storage):
    memory = SaveMemory()
    save(storage, "m-1", memory)
    with earlier(storage, memory=memory) as opened:
        assert opened.numbers_of(opened.last.tensors).tolist() == [0, 1, 2, 3, 4]
        columns = (opened.names, opened.specs, opened.parts)
        backwards = tensor_list(*([*column][::-1] for column in columns))
        assert opened.numbers_of(backwards).tolist() == [4, 3, 2, 1, 0]
