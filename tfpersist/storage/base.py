"""Declare what a storage does: it reads files as views, and publishes files all or nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from tfpersist.errors import StorageError

_ADVICE = {
    errno.ENOSPC: "Free some space, or save somewhere else; the earlier files are untouched",
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

# The number of an attempt is written where others write how many data files a checkpoint has, in
# five digits, the first of which is not 0. No checkpoint has so many files.
ATTEMPTS = range(10_000, 100_000)

_NO_LINKS = {errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES, errno.EXDEV}


# When a file was last written in nanoseconds since 1970, or 0; its size in bytes; its inode, or
# what else distinguishes it. Two files of one name and different contents differ in one of these.
Stamp = tuple[int, int, int]


class Sink(Protocol):
    """A new file that is written from its first byte to its last."""

    def reserve(self, size: int) -> None:
        """Reserve `size` bytes, so that a full disk is noticed before the first write."""

    def write(self, data: memoryview | bytes) -> None:
        """Append all of `data`."""


class Hold(Protocol):
    """A lock on one file, even if another file takes its name. The lock ends with its process."""

    @property
    def effective(self) -> bool:
        """True if other processes see the lock; False on a system without locks."""

    def current(self) -> bool:
        """Return whether the file still has its name."""

    def read(self, name: str) -> memoryview:
        """Return all bytes of a file, read-only.

        Args:
            name: the held file, even if another file has taken its name; or another file of the
                directory. The other files are looked up as they were called when the hold was
                taken: what was read belongs together if `current` is true afterwards.
        """

    def release(self) -> None:
        """Release the lock; doing so twice does no harm."""


class Publication(Protocol):
    """Files that will appear together, or not at all."""

    @property
    def committed(self) -> bool:
        """True if the files are published; False before the end, or if `only_if` returned False."""

    @property
    def version(self) -> object | None:
        """The `Storage.version` after the publication; None if others have changed names."""

    @property
    def attempt(self) -> int:
        """The part that makes the names of data files unique to this publication.

        A file whose name ends in "-of-" and this number is written at once. 0 where files are
        renamed when they are whole, and may have any names.
        """

    def expect(self, name: str) -> None:
        """Note what a file is now: if it is the commit marker, it must not change until the end.

        Where writers lock the directory, this does nothing: the last one wins.
        """

    def create(self, name: str) -> Sink:
        """Create a file. The last one created is the commit marker and appears last."""

    def link(self, hold: Hold, name: str) -> None:
        """Link a file under another name, which takes no space. Hold the file until the end.

        Raises:
            StorageError: the file is gone, or it cannot have several names here (`unlinkable`).
        """

    def discard(self, name: str, *, held: Hold | None = None) -> None:
        """Remove a file in the same step; it may be absent.

        Args:
            name: the file. Files are removed in the order of the calls.
            held: a hold on a file. If another file has taken the name of that file, `name` stays.
        """


class Storage(Protocol):
    """One directory of files."""

    @property
    def location(self) -> str:
        """Its path or URL, such as "/runs/mnist" or "memory://mnist"."""

    @property
    def maps(self) -> bool:
        """True if `read` maps files instead of copying them."""

    @property
    def remote(self) -> bool:
        """True if each look and each read is a request to a server."""

    @property
    def links(self) -> bool:
        """True if one file can have several names in this storage."""

    def beside(self, location: str) -> Storage:
        """Open another directory in the same way, by its path or URL."""

    def exists(self) -> bool:
        """Return whether the directory exists."""

    def names(self) -> frozenset[str]:
        """Return the names of its plain files; none if it does not exist yet."""

    def folders(self) -> frozenset[str]:
        """Return the names of the directories in it, without links to directories."""

    def read(self, name: str) -> memoryview:
        """Return all bytes of a file, read-only; they do not change when the file is replaced."""

    def read_parts(self, parts: Sequence[tuple[str, int, int]]) -> list[memoryview]:
        """Return parts of files, which may be read at once.

        Args:
            parts: name, first byte and number of bytes of each. What reaches beyond the end of its
                file is shorter.
        """

    def size(self, name: str) -> int:
        """Return the number of bytes of a file."""

    def modified(self, name: str) -> float:
        """Return when a file was last written, in seconds since 1970."""

    def stamps(self, names: Iterable[str]) -> dict[str, Stamp]:
        """Return a stamp for each of these files; absent files are left out."""

    def mark(self, name: str) -> object | None:
        """Return what differs after each write to a file, also after one in place.

        Returns:
            The mark; None where there is no such file, or where that is not certain. In a directory
            of this machine the file that a publication has created last has one.
        """

    def forget(self, data: memoryview) -> None:
        """Free the memory of bytes that `read` returned, if they can be read again.

        Args:
            data: what `read` returned, or a part of it; it stays valid.
        """

    def version(self) -> object | None:
        """Return what differs after each change of the names here; None where there is no such."""

    def seal(self) -> object | None:
        """Return a version also where `version` returns None, if the directory's times can be set.

        What the directory holds is not changed.
        """

    def publish(
        self,
        *,
        durable: bool = True,
        only_if: Callable[[], bool] | None = None,
        since: object | None = None,
        attempt: int | None = None,
    ) -> AbstractContextManager[Publication]:
        """Add or replace files, all or nothing.

        Args:
            durable: wait until the files would survive a power loss.
            only_if: called when everything is written and no other writer can change the
                directory. If it returns False, nothing is published and `committed` stays False.
            since: the version of which the caller knows all names.
            attempt: the number that the names of data files hold, if several processes share it;
                see `Publication.attempt`. None to draw one.

        Raises:
            ConflictError: another process has written what this publication expected to find.
            StorageError: they could not be written; nothing is left behind.
        """

    def alone(self) -> AbstractContextManager[None]:
        """Let other writers wait until the `with` block ends, where the system has locks.

        Raises:
            StorageError: the directory could not be locked.
        """

    def remove(self, names: Iterable[str]) -> None:
        """Remove files in this order; absent files are skipped."""

    def rename(
        self, names: Mapping[str, str], *, held: Hold | None = None, durable: bool = True
    ) -> bool:
        """Rename files one after the other to free names; absent files are skipped.

        Args:
            names: {old name: new name}, in the order of the renames.
            held: a hold on a file. If another file has taken its name, nothing is renamed.
            durable: wait until the new names would survive a power loss.

        Returns:
            False if nothing was renamed, because the held file has lost its name.

        Raises:
            StorageError: the system refused, or a new name is taken; earlier renames are done.
        """

    def hold(self, name: str, *, alone: bool = False) -> Hold | None:
        """Lock a file: many may hold it together, or one alone.

        Returns:
            The hold; None if other holds are in the way.

        Raises:
            StorageError: there is no such file. Where there are no locks, only a hold alone looks.
        """

    @property
    def has_leftovers(self) -> bool:
        """True if the last `names()` showed files that a dead process may have left."""

    def recover(self) -> None:
        """Finish or remove what dead processes left in the directory."""


def unlinkable(error: StorageError) -> bool:
    """Return whether a link failed because the system has no such links, or not so many."""
    return error.errno in _NO_LINKS


def refusal(error: OSError, location: str, doing: str) -> StorageError:
    """Return the StorageError for an error of the system; it has the same errno."""
    number = error.errno
    if number is None:
        numbers = {
            FileNotFoundError: errno.ENOENT,
            FileExistsError: errno.EEXIST,
            PermissionError: errno.EACCES,
        }
        number = next((n for kind, n in numbers.items() if isinstance(error, kind)), errno.EIO)
    translated = StorageError(
        f"cannot {doing}: {error.strerror or error}", where=location, advice=_ADVICE.get(number)
    )
    translated.errno = number
    return translated


@contextmanager
def translated(location: str, doing: str) -> Iterator[None]:
    """Raise each OSError of a `with` block as a StorageError that says what was tried."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise refusal(error, location, doing) from error


@contextmanager
def refusals(location: str, doing: str) -> Iterator[None]:
    """Raise each error of a `with` block as a StorageError: client libraries raise all kinds."""
    with translated(location, doing):
        try:
            yield
        except OSError:
            raise
        except Exception as error:
            raise OSError(errno.EIO, f"{type(error).__name__}: {error}") from error


def is_possible(path: str) -> bool:
    """Return whether a file system can have this path: no NUL, and all of it can be encoded.

    Example:
        >>> is_possible("runs/mnist"), is_possible("a\\0b"), is_possible("\\ud800")
        (True, False, False)
    """
    if path.isascii():
        return "\0" not in path
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def is_plain(name: str) -> bool:
    """Return whether this can be the name of a file in a directory, and of nothing outside it.

    Example:
        >>> is_plain("model.ckpt-1.index"), is_plain(".."), is_plain("a/b")
        (True, False, False)
    """
    return name not in {"", ".", ".."} and "/" not in name and is_possible(name)


def named_twice(name: str, location: str) -> StorageError:
    """Return the error for a name that one publication uses twice."""
    return StorageError(
        "this publication has a file of this name already", where=f"{location}: {name}"
    )


def plain(name: str, location: str) -> str:
    """Return a name if it can be that of a file in the directory, else raise."""
    if not is_plain(name):
        raise StorageError(
            "this cannot be the name of a file in a directory",
            where=location,
            expected="a name without '/'",
            found=repr(name),
        )
    return name
