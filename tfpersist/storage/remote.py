"""Implement directories of all file systems that fsspec knows: s3://, gs://, zip://, sftp://.

An object store has no renames, no locks and no links. So a publication here is one conditional
write, and copies, renames, lists and removes nothing:

1. Files whose names hold the number of the attempt are written at once, each only if no file has
   its name. No other publication writes to these names, so a file that is there never changes.
2. The last file is the commit marker. It names the files of its attempt. It is written only if what
   it replaces is still what it was when the publication began; else another process was faster,
   and this one fails. In a system that knows no such condition, the last writer wins.

A reader reads the marker first. Files that no marker names are leftovers; `prune` removes them.

A file system that shows files while they are written, such as sftp://, can rename them. There every
file but those of the first kind is renamed into place.
"""

from __future__ import annotations

import errno
import importlib
import os
import secrets
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import attrs

from tfpersist.errors import StorageError, UnsupportedError
from tfpersist.storage import base, journal
from tfpersist.storage.attempt import Attempt, RemoteHold

_T = TypeVar("_T")

# More bytes are read in pieces of this size, so many at once.
_PIECE = 16 << 20
_AT_ONCE = 8
# How often a file is read again because it was replaced meanwhile.
_TRIES = 5
_ABANDONED_AFTER = 24 * 3600.0
# What a server answers if a condition does not hold (RFC 9110), or cannot be decided (S3).
_CONFLICTS = {409, 412}


def open_remote(url: str, options: object = None) -> RemoteStorage:
    """Open a directory behind a URL.

    Args:
        url: a URL that fsspec understands, such as "s3://bucket/runs/mnist".
        options: what its file system is opened with, {name: value}; or a file system of fsspec.

    Raises:
        UnsupportedError: fsspec, or the package it needs for this kind of URL, is not installed.
    """
    try:
        if options is not None and not isinstance(options, Mapping):
            return RemoteStorage(url, options, _root(options, url))
        system, path = importlib.import_module("fsspec.core").url_to_fs(url, **(options or {}))
    except ImportError as error:
        raise UnsupportedError(
            f"this URL needs a package that is not installed: {error}",
            where=url,
            advice="Install it, for s3:// with pip install 'tfpersist[s3]', for gs:// with"
            " 'tfpersist[gcs]'; fsspec itself with 'tfpersist[remote]'",
        ) from error
    except ValueError as error:
        raise UnsupportedError(
            f"fsspec does not know this kind of URL: {error}",
            where=url,
            advice="Use a path, memory://name, or a URL whose scheme fsspec lists",
        ) from error
    except OSError as error:
        raise base.refusal(error, url, "open this file system") from error
    return RemoteStorage(url, system, path.rstrip("/"))


def _root(system: Any, url: str) -> str:
    return str(system._strip_protocol(url.partition("::")[0])).rstrip("/")


# The locks by URL: every ModelStore of a directory opens the directory again.
_LOCKS: dict[str, threading.RLock] = {}


@attrs.frozen
class RemoteStorage:
    """A directory of a file system of fsspec.

    Args:
        location: the URL.
        system: fsspec's AbstractFileSystem.
        root: path of the directory in that system, without the scheme.
    """

    location: str
    system: Any
    root: str
    maps: bool = attrs.field(default=False, init=False)
    remote: bool = attrs.field(default=True, init=False)
    links: bool = attrs.field(default=False, init=False)
    has_leftovers: bool = attrs.field(default=False, init=False)

    def path(self, name: str) -> str:
        """Return the path of a file in the file system."""
        plain = base.plain(name, self.location)
        return f"{self.root}/{plain}" if self.root else plain

    def beside(self, location: str) -> RemoteStorage:
        """Open another directory of the same file system."""
        return RemoteStorage(location, self.system, _root(self.system, location))

    def exists(self) -> bool:
        with base.refusals(self.location, "look for this directory"):
            self.system.invalidate_cache(self.root)
            return bool(self.system.isdir(self.root))

    def names(self) -> frozenset[str]:
        return frozenset(name for name in self._entries() if not journal.is_staged(name))

    def folders(self) -> frozenset[str]:
        return frozenset(self._entries("directory"))

    def read(self, name: str) -> memoryview:
        path = self.path(name)
        with base.refusals(self.location, f"read {name!r}"):
            for _ in range(_TRIES):
                first = self._first_piece(path)
                if len(first) < _PIECE:
                    return memoryview(first)
                before = self._info(path)
                whole = self._pieces([(path, 0, int(before["size"]))])[0]
                if self._info(path) == before:
                    return whole
        raise StorageError(
            f"{name!r} was replaced {_TRIES} times while it was being read", where=self.location
        )

    def read_parts(self, parts: Sequence[tuple[str, int, int]]) -> list[memoryview]:
        paths = [(self.path(name), start, size) for name, start, size in parts]
        with base.refusals(
            self.location, "read parts of " + ", ".join({name: 0 for name, *_ in parts})
        ):
            return self._pieces(paths)

    def forget(self, data: memoryview) -> None:
        """Do nothing: the bytes are a copy in memory."""

    def size(self, name: str) -> int:
        path = self.path(name)
        with base.refusals(self.location, f"find the size of {name!r}"):
            return int(self._info(path)["size"])

    def modified(self, name: str) -> float:
        path = self.path(name)
        with base.refusals(self.location, f"find the age of {name!r}"):
            self.system.invalidate_cache(self.root)
            return float(self.system.modified(path).timestamp())

    def stamps(self, names: Iterable[str]) -> dict[str, base.Stamp]:
        """Return a stamp for each of these files, by one listing."""
        wanted = list(names)
        entries = self._entries() if wanted else {}
        # An object has no inode. What else the store says of it, as the etag, tells it from others.
        return {
            name: (0, int(entry["size"] or 0), zlib.crc32(repr(sorted(entry.items())).encode()))
            for name in wanted
            if (entry := entries.get(name)) is not None
        }

    def mark(self, name: str) -> None:
        """Return None: the times of an object are too coarse."""

    def version(self) -> None:
        """Return None: an object store has no times of directories."""

    def seal(self) -> None:
        """Return None, as `version` does."""

    @contextmanager
    def publish(
        self,
        *,
        durable: bool = True,
        only_if: Callable[[], bool] | None = None,
        since: object | None = None,
        attempt: int | None = None,
    ) -> Iterator[base.Publication]:
        """Add or replace files. `durable` has no effect: writes return when they are safe."""
        publication = Attempt(self) if attempt is None else Attempt(self, attempt)
        try:
            yield publication
            publication.commit(only_if)
        finally:
            publication.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock out other threads. These systems have no lock that ends with its process."""
        with _LOCKS.setdefault(self.location, threading.RLock()):
            yield

    def remove(self, names: Iterable[str]) -> None:
        with self.alone():
            for name in names:
                path = self.path(name)
                with base.refusals(self.location, f"remove {name!r}"), suppress(FileNotFoundError):
                    self.system.rm_file(path)

    def rename(
        self, names: Mapping[str, str], *, held: base.Hold | None = None, durable: bool = True
    ) -> bool:
        """Copy files to free names, each before it is removed."""
        with self.alone():
            if held is not None and not held.current():
                return False
            present = self.names()
            for old, new in names.items():
                paths = self.path(old), self.path(new)
                with base.refusals(self.location, f"rename {old!r}"):
                    if new in present:
                        raise FileExistsError(errno.EEXIST, f"there is a file {new!r} already")
                    if old in present:
                        self.system.cp_file(*paths)
                        self.system.rm_file(paths[0])
        return True

    def hold(self, name: str, *, alone: bool = False) -> RemoteHold:
        """Return a hold without a lock. Only one for a removal looks whether there is a file."""
        path = self.path(name)
        with base.refusals(self.location, f"hold {name!r}"):
            return RemoteHold(self, name, self._info(path) if alone else None)

    def recover(self) -> None:
        """Remove files that were not renamed into place within a day."""
        for name in filter(journal.is_staged, self._entries()):
            # It may be gone by now, and there may be no permission to remove it.
            with suppress(StorageError):
                if time.time() - self.modified(name) > _ABANDONED_AFTER:
                    self.remove([name])

    def info(self, name: str) -> Mapping[str, Any] | None:
        """Return what the system says of a file; None if there is none."""
        path = self.path(name)
        with base.refusals(self.location, f"look at {name!r}"):
            try:
                # For an absent file this is one request, and `info` would be two.
                self._first_piece(path, 1)
                return self._info(path)
            except FileNotFoundError:
                return None

    def _info(self, path: str) -> Mapping[str, Any]:
        self.system.invalidate_cache(self.root)
        found: Mapping[str, Any] = self.system.info(path)
        if found["type"] != "file":
            raise FileNotFoundError(errno.ENOENT, "there is no file of this name")
        return found

    def _entries(self, kind: str = "file") -> dict[str, Mapping[str, Any]]:
        with base.refusals(self.location, "list this directory"):
            try:
                self.system.invalidate_cache(self.root)
                listed = self.system.ls(self.root, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return {}
            return {
                entry["name"].rstrip("/").rsplit("/", 1)[-1]: entry
                for entry in listed
                if entry["type"] == kind and entry["name"].rstrip("/") != self.root
            }

    def _first_piece(self, path: str, size: int = _PIECE) -> bytes:
        try:
            return bytes(self.system.cat_file(path, start=0, end=size))
        except OSError as error:
            # An empty object has no range that could be asked for.
            if error.errno == errno.EINVAL and not self._info(path)["size"]:
                return b""
            raise

    def _pieces(self, parts: Sequence[tuple[str, int, int]]) -> list[memoryview]:
        """Return parts of files; one that reaches beyond the end of its file is shorter."""
        pieces = [
            (path, start + size * piece // count, start + size * (piece + 1) // count, number)
            for number, (path, start, size) in enumerate(parts)
            for count in (max(round(size / _PIECE), 1),)
            for piece in range(count)
        ]
        paths, starts, ends, numbers = zip(*pieces, strict=True) if pieces else ((), (), (), ())
        found = self.system.cat_ranges(
            list(paths), list(starts), list(ends), on_error="return", batch_size=_AT_ONCE
        )
        joined: list[list[bytes]] = [[] for _ in parts]
        for number, data in zip(numbers, found, strict=True):
            is_outside = isinstance(data, OSError) and data.errno == errno.EINVAL
            if isinstance(data, BaseException) and not is_outside:
                raise data
            joined[number].append(b"" if is_outside else data)
        return [memoryview(one[0] if len(one) == 1 else b"".join(one)) for one in joined]

    def create(self, path: str, data: bytes | bytearray) -> None:
        """Write a file that must not be there.

        Raises:
            FileExistsError: another process has written it.
        """
        try:
            self._put(path, data, mode="create")
        except FileExistsError:
            # A client that got no answer asks again, and finds what it has written itself.
            if self._first_piece(path, len(data) + 1) != data:
                raise

    def replace(
        self, path: str, data: bytes | bytearray, before: Mapping[str, Any] | None = None
    ) -> None:
        """Write a file.

        Args:
            path: the file in the file system.
            data: its bytes.
            before: what the file is; in a system with etags it must still be that.

        Raises:
            FileExistsError: another process has written it since, or removed it.
        """
        etag = None if before is None else before.get("ETag")
        condition = {} if etag is None else {"IfMatch": etag}
        try:
            self._put(path, data, **condition)
        except OSError as error:
            gone = isinstance(error, FileNotFoundError) and self._info_or_none(path) is None
            if etag is None or not (gone or _status(error) in _CONFLICTS):
                raise
            if gone or self._first_piece(path, len(data) + 1) != data:
                raise FileExistsError(errno.EEXIST, str(error)) from error

    def _put(self, path: str, data: bytes | bytearray, **how: str) -> None:
        """Write a file that appears when it is whole, as objects do."""
        if self._shows_whole_files():
            self.making(lambda: self.system.pipe_file(path, data, **how))
            return
        # This is no object store: a file would be seen while it is written, but can be renamed.
        staged = self.path(journal.staged_name(secrets.token_hex(8), 0))
        try:
            self.making(lambda: self.system.pipe_file(staged, data))
            if how:
                self._refuse_taken(path)
            self.system.mv(staged, path)
        except BaseException:
            with suppress(Exception):
                self.system.rm_file(staged)
            raise

    def _shows_whole_files(self) -> bool:
        """Return whether no file can be seen while it is written, as in an object store."""
        base_class = importlib.import_module("fsspec.spec").AbstractFileSystem
        in_memory = importlib.import_module("fsspec.implementations.memory").MemoryFileSystem
        return (
            bool(self.system.async_impl)
            or isinstance(self.system, in_memory)
            or type(self.system).mv is base_class.mv
        )

    def _refuse_taken(self, path: str) -> None:
        if self.system.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def making(self, write: Callable[[], _T]) -> _T:
        """Write, after creating the directory where the system has directories and lacks this one.

        The first part of a path is never created: it is a bucket, and may be misspelt.
        """
        try:
            return write()
        except FileNotFoundError:
            top, *parts = self.root.lstrip("/").split("/")
            path = self.root[: self.root.index(top) + len(top)]
            try:
                for part in parts:
                    path = f"{path}/{part}"
                    if not self.system.isdir(path):
                        with suppress(FileExistsError):
                            self.system.mkdir(path, create_parents=False)
            except FileNotFoundError:
                parts = []
            if not parts:
                raise
        return write()

    def _info_or_none(self, path: str) -> Mapping[str, Any] | None:
        try:
            return self._info(path)
        except FileNotFoundError:
            return None


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error of a client library is about."""
    response = getattr(error.__cause__, "response", None)
    if isinstance(response, Mapping):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status if isinstance(status, int) else None
    return None
