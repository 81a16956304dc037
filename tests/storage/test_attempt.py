import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tfpersist.errors import ConflictError, StorageError
from tfpersist.storage import attempt, open_storage
from tfpersist.storage.attempt import Attempt


@pytest.fixture
def storage():
    MemoryFileSystem.store.clear()
    return open_storage("memory://runs", MemoryFileSystem())


def paths():
    return {path.removeprefix("/runs/") for path in MemoryFileSystem.store}


def test_files_of_the_attempt_are_there_at_once_and_the_marker_at_the_end(storage):
    with storage.publish() as publication:
        own = f"a-of-{publication.attempt}"
        assert 10_000 <= publication.attempt < 100_000
        sink = publication.create(own)
        sink.reserve(4)
        sink.write(b"da")
        assert paths() == set()
        sink.write(b"ta")
        assert paths() == {own}
        publication.create("marker").write(b"1")
        assert "marker" not in paths()
    assert publication.committed
    assert bytes(storage.read("marker")) == b"1"


def test_of_two_attempts_the_second_is_told_and_leaves_nothing(storage):
    first, second = Attempt(storage, 11_111), Attempt(storage, 22_222)
    for one in (first, second):
        one.expect("marker")
        one.create(f"a-of-{one.attempt}").write(b"data")
        one.create("marker").write(str(one.attempt).encode())
    first.commit()
    first.close()
    with pytest.raises(ConflictError, match="another process has written this"):
        second.commit()
    second.close()
    assert not second.committed
    assert bytes(storage.read("marker")) == b"11111"
    assert paths() == {"a-of-11111", "marker"}


def test_an_attempt_does_not_write_to_the_files_of_another(storage):
    same = [Attempt(storage, 11_111) for _ in range(2)]
    for data, one in zip((b"1", b"2"), same, strict=True):
        one.create("a-of-11111").write(data)
    same[0].commit()
    with pytest.raises(ConflictError):
        same[1].commit()
    assert bytes(storage.read("a-of-11111")) == b"1"


def test_what_may_be_published_is_not_removed():
    """The answer to the last request may be lost, and the marker be there."""

    class Lost(MemoryFileSystem):
        def pipe_file(self, path, value, mode="overwrite", **options):
            super().pipe_file(path, value, mode=mode, **options)
            if path.endswith("marker"):
                raise ConnectionResetError(104, "connection reset by peer")

    MemoryFileSystem.store.clear()
    storage = open_storage("memory://runs", Lost())
    with pytest.raises(StorageError, match="connection reset"), storage.publish() as publication:  # noqa: PT012
        publication.create(f"a-of-{publication.attempt}").write(b"data")
        publication.create("marker").write(b"1")
    assert not publication.committed
    assert paths() == {f"a-of-{publication.attempt}", "marker"}


def test_a_large_file_is_sent_in_parts(storage, monkeypatch):
    monkeypatch.setattr(attempt, "_MOST_IN_ONE", 1000)
    with storage.publish() as publication:
        own = f"a-of-{publication.attempt}"
        sink = publication.create(own)
        sink.reserve(3000)
        for number in range(3):
            sink.write(bytes([number]) * 1000)
        assert sink.stream is not None
        assert not sink.data
        publication.create("marker").write(b"1")
    assert bytes(storage.read(own)) == b"\0" * 1000 + b"\1" * 1000 + b"\2" * 1000
    with pytest.raises(ZeroDivisionError), storage.publish() as publication:  # noqa: PT012
        sink = publication.create(f"a-of-{publication.attempt}")
        sink.reserve(3000)
        sink.write(b"0" * 1000)
        raise ZeroDivisionError
    assert paths() == {own, "marker"}
