import fsspec
import pytest
from contract import StorageContract, write
from fsspec.implementations.memory import MemoryFileSystem

from tfpersist.errors import StorageError, UnsupportedError
from tfpersist.storage import open_storage
from tfpersist.storage.remote import RemoteStorage


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


def test_nothing_is_renamed_where_no_file_is_seen_before_it_is_whole(monkeypatch):
    def mv(self, *paths, **options):
        pytest.fail(f"{paths} is renamed")

    monkeypatch.setattr(BucketFileSystem, "mv", mv)
    write(open_storage("bucket://renamed"), {"a": b"1"})
    assert open_storage("bucket://renamed").read("a") == b"1"


def test_the_marker_of_a_directory_is_not_a_file_in_it():
    class Marking(BucketFileSystem):
        def ls(self, path, detail=True, **options):
            marker = {"name": path + "/", "size": 0, "type": "file"}
            return [*super().ls(path, detail=True, **options), marker]

    BucketFileSystem.store.clear()
    write(open_storage("bucket://marked"), {"a": b"1"})
    assert RemoteStorage("bucket://marked", Marking(), "/marked").names() == {"a"}


def test_a_failure_of_the_client_library_is_translated():
    class Broken(MemoryFileSystem):
        def cat_file(self, path, start=None, end=None, **options):
            raise RuntimeError("token expired")

    storage = RemoteStorage("broken://x", Broken(), "/x")
    with pytest.raises(StorageError, match="RuntimeError: token expired"):
        storage.read("a")


@pytest.mark.parametrize("url", ["nosuchscheme://x", "nosuchscheme+x://y"])
def test_an_unknown_scheme_is_refused(url):
    with pytest.raises(UnsupportedError, match="fsspec does not know"):
        open_storage(url)
