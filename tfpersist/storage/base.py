"""What a storage is: one directory of files that are read as views and published all or nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
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
    errno.EEXIST: "Choose another name, or move the file away",
    errno.EISDIR: "Choose another name, or move the directory away",
    errno.ENOTDIR: "A part of this path is a file; choose a directory, such as its own",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.EMFILE: "Close some files, or raise the limit of open files (ulimit -n)",
}

_NO_LINKS = {errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES, errno.EXDEV}


class Sink(Protocol):
    """A new file that is written from its first byte to its last."""

    def reserve(self, size: int) -> None:
        """Set aside `size` bytes, so that a full disk is noticed before the first is written."""

    def write(self, data: memoryview | bytes) -> None:
        """Append all of `data`."""


class Hold(Protocol):
    """One file that is held, however its name is used meanwhile; it ends with its process."""

    @property
    def effective(self) -> bool:
        """Whether others learn of it: not where there are no locks."""

    def current(self) -> bool:
        """Whether its name still means this very file."""

    def release(self) -> None:
        """Let it go; doing so twice does no harm."""


class Publication(Protocol):
    """Files that will appear together, or not at all."""

    def create(self, name: str) -> Sink:
        """Begin a file; the last one begun is the commit marker and appears last."""

    def link(self, hold: Hold, name: str) -> None:
        """Let a file appear under one more name, which takes no space; hold it until the end.

        Raises:
            StorageError: it is gone, or this kind of directory cannot do it (`unlinkable`).
        """

    def discard(self, name: str, *, held: Hold | None = None) -> None:
        """Let a file go in the same step; it may be absent.

        Args:
            name: the file; those that go do so in the order of the calls.
            held: a file that is held: if another has taken its name by then, `name` stays.
        """


class Storage(Protocol):
    """One directory of files."""

    @property
    def location(self) -> str:
        """Where it is, such as "/runs/mnist" or "memory://mnist"."""

    @property
    def maps(self) -> bool:
        """Whether `read` costs no copy, however large the file is."""

    @property
    def links(self) -> bool:
        """Whether this kind of directory can give one file several names."""

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

    def forget(self, data: memoryview) -> None:
        """Free the memory of bytes that `read` returned, where they can be read again.

        Args:
            data: what `read` returned, or a part of it; it stays valid.
        """

    def publish(self, *, durable: bool = True) -> AbstractContextManager[Publication]:
        """Add or replace files, all or nothing.

        Args:
            durable: wait until the files would survive a power loss.

        Raises:
            StorageError: they could not be written; nothing is left behind.
        """

    def remove(self, names: Iterable[str]) -> None:
        """Remove files in this order; those that are absent already are passed over."""

    def rename(
        self, names: Mapping[str, str], *, held: Hold | None = None, durable: bool = True
    ) -> bool:
        """Give files names that are free, one after the other; absent files are passed over.

        Args:
            names: what each is to be called, by what it is called, in the order to go by.
            held: a file that is held: if another has taken its name by then, nothing is renamed.
            durable: wait until that would survive a power loss.

        Returns:
            Whether `held` was still there.

        Raises:
            StorageError: that is refused, or a name is taken; files before it are renamed already.
        """

    def hold(self, name: str, *, alone: bool = False) -> Hold | None:
        """Hold a file: any number may, or one alone; None where others are in the way.

        Raises:
            StorageError: there is no such file.
        """

    def recover(self) -> None:
        """Finish or clear away what processes that died left here."""


def unlinkable(error: StorageError) -> bool:
    """Whether a file could not be linked because such files, or so many links, are not possible."""
    return error.errno in _NO_LINKS


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


def is_possible(path: str) -> bool:
    """Whether a file system can have this path: it has no NUL, and all of it can be encoded.

    Example:
        >>> is_possible("runs/mnist"), is_possible("a\\0b"), is_possible("\\ud800")
        (True, False, False)
    """
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def is_plain(name: str) -> bool:
    """Whether this can be the name of a file in a directory, and of nothing outside it.

    Example:
        >>> is_plain("model.ckpt-1.index"), is_plain(".."), is_plain("a/b")
        (True, False, False)
    """
    return name not in {"", ".", ".."} and "/" not in name and is_possible(name)


def plain(name: str, location: str) -> str:
    """Refuse a name that is not that of a file in this very directory."""
    if not is_plain(name):
        raise StorageError(
            "this is no name of a file in one directory",
            where=location,
            expected="a name without '/'",
            found=repr(name),
        )
    return name
