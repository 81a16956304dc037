"""What a storage is: one directory of files that are read as views and published all or nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from tfpersist.errors import StorageError

_ADVICE = {
    errno.ENOSPC: "Free some space, or save somewhere else; what was there before is untouched",
    errno.EDQUOT: "Free some of your quota, or save somewhere else",
    errno.EFBIG: "Raise the file-size limit (ulimit -f), or save to another file system",
    errno.EACCES: "Check the permissions of the directory and of the user who runs this",
    errno.EPERM: "Check the permissions of the directory and of the user who runs this",
    errno.EROFS: "Choose a directory that can be written",
    errno.ENOENT: "Check the spelling; names() lists what is there",
    errno.EISDIR: "Choose another name, or move the directory away",
    errno.ENOTDIR: "A part of this path is a file; choose another directory",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.EMFILE: "Close some files, or raise the limit of open files (ulimit -n)",
}


class Sink(Protocol):
    """A new file that is written from its first byte to its last."""

    def reserve(self, size: int) -> None:
        """Set aside `size` bytes, so that a full disk is noticed before the first is written."""

    def write(self, data: memoryview | bytes) -> None:
        """Append all of `data`."""


class Publication(Protocol):
    """Files that will appear together, or not at all."""

    def create(self, name: str) -> Sink:
        """Begin a file; the last one begun is the commit marker and appears last."""

    def discard(self, name: str) -> None:
        """Let a file go that the new ones make out of date, in the same step; it may be absent."""


class Storage(Protocol):
    """One directory of files."""

    @property
    def location(self) -> str:
        """Where it is, such as "/runs/mnist" or "memory://mnist"."""

    @property
    def maps(self) -> bool:
        """Whether `read` costs no copy, however large the file is."""

    def exists(self) -> bool:
        """Whether there is a directory here already."""

    def names(self) -> frozenset[str]:
        """The plain files in it; empty where it does not exist yet."""

    def read(self, name: str) -> memoryview:
        """All bytes of a file, read-only; they stay as they are when the file is replaced."""

    def size(self, name: str) -> int:
        """The number of bytes of a file."""

    def modified(self, name: str) -> float:
        """When a file was last written, in seconds since 1970."""

    def publish(self, *, durable: bool = True) -> AbstractContextManager[Publication]:
        """Add or replace files, all or nothing.

        Args:
            durable: wait until the files would survive a power loss.

        Raises:
            StorageError: they could not be written; nothing is left behind.
        """

    def remove(self, names: Iterable[str]) -> None:
        """Remove files in this order; those that are absent already are passed over."""

    def recover(self) -> None:
        """Finish or clear away what processes that died left here."""


def refusal(error: OSError, location: str, doing: str) -> StorageError:
    """Make the StorageError for what the system refused; it carries the same errno."""
    number = error.errno
    if number is None:
        kinds = {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES}
        number = kinds.get(type(error), errno.EIO)
    translated = StorageError(
        f"cannot {doing}: {error.strerror or error}", where=location, advice=_ADVICE.get(number)
    )
    translated.errno = number
    return translated


@contextmanager
def translated(location: str, doing: str) -> Iterator[None]:
    """Turn each OSError of the block into a StorageError that says what was being done."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise refusal(error, location, doing) from error


def plain(name: str, location: str) -> str:
    """Refuse a name that is not that of a file in this very directory."""
    if not name or name in {".", ".."} or "/" in name or "\0" in name:
        raise StorageError(
            "this is no name of a file in one directory",
            where=location,
            expected="a name without '/'",
            found=repr(name),
        )
    return name
