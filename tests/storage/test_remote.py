import os
import time

import fsspec
import pytest
from contract import StorageContract, contents, put, write
from fsspec.implementations.memory import MemoryFileSystem

from tfpersist.errors import StorageError, UnsupportedError
from tfpersist.storage import journal, open_storage
from tfpersist.storage.remote import RemoteDirectory
from tfpersist.storage.staged import StagedStorage


class BucketFileSystem(MemoryFileSystem):
    """Objects without renames, behind a scheme of its own."""

    protocol = "bucket"
    store = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("bucket://"))


fsspec.register_implementation("bucket", BucketFileSystem, clobber=True)


class TestBucket(StorageContract):
    @pytest.fixture
    def storage(self):
        BucketFileSystem.store.clear()
        return open_storage("bucket://runs/mnist")

    def reopen(self, storage):
        return open_storage(storage.location)

    def test_no_other_file_is_left(self, storage):
        write(storage, {"a": b"1", "b": b"2"})
        write(storage, {"a": b"3", "b": b"4"})
        assert set(BucketFileSystem.store) == {"/runs/mnist/a", "/runs/mnist/b"}


class TestLocalThroughFsspec(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path):
        return open_storage(f"local://{tmp_path}/made/here")

    def reopen(self, storage):
        return open_storage(storage.location)


class FailingDirectory(RemoteDirectory):
    """Fails at one step, in the way that a client library of a store does."""

    def rename(self, old, new):
        if new == "b":
            raise ConnectionResetError(104, "connection reset by peer")
        super().rename(old, new)


def test_a_publication_cut_in_the_middle_is_read_whole_and_finished_later():
    BucketFileSystem.store.clear()
    storage = open_storage("bucket://cut")
    write(storage, {"a": b"old", "b": b"old"})
    failing = StagedStorage(FailingDirectory("bucket://cut", BucketFileSystem(), "/cut"))
    with pytest.raises(StorageError, match="connection reset"):
        write(failing, {"a": b"new", "b": b"new"})
    assert contents(storage) == {"a": b"new", "b": b"new"}
    assert len(BucketFileSystem.store) > 2
    put(storage, c=b"3")
    assert contents(storage) == {"a": b"new", "b": b"new", "c": b"3"}
    assert set(BucketFileSystem.store) == {"/cut/a", "/cut/b", "/cut/c"}


class TearingDirectory(RemoteDirectory):
    """Copies half of a file, and fails."""

    def rename(self, old, new):
        if new == "a":
            data = self.system.cat_file(self.path(old))
            self.system.pipe_file(self.path(new), data[: len(data) // 2])
            raise ConnectionResetError(104, "connection reset by peer")
        super().rename(old, new)


def test_a_single_file_that_is_torn_by_its_copying_is_read_whole():
    BucketFileSystem.store.clear()
    storage = open_storage("bucket://torn")
    write(storage, {"a": b"old"})
    tearing = StagedStorage(TearingDirectory("bucket://torn", BucketFileSystem(), "/torn"))
    with pytest.raises(StorageError, match="connection reset"):
        write(tearing, {"a": b"newer"})
    assert contents(storage) == {"a": b"newer"}
    storage.recover()
    assert set(BucketFileSystem.store) == {"/torn/a"}
    assert contents(storage) == {"a": b"newer"}


def test_leftovers_of_dead_writers_go_after_a_day(tmp_path):
    names = [journal.staged_name("0" * 16, number) for number in range(3)]
    for name, hours in zip(names, (0, 23, 25), strict=True):
        (tmp_path / name).write_bytes(b"left")
        long_ago = time.time() - hours * 3600
        os.utime(tmp_path / name, (long_ago, long_ago))
    open_storage(f"local://{tmp_path}").recover()
    assert set(os.listdir(tmp_path)) == set(names[:2])


def test_the_marker_of_a_directory_is_not_a_file_in_it():
    class Marking(BucketFileSystem):
        def ls(self, path, detail=True, **options):
            marker = {"name": path + "/", "size": 0, "type": "file"}
            return [*super().ls(path, detail=True, **options), marker]

    BucketFileSystem.store.clear()
    write(open_storage("bucket://marked"), {"a": b"1"})
    assert RemoteDirectory("bucket://marked", Marking(), "/marked").names() == {"a"}


def test_a_file_that_is_absent_cannot_be_renamed_even_if_the_system_is_silent():
    class Silent(BucketFileSystem):
        def mv(self, path1, path2, **options):
            return None

    BucketFileSystem.store.clear()
    directory = RemoteDirectory("bucket://silent", Silent(), "/silent")
    with pytest.raises(FileNotFoundError):
        directory.rename("absent", "b")


def test_a_failure_of_the_client_library_is_translated():
    class Broken(MemoryFileSystem):
        def cat_file(self, path, start=None, end=None, **options):
            raise RuntimeError("token expired")

    storage = StagedStorage(RemoteDirectory("broken://x", Broken(), "/x"))
    with pytest.raises(StorageError, match="RuntimeError: token expired"):
        storage.read("a")


@pytest.mark.parametrize("url", ["nosuchscheme://x", "nosuchscheme+x://y"])
def test_an_unknown_scheme_is_refused(url):
    with pytest.raises(UnsupportedError, match="fsspec does not know"):
        open_storage(url)
