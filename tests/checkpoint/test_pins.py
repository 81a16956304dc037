"""Pins and holds: what they keep, when they end, and where none can be had."""

from __future__ import annotations

import numpy as np
import pytest

from tfpersist.checkpoint import pins
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.locate import Located
from tfpersist.checkpoint.pins import held, marker, pin
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import CheckpointNotFoundError, StorageError, UnsupportedError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.storage import open_storage


@pytest.fixture(params=["disk", "memory"])
def located(request, tmp_path):
    """Return a checkpoint in a storage that has locks."""
    location = tmp_path if request.param == "disk" else f"memory://pins/{tmp_path.name}"
    return written(location)


def written(location):
    storage = open_storage(location)
    write_checkpoint(storage, "m", [Item("v", payload_of(np.ones(3)))], state=False)
    return Located(storage, Directory.look(storage).files("m"))


def is_free(located):
    """Return whether somebody could remove the checkpoint now."""
    hold = located.storage.hold(marker(located.files), alone=True)
    if hold is not None:
        hold.release()
    return hold is not None


def remove(located):
    located.storage.remove(located.files.all)


def test_the_marker_is_the_index_and_in_v1_the_first_file(located, golden):
    assert marker(located.files) == "m.index"
    storage = open_storage(golden / "0.12.1")
    files = Directory.look(storage).files("shard2_v1.ckpt")
    assert marker(files) == "shard2_v1.ckpt-00000-of-00003"


def test_a_pin_holds_until_its_last_holder_lets_go(located):
    first = pin(located)
    assert first.prefix == located.path
    with pin(located) as second:
        first.release()
        first.release()
        assert not is_free(located)
    second.release()
    assert is_free(located)


def test_a_hold_is_released_after_an_error(located):
    def fail():
        with held(located.storage, located.files):
            assert not is_free(located)
            raise KeyError("v")

    with pytest.raises(KeyError):
        fail()
    assert is_free(located)


def test_a_read_continues_without_a_hold_during_a_pruning(located):
    pruner = located.storage.hold("m.index", alone=True)
    try:
        with held(located.storage, located.files):
            assert located.storage.read("m.index")
    finally:
        pruner.release()


def test_one_that_was_removed_cannot_be_held(located):
    remove(located)
    with pytest.raises(CheckpointNotFoundError, match="is gone"):
        pin(located)
    with (
        pytest.raises(CheckpointNotFoundError, match="is gone"),
        held(located.storage, located.files),
    ):
        pytest.fail("it was held")


def test_one_that_is_removed_while_it_is_read_is_gone_and_not_damaged(located):
    def read():
        with held(located.storage, located.files):
            remove(located)
            located.storage.read(located.files.shards[0])

    with pytest.raises(CheckpointNotFoundError, match="is gone"):
        read()


def test_a_file_that_is_missing_from_one_that_is_there_stays_a_storage_error(located):
    data = located.files.shards[0]
    located.storage.remove([data])
    with (
        pytest.raises(StorageError, match=r"data-00000-of-00001") as caught,
        held(located.storage, located.files),
    ):
        located.storage.read(data)
    assert not isinstance(caught.value, CheckpointNotFoundError)
    assert is_free(located)


def test_a_pin_waits_for_one_that_prunes_and_not_for_ever(located, monkeypatch):
    monkeypatch.setattr(pins, "_PATIENCE", 0.05)
    pruner = located.storage.hold("m.index", alone=True)
    with pytest.raises(StorageError, match="being written or removed by another"):
        pin(located)
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        pruner.release()

    monkeypatch.setattr(pins, "_PATIENCE", 60.0)
    monkeypatch.setattr(pins.time, "sleep", pause)
    with pin(located):
        assert not is_free(located)
    assert pauses == [pins._PAUSE]


def test_pin_is_refused_without_locks_that_end_with_a_process(tmp_path):
    located = written(f"local://{tmp_path}/run")
    with pytest.raises(UnsupportedError, match="cannot be pinned in this storage"):
        pin(located)
    with held(located.storage, located.files):
        assert located.storage.read("m.index")


def test_a_lock_that_others_do_not_see_is_let_go(located):
    class Lock:
        effective = False
        released = 0

        def release(self):
            self.released += 1

    class Lockless:
        location = "nowhere"

        def hold(self, name):
            return lock

    lock = Lock()
    with pytest.raises(UnsupportedError):
        pin(Located(Lockless(), located.files))
    assert lock.released == 1


def test_a_failure_to_lock_is_told_as_it_is(located):
    class Failing:
        def hold(self, name):
            raise StorageError("no locks left")

    with pytest.raises(StorageError, match="no locks left"):
        pin(Located(Failing(), located.files))
