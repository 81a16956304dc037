"""The `.meta` that is opened: the newest that is intact, and what is passed over for it."""

from __future__ import annotations

import numpy as np
import pytest

from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import CheckpointNotFoundError, CorruptionError, StorageError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.storage import open_storage
from tfpersist.store.saved_graph import newest_graph
from tfpersist.store.which import Which

ALL = Which("m")


@pytest.fixture
def storage(tmp_path):
    return open_storage(tmp_path)


@pytest.fixture
def save(storage, golden):
    """Return a function that saves a checkpoint, with a graph if that is asked for."""
    meta = (golden / "1.15.5" / "model_v2.ckpt-5.meta").read_bytes()

    def write(step, *, graph=True):
        items = [Item("v", payload_of(np.full(3, step)))]
        write_checkpoint(storage, f"m-{step}", items, meta=meta if graph else None, step=step)

    return write


def damage(path):
    path.write_bytes(path.read_bytes()[:-9] + b"nine byte")


def test_the_newest_that_has_one(storage, save):
    save(1)
    save(2)
    save(3, graph=False)
    found = newest_graph(Directory.look(storage), ALL)
    assert found.file == f"{storage.location}/m-2.meta"
    assert found.data == storage.read("m-2.meta")
    assert found.skipped == ()


def test_damaged_checkpoints_are_skipped_and_listed(storage, save, tmp_path):
    for step in (1, 2, 3):
        save(step)
    for step in (2, 3):
        damage(tmp_path / f"m-{step}.meta")
    found = newest_graph(Directory.look(storage), ALL)
    assert found.file.endswith("m-1.meta")
    assert [skipped.prefix for skipped in found.skipped] == ["m-3", "m-2"]
    assert all("not the one that was saved" in skipped.reason for skipped in found.skipped)
    assert not any(skipped.quarantined for skipped in found.skipped)


@pytest.mark.parametrize("which", [Which("m", step=2), Which("m", prefix="m-2")])
def test_no_other_checkpoint_replaces_the_requested_one(storage, save, tmp_path, which):
    save(1)
    save(2)
    assert newest_graph(Directory.look(storage), which).file.endswith("m-2.meta")
    damage(tmp_path / "m-2.meta")
    with pytest.raises(CorruptionError, match=r"m-2\.meta"):
        newest_graph(Directory.look(storage), which)


def test_where_all_are_damaged_the_error_is_that_of_the_newest(storage, save, tmp_path):
    for step in (1, 2):
        save(step)
        damage(tmp_path / f"m-{step}.meta")
    with pytest.raises(CorruptionError, match=r"m-2\.meta"):
        newest_graph(Directory.look(storage), ALL)


def test_where_none_has_a_graph(storage, save):
    save(1, graph=False)
    with pytest.raises(CheckpointNotFoundError, match=r"no checkpoint here has a \.meta file"):
        newest_graph(Directory.look(storage), ALL)


def test_a_checkpoint_pruned_after_the_look_does_not_count_as_damaged(storage, save):
    save(1)
    save(2)
    look = Directory.look(storage)
    save(3)
    storage.remove(look.files("m-2").all)
    found = newest_graph(look, ALL)
    assert found.file.endswith("m-3.meta")
    assert found.skipped == ()


def test_a_graph_that_is_there_and_cannot_be_read_is_an_error(storage, save):
    save(1)
    save(2)

    class Failing(type(storage)):
        def read(self, name):
            if name == "m-2.meta":
                raise StorageError("cannot read this")
            return super().read(name)

    with pytest.raises(StorageError, match="cannot read this"):
        newest_graph(Directory.look(Failing(storage.directory)), ALL)
