"""The data files of a save: new ones, those it takes over, and all of it where that cannot be."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import StorageError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.storage import open_storage
from tfpersist.storage.local import LocalDirectory
from tfpersist.storage.staged import StagedStorage


def arrays(step, size=50_000):
    return {"frozen": np.arange(float(size)), "head": np.full(40, float(step))}


def save(storage, prefix, values, **options):
    items = [Item(key, payload_of(value)) for key, value in sorted(values.items())]
    write_checkpoint(storage, prefix, items, incremental=True, durable=False, **options)
    return Checkpoint(prefix, storage=storage)


def assert_holds(checkpoint, values):
    report = checkpoint.verify()
    assert report.ok, str(report)
    assert checkpoint.keys() == values.keys()
    for key, value in values.items():
        np.testing.assert_array_equal(checkpoint[key], value)


class Linkless(LocalDirectory):
    """A directory of a file system without hard links, as FAT is one."""

    def link(self, held, name):
        raise OSError(errno.EPERM, "Operation not permitted")


def test_a_file_system_without_hard_links(tmp_path):
    storage = StagedStorage(Linkless(str(tmp_path)))
    save(storage, "m-1", arrays(1))
    with pytest.warns(UserWarning, match="in full, not incrementally: files cannot be linked"):
        checkpoint = save(storage, "m-2", arrays(2))
    assert_holds(checkpoint, arrays(2))
    assert checkpoint.increment.shared == 0
    assert "cannot be linked" in checkpoint.increment.reason
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_a_remote_store_warns_that_it_writes_all_tensors(tmp_path):
    store = tfp.ModelStore(f"local://{tmp_path}/run", incremental=True)
    for step in (1, 2):
        with pytest.warns(UserWarning, match="in full, not incrementally: .* has no hard links"):
            checkpoint = store.save(arrays(step, 99), step)
        assert checkpoint.increment.reason == "this kind of store has no hard links"
        assert_holds(checkpoint, arrays(step, 99))


def test_written_and_shared_bytes_are_those_of_the_files(tmp_path):
    storage = open_storage(tmp_path)
    save(storage, "m-1", arrays(1))
    checkpoint = save(storage, "m-2", arrays(2))
    own = tmp_path / "m-2.data-00001-of-00002"
    assert checkpoint.increment.written == own.stat().st_size
    assert checkpoint.increment.shared == arrays(2)["frozen"].nbytes
    assert checkpoint.increment.base == "m-1"
    assert (tmp_path / "m-2.data-00000-of-00002").samefile(tmp_path / "m-1.data-00000-of-00001")


def test_other_errors_do_not_count_as_missing_links(tmp_path):
    class Broken(LocalDirectory):
        def link(self, held, name):
            raise OSError(errno.EIO, "Input/output error")

    storage = StagedStorage(Broken(str(tmp_path)))
    save(storage, "m-1", arrays(1))
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(StorageError, match="Input/output error"):
        save(storage, "m-2", arrays(2))
    assert sorted(os.listdir(tmp_path)) == before


def test_a_base_that_is_pruned_while_it_is_linked_is_done_without(tmp_path, recwarn):
    class Pruned(LocalDirectory):
        def link(self, held, name):
            raise OSError(errno.ENOENT, "No such file or directory")

    storage = StagedStorage(Pruned(str(tmp_path)))
    save(storage, "m-1", arrays(1))
    checkpoint = save(storage, "m-2", arrays(2))
    assert_holds(checkpoint, arrays(2))
    assert checkpoint.increment.shared == 0
    assert "cannot be linked" in checkpoint.increment.reason
    assert not recwarn.list
