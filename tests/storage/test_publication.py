"""Publications that are cut, stuck or come upon what another process has left."""

import contextlib
import itertools

import pytest
from contract import contents, write
from disk import Disk, PowerLoss

from tfpersist.errors import StorageError
from tfpersist.storage import journal
from tfpersist.storage.staged import StagedStorage

OLD = {"p.data": b"old" * 100, "p.meta": b"old", "p.index": b"old"}
NEW = {"p.data": b"new" * 200, "p.facts": b"new", "p.index": b"new"}


def test_a_file_that_is_removed_and_created_at_once_is_never_away():
    for at in itertools.count():
        disk = Disk()
        write(StagedStorage(disk), OLD)
        disk.fail_at, failed = disk.steps + at, False
        try:
            write(StagedStorage(disk), NEW, discards=["p.meta", "p.data"])
        except PowerLoss:
            failed = True
        disk.fail_at = -1
        for _ in range(2):
            again = StagedStorage(disk)
            assert contents(again) in (OLD, NEW), f"step {at}"
            again.recover()
        if not failed:
            break
    assert contents(again) == NEW


def test_a_journal_that_cannot_be_carried_out_keeps_what_it_needs():
    class Stuck(Disk):
        def rename(self, old, new):
            if new == "p.index":
                raise PermissionError(13, "permission denied")
            super().rename(old, new)

    disk = Stuck()
    with contextlib.suppress(StorageError):
        write(StagedStorage(disk), {**NEW, "p.index": b"new"})
    plain = Disk(entries=disk.entries)
    write(StagedStorage(plain), OLD)
    disk.entries = plain.entries
    with pytest.raises(StorageError, match="permission denied"):
        write(StagedStorage(disk), NEW, discards=["p.meta"])
    assert contents(StagedStorage(disk)) == NEW
    later = StagedStorage(Disk(entries=disk.entries))
    later.recover()
    assert contents(later) == NEW
    assert later.directory.names() == set(NEW)


def test_a_journal_of_another_process_is_carried_out_first():
    """One begins, another commits and dies, the first commits: both are there, in this order."""
    for at in itertools.count():
        disk = Disk()
        storage = StagedStorage(disk)
        write(storage, OLD)
        with storage.publish() as publication:
            publication.create("p.data").write(b"first")
            publication.create("p.index").write(b"first")
            disk.fail_at = disk.steps + at
            with contextlib.suppress(PowerLoss):
                write(StagedStorage(disk), NEW, discards=["p.meta"])
            committed = contents(storage) == NEW
            disk.fail_at = -1
        if committed:
            assert contents(storage) == {**NEW, "p.data": b"first", "p.index": b"first"}
            break
        assert contents(storage) == {**OLD, "p.data": b"first", "p.index": b"first"}


def test_staged_files_that_vanish_are_missed():
    disk = Disk()
    storage = StagedStorage(disk)
    write(storage, OLD)
    with pytest.raises(StorageError, match="was removed while"), storage.publish() as publication:  # noqa: PT012
        publication.create("p.data").write(b"new")
        publication.create("p.index").write(b"new")
        del disk.entries[next(name for name in disk.entries if journal.is_staged(name))]
    assert contents(storage) == OLD
