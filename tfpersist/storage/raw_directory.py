"""Declare what a kind of directory must do, so that `staged` can make a storage of it.

`local` implements these protocols. Every method raises the OSError of the system as it
is; `staged` translates it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from tfpersist.storage.base import Stamp


class RawFile(Protocol):
    """A file that is being written under its staged name."""

    def reserve(self, size: int) -> None:
        """Reserve `size` bytes, if the system can."""

    def write(self, data: memoryview) -> None:
        """Append all of `data`, which is one-dimensional and of bytes."""

    def hasten(self, least: int) -> None:
        """Start to bring what was written to the disk, if it is `least` bytes or more.

        Does not wait, and promises nothing: the later sync has less to do.
        """

    def seal(self) -> None:
        """Mark the file, if possible, so that any later write removes the mark."""

    def finish(self, *, durable: bool) -> None:
        """End the file; if `durable`, wait until its bytes are on the disk."""

    def close(self) -> None:
        """Close the file, also if it was not finished."""


class RawHold(Protocol):
    """A lock on a file."""

    @property
    def identity(self) -> object:
        """A value that differs for every other file that has had this name."""

    @property
    def effective(self) -> bool:
        """True if other processes see the lock."""

    def read(self) -> memoryview:
        """Return all bytes of the locked file, read-only, even if another file has its name."""

    def release(self) -> None:
        """Release the lock; doing so twice does no harm."""


class RawDirectory(Protocol):
    """One directory, by its path or URL. It may be absent until `make`."""

    @property
    def location(self) -> str:
        """Its path or URL."""

    @property
    def maps(self) -> bool:
        """True if `read` maps files instead of copying them."""

    def beside(self, location: str) -> RawDirectory:
        """Open another directory in the same way."""

    def exists(self) -> bool:
        """Return whether the directory exists."""

    def make(self, *, durable: bool) -> None:
        """Create the directory if it is absent."""

    def names(self, *, folders: bool = False) -> set[str]:
        """Return the names of its plain files, or of its directories; none if it is absent.

        Args:
            folders: the directories, without links to directories.
        """

    def present(self, names: Iterable[str]) -> set[str]:
        """Return those of a few names that exist; without a listing if that costs less."""

    def read(self, name: str) -> memoryview:
        """Return all bytes of a file, read-only; they stay valid when the file is replaced."""

    def read_part(self, name: str, start: int, size: int) -> memoryview:
        """Return some bytes of a file; fewer if it ends before."""

    def forget(self, data: memoryview) -> None:
        """Free the memory of bytes that `read` returned, if they can be read again."""

    def size(self, name: str) -> int:
        """Return the number of bytes of a file."""

    def modified(self, name: str) -> float:
        """Return when a file was last written, in seconds since 1970."""

    def stamps(self, names: Iterable[str]) -> dict[str, Stamp]:
        """Return a stamp for each of these files; absent files are left out."""

    def mark(self, name: str) -> object | None:
        """Return what differs after each write to a file.

        None where that is not certain, or where the file cannot be looked at.
        """

    def version(self) -> object | None:
        """Return what differs after each change of the names in it.

        None where that is not certain: its next change might leave the same.
        """

    def seal(self) -> object | None:
        """Mark the directory, so that any later change differs; return the version, or None."""

    def stage(self, name: str) -> RawFile:
        """Create a file of a staged name, locked as long as its writer lives."""

    def hold(self, name: str, *, alone: bool) -> RawHold | None:
        """Lock a file, shared or alone; None if other locks are in the way."""

    def identity(self, name: str) -> object:
        """Return what distinguishes a file from every other file that has had its name."""

    def link(self, held: RawHold, name: str) -> RawFile:
        """Link a held file under a staged name."""

    def sweep(self, name: str) -> None:
        """Remove a staged file whose writer is dead."""

    def check(self, name: str) -> None:
        """Raise if no file can be renamed to this name, such as that of a directory."""

    def rename(self, old: str, new: str) -> None:
        """Rename a file; a file of the new name is replaced."""

    def unlink(self, name: str) -> None:
        """Remove a file."""

    def sync(self) -> None:
        """Wait until all renames and removals are on the disk."""

    def lock(self) -> AbstractContextManager[None]:
        """Lock the directory against other writers; the lock ends with its process.

        A thread that has the lock may lock the directory again.
        """
