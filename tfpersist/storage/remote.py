"""Implement directories of all file systems that fsspec knows: s3://, gs://, hdfs://, sftp://.

A read copies a file into memory. Object stores have no locks and no renames in one step, so every
publication uses the journal of `staged`. Two processes must not overwrite the same checkpoint at
the same time. Leftovers of dead writers are removed a day later.
"""

from __future__ import annotations

import errno
import importlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs

from tfpersist.errors import UnsupportedError
from tfpersist.storage.base import Stamp
from tfpersist.storage.raw_directory import RawHold
from tfpersist.storage.staged import StagedStorage

_ABANDONED_AFTER = 24 * 3600.0


def open_remote(url: str) -> StagedStorage:
    """Open a directory behind a URL.

    Args:
        url: a URL that fsspec understands, such as "s3://bucket/runs/mnist".

    Raises:
        UnsupportedError: fsspec, or the package it needs for this kind of URL, is not installed.
    """
    try:
        system, path = importlib.import_module("fsspec.core").url_to_fs(url)
    except ImportError as error:
        raise UnsupportedError(
            f"this URL needs a package that is not installed: {error}",
            where=url,
            advice="Install it; for fsspec itself: pip install 'tfpersist[remote]'",
        ) from error
    except ValueError as error:
        raise UnsupportedError(
            f"fsspec does not know this kind of URL: {error}",
            where=url,
            advice="Use a path, memory://name, or a URL whose scheme fsspec lists",
        ) from error
    return StagedStorage(RemoteDirectory(url, system, path.rstrip("/")))


# The locks by URL: every ModelStore of a directory opens the directory again.
_LOCKS: dict[str, threading.RLock] = {}


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}") from error


@attrs.frozen(eq=False)
class RemoteDirectory:
    """A `RawDirectory` on a file system of fsspec.

    Args:
        location: the URL.
        system: fsspec's AbstractFileSystem.
        root: path of the directory in that system, without the scheme.
    """

    location: str
    system: Any
    root: str
    maps: bool = attrs.field(default=False, init=False)
    links: bool = attrs.field(default=False, init=False)
    renames_atomically: bool = attrs.field(default=False, init=False)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def exists(self) -> bool:
        with _refusals():
            self.system.invalidate_cache(self.root)
            return bool(self.system.isdir(self.root))

    def make(self, *, durable: bool) -> None:
        """Create the directory. `durable` has no effect: writes return when they are safe."""
        with _refusals():
            self.system.makedirs(self.root, exist_ok=True)

    def names(self) -> set[str]:
        try:
            with _refusals():
                self.system.invalidate_cache(self.root)
                listed = self.system.ls(self.root, detail=True)
        except FileNotFoundError:
            return set()
        return {
            entry["name"].rsplit("/", 1)[-1]
            for entry in listed
            if entry["type"] == "file" and entry["name"].rstrip("/") != self.root
        }

    def present(self, names: Iterable[str]) -> set[str]:
        """Return those of the names that exist, by one listing: that is one request."""
        return self.names().intersection(names)

    def read(self, name: str) -> memoryview:
        with _refusals():
            return memoryview(self.system.cat_file(self.path(name))).toreadonly()

    def forget(self, data: memoryview) -> None:
        """Do nothing: the bytes are a copy in memory."""

    def size(self, name: str) -> int:
        with _refusals():
            return int(self.system.info(self.path(name))["size"])

    def modified(self, name: str) -> float:
        with _refusals():
            return float(self.system.modified(self.path(name)).timestamp())

    def stamps(self, names: Iterable[str]) -> dict[str, Stamp]:
        stamps = {}
        for name in names:
            with suppress(FileNotFoundError):
                stamps[name] = round(self.modified(name) * 1e9), self.size(name), 0
        return stamps

    def mark(self, name: str) -> None:
        """Return None: the times of an object are too coarse."""

    def version(self) -> None:
        """Return None: an object store has no times of directories."""

    def seal(self) -> None:
        """Return None, as `version` does."""

    def stage(self, name: str) -> RemoteFile:
        with _refusals():
            return RemoteFile(self.system.open(self.path(name), "wb"))

    def hold(self, name: str, *, alone: bool) -> RemoteHold:
        """Raise if there is no such file. Nothing is locked; see `lock`."""
        self.size(name)
        return RemoteHold(name, self)

    def identity(self, name: str) -> str:
        """Return the name: not all of these systems can distinguish a file from its successor."""
        self.size(name)
        return name

    def link(self, held: RawHold, name: str) -> RemoteFile:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    def sweep(self, name: str) -> None:
        if time.time() - self.modified(name) > _ABANDONED_AFTER:
            self.unlink(name)

    def check(self, name: str) -> None:
        """Raise if the name is that of a directory."""
        with _refusals():
            if self.system.isdir(self.path(name)):
                raise IsADirectoryError(errno.EISDIR, "there is a directory of this name")

    def rename(self, old: str, new: str) -> None:
        base = importlib.import_module("fsspec.spec").AbstractFileSystem
        with _refusals():
            if not self.system.exists(self.path(old)):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            # The mv() that file systems inherit reads its path as a pattern.
            if type(self.system).mv is not base.mv:
                self.system.mv(self.path(old), self.path(new))
            else:
                self.system.cp_file(self.path(old), self.path(new))
                self.system.rm_file(self.path(old))

    def unlink(self, name: str) -> None:
        with _refusals():
            self.system.rm_file(self.path(name))

    def sync(self) -> None:
        """Do nothing: writes to these systems return when they are safe."""

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock out other threads. These systems have no lock that ends with its process."""
        with _LOCKS.setdefault(self.location, threading.RLock()):
            yield


@attrs.frozen(eq=False)
class RemoteHold:
    """A hold without a lock, of which other processes do not know."""

    identity: str
    directory: RemoteDirectory
    effective: bool = attrs.field(default=False, init=False)

    def read(self) -> memoryview:
        return self.directory.read(self.identity)

    def release(self) -> None:
        """Do nothing: nothing is locked."""


@attrs.frozen(eq=False)
class RemoteFile:
    """A file that is being written under its staged name."""

    stream: Any

    def reserve(self, size: int) -> None:
        """Do nothing: space cannot be reserved here."""

    def write(self, data: memoryview) -> None:
        with _refusals():
            self.stream.write(data)

    def hasten(self, least: int) -> None:
        """Do nothing: the bytes are being sent already."""

    def seal(self) -> None:
        """Do nothing: the times of an object cannot be set."""

    def finish(self, *, durable: bool) -> None:
        """End the file. Its bytes are then visible, and as safe as the system makes them."""
        self.close()

    def close(self) -> None:
        with _refusals():
            if not self.stream.closed:
                self.stream.close()
