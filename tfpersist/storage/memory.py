"""Implement directories in the memory of this process, for tests and scratch files."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import attrs

from tfpersist.storage import base

SCHEME = "memory://"


@attrs.define(eq=False)
class _File:
    """A file, and the number of its holds; -1 for an exclusive hold."""

    data: bytearray
    modified: float
    holders: int = 0


# Files by directory, then by name. They exist until they are removed or the process ends.
_DIRECTORIES: dict[str, dict[str, _File]] = {}
_LOCK = threading.RLock()
# How often the names in each directory were changed.
_VERSIONS: dict[str, int] = {}


def _changed(name: str) -> int:
    _VERSIONS[name] = _VERSIONS.get(name, 0) + 1
    return _VERSIONS[name]


@attrs.frozen
class MemoryStorage:
    """A directory in memory. All storages of one name in this process share it.

    Args:
        name: the text after "memory://".

    Example:
        >>> with MemoryStorage("doc").publish() as publication:
        ...     publication.create("a").write(b"1")
        >>> sorted(MemoryStorage("doc").names())
        ['a']
    """

    name: str
    maps: bool = attrs.field(default=True, init=False, eq=False, repr=False)
    links: bool = attrs.field(default=True, init=False, eq=False, repr=False)
    remote: bool = attrs.field(default=False, init=False, eq=False, repr=False)

    @property
    def location(self) -> str:
        return SCHEME + self.name

    def beside(self, location: str) -> MemoryStorage:
        return MemoryStorage(location.removeprefix(SCHEME).strip("/"))

    def exists(self) -> bool:
        return self.name in _DIRECTORIES

    def names(self) -> frozenset[str]:
        with _LOCK:
            return frozenset(_DIRECTORIES.get(self.name, ()))

    def folders(self) -> frozenset[str]:
        start = f"{self.name}/"
        with _LOCK:
            inside = [name for name, files in _DIRECTORIES.items() if files]
        return frozenset(n[len(start) :].partition("/")[0] for n in inside if n.startswith(start))

    def read(self, name: str) -> memoryview:
        return memoryview(self._file(name, "read").data).toreadonly()

    def read_parts(self, parts: Sequence[tuple[str, int, int]]) -> list[memoryview]:
        return [self.read(name)[start : start + size] for name, start, size in parts]

    def size(self, name: str) -> int:
        return len(self._file(name, "find the size of").data)

    def modified(self, name: str) -> float:
        return self._file(name, "find the age of").modified

    def stamps(self, names: Iterable[str]) -> dict[str, base.Stamp]:
        with _LOCK:
            files = _DIRECTORIES.get(self.name, {})
            present = {name: files[name] for name in names if name in files}
        return {
            name: (round(file.modified * 1e9), len(file.data), id(file))
            for name, file in present.items()
        }

    def forget(self, data: memoryview) -> None:
        """Do nothing: the bytes are the file itself."""

    @contextmanager
    def publish(
        self,
        *,
        durable: bool = True,
        only_if: Callable[[], bool] | None = None,
        since: object | None = None,
        attempt: int | None = None,
    ) -> Iterator[base.Publication]:
        """Add or replace files, all or nothing. `durable` has no effect here."""
        publication = _Publication(self.location)
        yield publication
        now = time.time()
        with _LOCK:
            if only_if is not None and not only_if():
                return
            files, discards = _DIRECTORIES.setdefault(self.name, {}), publication.discards
            # Each hold is asked once: all files that it stands for are removed, or none.
            current = {held: held is None or held.current() for held in {*discards.values()}}
            for name, held in discards.items():
                if name not in publication.files and current[held]:
                    files.pop(name, None)
            files.update({name: _File(sink.data, now) for name, sink in publication.files.items()})
            publication.committed = True
            known = since is not None and _VERSIONS.get(self.name, 0) == since
            changed = _changed(self.name)
            publication.version = changed if known else None

    @contextmanager
    def alone(self) -> Iterator[None]:
        with _LOCK:
            yield

    def remove(self, names: Iterable[str]) -> None:
        with _LOCK:
            files = _DIRECTORIES.get(self.name, {})
            for name in names:
                files.pop(base.plain(name, self.location), None)
            if not files:
                _DIRECTORIES.pop(self.name, None)
            _changed(self.name)

    def rename(
        self, names: Mapping[str, str], *, held: base.Hold | None = None, durable: bool = True
    ) -> bool:
        """Rename files to free names. `durable` has no effect here."""
        with _LOCK, base.translated(self.location, "rename files"):
            files = _DIRECTORIES.get(self.name, {})
            if held is not None and not held.current():
                return False
            _changed(self.name)
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

    def mark(self, name: str) -> None:
        """Return None: to read a file takes no time here."""

    def version(self) -> object | None:
        return _VERSIONS.get(self.name, 0)

    def seal(self) -> object | None:
        return self.version()

    @property
    def has_leftovers(self) -> bool:
        return False

    def recover(self) -> None:
        """Do nothing: the files of a dead process are gone with its memory."""

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
    is_held: bool = True
    effective: bool = attrs.field(default=True, init=False)

    def current(self) -> bool:
        return _DIRECTORIES.get(self.storage.name, {}).get(self.name) is self.file

    def read(self, name: str) -> memoryview:
        if name != self.name:
            return self.storage.read(name)
        return memoryview(self.file.data).toreadonly()

    def release(self) -> None:
        with _LOCK:
            if self.is_held:
                self.is_held = False
                self.file.holders = max(self.file.holders, 1) - 1


@attrs.frozen(eq=False)
class _Sink:
    data: bytearray = attrs.field(factory=bytearray)

    def reserve(self, size: int) -> None:
        """Do nothing: memory grows as needed."""

    def write(self, data: memoryview | bytes) -> None:
        self.data.extend(memoryview(data).cast("B") if memoryview(data).nbytes else b"")


@attrs.define(eq=False)
class _Publication:
    location: str
    files: dict[str, _Sink] = attrs.field(factory=dict)
    discards: dict[str, base.Hold | None] = attrs.field(factory=dict)
    committed: bool = False
    version: object | None = None
    attempt: int = attrs.field(default=0, init=False)

    def expect(self, name: str) -> None:
        """Do nothing: a lock keeps other writers away."""

    def create(self, name: str) -> base.Sink:
        if base.plain(name, self.location) in self.files:
            raise base.named_twice(name, self.location)
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
