"""Files in the memory of this process: for tests and scratch, under the rules of every storage."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import attrs

from tfpersist.errors import StorageError
from tfpersist.storage import base

SCHEME = "memory://"


@attrs.define(eq=False)
class _File:
    """A file, and how many hold it; -1 where one does so alone."""

    data: bytearray
    modified: float
    holders: int = 0


# Files by directory, then by name; they live until they are removed or the process ends.
_DIRECTORIES: dict[str, dict[str, _File]] = {}
_LOCK = threading.Lock()


@attrs.frozen
class MemoryStorage:
    """A directory that all who open it under one name in this process share.

    Args:
        name: what stands after "memory://".

    Example:
        >>> with MemoryStorage("doc").publish() as publication:
        ...     publication.create("a").write(b"1")
        >>> sorted(MemoryStorage("doc").names())
        ['a']
    """

    name: str
    maps: bool = attrs.field(default=True, init=False, eq=False, repr=False)
    links: bool = attrs.field(default=True, init=False, eq=False, repr=False)

    @property
    def location(self) -> str:
        return SCHEME + self.name

    def exists(self) -> bool:
        return self.name in _DIRECTORIES

    def names(self) -> frozenset[str]:
        with _LOCK:
            return frozenset(_DIRECTORIES.get(self.name, ()))

    def read(self, name: str) -> memoryview:
        return memoryview(self._file(name, "read").data).toreadonly()

    def size(self, name: str) -> int:
        return len(self._file(name, "find the size of").data)

    def modified(self, name: str) -> float:
        return self._file(name, "find the age of").modified

    def forget(self, data: memoryview) -> None:
        """Do nothing: the bytes are the file itself."""

    @contextmanager
    def publish(self, *, durable: bool = True) -> Iterator[base.Publication]:
        """Add or replace files, all or nothing; `durable` has no meaning here."""
        publication = _Publication(self.location)
        yield publication
        now = time.time()
        with _LOCK:
            files = _DIRECTORIES.setdefault(self.name, {})
            for name, held in publication.discards.items():
                stale = isinstance(held, _Hold) and files.get(held.name) is not held.file
                if name not in publication.files and not stale:
                    files.pop(name, None)
            files.update({name: _File(sink.data, now) for name, sink in publication.files.items()})

    def remove(self, names: Iterable[str]) -> None:
        with _LOCK:
            files = _DIRECTORIES.get(self.name, {})
            for name in names:
                files.pop(base.plain(name, self.location), None)
            if not files:
                _DIRECTORIES.pop(self.name, None)

    def rename(
        self, names: Mapping[str, str], *, held: base.Hold | None = None, durable: bool = True
    ) -> bool:
        """Give files names that are free; `durable` has no meaning here."""
        with _LOCK, base.translated(self.location, "rename files"):
            files = _DIRECTORIES.get(self.name, {})
            if held is not None and not held.current():
                return False
            for old, new in names.items():
                if base.plain(new, self.location) in files:
                    raise FileExistsError(errno.EEXIST, f"there is a file {new!r} already")
                if base.plain(old, self.location) in files:
                    files[new] = files.pop(old)
        return True

    def hold(self, name: str, *, alone: bool = False) -> base.Hold | None:
        file = self._file(name, "hold")
        with _LOCK:
            if file.holders < 0 or (alone and file.holders):
                return None
            file.holders = -1 if alone else file.holders + 1
        return _Hold(self, name, file)

    def recover(self) -> None:
        """Do nothing: what was being written by a process that died, died with it."""

    def _file(self, name: str, doing: str) -> _File:
        with base.translated(self.location, f"{doing} {name!r}"):
            file = _DIRECTORIES.get(self.name, {}).get(base.plain(name, self.location))
            if file is None:
                raise FileNotFoundError(errno.ENOENT, "no such file in memory")
            return file


@attrs.define(eq=False)
class _Hold:
    storage: MemoryStorage
    name: str
    file: _File
    held: bool = True
    effective: bool = attrs.field(default=True, init=False)

    def current(self) -> bool:
        return _DIRECTORIES.get(self.storage.name, {}).get(self.name) is self.file

    def release(self) -> None:
        with _LOCK:
            if self.held:
                self.held = False
                self.file.holders = max(self.file.holders, 1) - 1


@attrs.frozen(eq=False)
class _Sink:
    data: bytearray = attrs.field(factory=bytearray)

    def reserve(self, size: int) -> None:
        """Do nothing: memory grows as it is needed."""

    def write(self, data: memoryview | bytes) -> None:
        self.data.extend(memoryview(data).cast("B") if memoryview(data).nbytes else b"")


@attrs.frozen
class _Publication:
    location: str
    files: dict[str, _Sink] = attrs.field(factory=dict)
    discards: dict[str, base.Hold | None] = attrs.field(factory=dict)

    def create(self, name: str) -> base.Sink:
        if base.plain(name, self.location) in self.files:
            raise StorageError("this file was begun already", where=f"{self.location}: {name}")
        self.files[name] = sink = _Sink()
        return sink

    def link(self, hold: base.Hold, name: str) -> None:
        self.create(name)
        with base.translated(self.location, f"link {name!r}"):
            if not isinstance(hold, _Hold):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            if not hold.current():
                raise FileNotFoundError(errno.ENOENT, "no such file in memory")
            self.files[name] = _Sink(hold.file.data)

    def discard(self, name: str, *, held: base.Hold | None = None) -> None:
        self.discards[base.plain(name, self.location)] = held
