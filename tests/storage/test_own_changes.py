"""A version of a directory is followed through one's own changes, and lost at those of others."""

import os

import pytest

from tfpersist.storage.local import LocalDirectory, open_local
from tfpersist.storage.own_changes import OwnChanges


@pytest.fixture
def directory(tmp_path):
    return LocalDirectory(str(tmp_path))


def test_own_changes_lead_from_one_version_to_the_next(directory, tmp_path):
    own = OwnChanges(directory, directory.seal())
    versions = [own.version]
    own.stage("a").close()
    versions.append(own.version)
    own.rename("a", "b")
    versions.append(own.version)
    own.unlink("b")
    versions.append(own.version)
    assert None not in versions
    assert len(set(versions)) == 4
    assert own.version == directory.version()


@pytest.mark.parametrize(
    "change",
    [
        lambda path: (path / "theirs").touch(),
        lambda path: (path / "before").unlink(),
        lambda path: (path / "before").rename(path / "after"),
        lambda path: (path / "folder").mkdir(),
    ],
    ids=["added", "removed", "renamed", "a folder"],
)
def test_a_change_of_others_is_noticed(directory, tmp_path, change):
    (tmp_path / "before").touch()
    own = OwnChanges(directory, directory.seal())
    own.stage("a").close()
    change(tmp_path)
    assert directory.version() != own.version
    own.rename("a", "b")
    assert own.version is None
    own.unlink("b")
    assert own.version is None


def test_no_version_without_one_to_begin_with(directory):
    own = OwnChanges(directory, None)
    own.stage("a").close()
    assert own.version is None


def test_a_failed_change_keeps_the_version(directory):
    own = OwnChanges(directory, directory.seal())
    before = own.version
    with pytest.raises(FileNotFoundError):
        own.unlink("absent")
    assert own.version == before


def test_a_version_is_never_that_of_the_next_change(directory, tmp_path):
    """The clock of a file system may tick slowly: what might be left again counts as unknown."""
    for number in range(200):
        (tmp_path / str(number)).touch()
        # Both times are of the same tick, which may not be over yet.
        assert directory.version() is None
        version = directory.seal()
        (tmp_path / f"{number}+").touch()
        assert version is not None
        assert directory.version() != version


def test_there_is_no_version_if_times_cannot_be_set(tmp_path, monkeypatch):
    directory = LocalDirectory(str(tmp_path / "gone"))
    assert directory.version() is None
    assert directory.seal() is None


def test_a_publication_has_a_version_only_without_changes_by_others(tmp_path):
    storage = open_local(str(tmp_path))
    since = storage.seal()
    with storage.publish(since=since, durable=False) as publication:
        publication.create("a").write(b"1")
        publication.create("b").write(b"2")
    assert publication.version == storage.version() != None  # noqa: E711
    with storage.publish(since=publication.version) as second:
        second.create("c").write(b"3")
        (tmp_path / "theirs").touch()
    assert second.committed
    assert second.version is None
    with storage.publish(since=since) as third:
        third.create("d").write(b"4")
    assert third.version is None
    assert set(os.listdir(tmp_path)) == {"a", "b", "c", "d", "theirs"}
