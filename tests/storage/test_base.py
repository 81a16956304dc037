"""Errors of the system in our own words, and names that stay inside a directory."""

import errno

import pytest

from tfpersist.errors import CorruptionError, StorageError
from tfpersist.storage import base


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC),
        (FileNotFoundError("gone"), errno.ENOENT),
        (PermissionError("not yours"), errno.EACCES),
        (OSError("something else"), errno.EIO),
    ],
)
def test_an_error_of_the_system_keeps_its_number_and_its_cause(error, number):
    with pytest.raises(StorageError) as caught, base.translated("/runs", "write 'a'"):
        raise error
    assert caught.value.errno == number
    assert caught.value.__cause__ is error
    assert str(caught.value).startswith("/runs: cannot write 'a': ")
    assert (caught.value.advice is not None) == (number != errno.EIO)


def test_errors_of_ours_pass():
    for ours in (StorageError("full", where="/runs"), CorruptionError("damaged")):
        with pytest.raises(type(ours)) as caught, base.translated("/other", "read 'a'"):
            raise ours
        assert caught.value is ours


@pytest.mark.parametrize("number", [errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP])
def test_a_link_that_is_not_possible(number):
    assert base.unlinkable(base.refusal(OSError(number, "no"), "/runs", "link 'a'"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOENT, errno.EIO])
def test_a_link_that_failed_for_another_reason(number):
    assert not base.unlinkable(base.refusal(OSError(number, "no"), "/runs", "link 'a'"))


@pytest.mark.parametrize("name", ["model.ckpt-1", "a b", "..a", "a.", "~", "\udcff"])
def test_names_of_files(name):
    assert base.plain(name, "/runs") == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a\0", "\ud800"])
def test_invalid_names_of_files(name):
    with pytest.raises(StorageError, match="cannot be the name of a file") as caught:
        base.plain(name, "/runs")
    assert caught.value.where == "/runs"
