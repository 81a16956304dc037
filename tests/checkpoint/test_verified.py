"""A verified checkpoint is not read again while its files are unchanged."""

import os

import numpy as np
import pytest

from tfpersist.checkpoint import verified
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.storage import open_storage

COUNT = 60


@pytest.fixture
def storage(tmp_path):
    storage = open_storage(tmp_path)
    for number in range(COUNT):
        items = [Item("v", payload_of(np.full(3, float(number))))]
        write_checkpoint(storage, f"m-{number}", items, durable=False)
    look = Directory.look(storage)
    assert all(verified.is_intact(storage, look.files(prefix)) for prefix in look.complete)
    return storage


def test_one_that_has_changed_is_not_known_any_more(tmp_path, storage):
    prefixes = [f"m-{number}" for number in range(COUNT)]
    assert verified.to_verify(storage, prefixes) == []
    for number in (COUNT - 1, 0):
        path = tmp_path / f"m-{number}.data-00000-of-00001"
        path.write_bytes(path.read_bytes() + b"\0")
    # The newest are looked at each time, all others within 14 times.
    assert f"m-{COUNT - 1}" in verified.to_verify(storage, prefixes)
    assert any("m-0" in verified.to_verify(storage, prefixes) for _ in range(14))


def test_forgotten_and_damaged_checkpoints_are_not_known(tmp_path, storage):
    verified.forget(storage, "m-7")
    assert verified.to_verify(storage, ["m-6", "m-7"]) == ["m-7"]
    path = tmp_path / "m-7.data-00000-of-00001"
    path.write_bytes(bytes(len(path.read_bytes())))
    assert not verified.is_intact(storage, Directory.look(storage).files("m-7"))
    assert verified.to_verify(storage, ["m-7"]) == ["m-7"]


def test_a_checkpoint_that_was_just_written_is_known(tmp_path):
    storage = open_storage(tmp_path)
    files = write_checkpoint(storage, "m-1", [Item("v", payload_of(np.zeros(3)))])
    assert verified.to_verify(storage, ["m-1"]) == ["m-1"]
    verified.note(storage, files)
    assert verified.to_verify(storage, ["m-1"]) == []


def test_older_checkpoints_are_checked_in_turn(tmp_path, storage):
    """Also while one is added and the oldest goes between two looks, as with every save."""
    changed = {f"m-{number}" for number in range(10, 40)}
    for prefix in changed:
        os.utime(tmp_path / f"{prefix}.index", (1, 1))
    seen = set()
    for first in range(13):
        window = [f"m-{number}" for number in range(first, first + 47)]
        seen.update(verified.to_verify(storage, window))
    assert seen == changed
