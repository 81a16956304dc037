"""Publishing by staging: the one algorithm behind every storage whose directory can be listed.

1. Each new file is written under a hidden staged name beside its target, then synced.
2. Where none of the names exists yet, the files are renamed, the commit marker last: before that
   last rename there is no new checkpoint, after it there is a complete one. A single file that
   replaces another is one atomic rename.
3. Where several files replace others, a journal is put in place first, by one rename, and that
   rename is the commit: until then no target is touched, so the old set is complete; from then on
   a reader that finds the journal takes each file from its staged name if that is still there,
   else from its own name, so the new set is complete, whichever of the renames were done. Readers
   need no permission to write for that. The next writer, or `recover`, carries out what is left;
   doing so twice is harmless. The journal goes after the last rename was synced.

Renames happen under a lock of the directory that dies with its holder: a journal met under the
lock is a dead process's. A staged file is locked by its writer: one without a lock is rubbish.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Protocol, TypeVar

import attrs

from tfpersist.errors import StorageError
from tfpersist.storage import base, journal

_T = TypeVar("_T")


class StagedFile(Protocol):
    """A file that is being written; raises OSError as it comes."""

    def reserve(self, size: int) -> None: ...
    def write(self, data: memoryview) -> None: ...
    def finish(self, *, durable: bool) -> None: ...
    def close(self) -> None: ...


class Directory(Protocol):
    """The steps that a kind of directory must be able to take; each raises OSError as it comes."""

    @property
    def location(self) -> str: ...
    @property
    def maps(self) -> bool: ...
    @property
    def renames_atomically(self) -> bool: ...
    def exists(self) -> bool: ...
    def make(self, *, durable: bool) -> None: ...
    def names(self) -> set[str]: ...
    def read(self, name: str) -> memoryview: ...
    def size(self, name: str) -> int: ...
    def modified(self, name: str) -> float: ...
    def stage(self, name: str) -> StagedFile: ...
    def sweep(self, name: str) -> None: ...
    def is_directory(self, name: str) -> bool: ...
    def rename(self, old: str, new: str) -> None: ...
    def unlink(self, name: str) -> None: ...
    def sync(self) -> None: ...
    def lock(self) -> AbstractContextManager[None]: ...


@attrs.frozen(eq=False)
class StagedStorage:
    """A storage over one directory, by the algorithm above.

    Args:
        directory: the steps.
    """

    directory: Directory

    @property
    def location(self) -> str:
        return self.directory.location

    @property
    def maps(self) -> bool:
        return self.directory.maps

    def exists(self) -> bool:
        with base.translated(self.location, "look for this directory"):
            return self.directory.exists()

    def names(self) -> frozenset[str]:
        with base.translated(self.location, "list this directory"):
            plan = _standing(self.directory)
            present = self.directory.names()
        moved = {name for name, staged in plan.moves.items() if staged in present}
        shown = {name for name in present if not journal.is_staged(name)} - {journal.NAME}
        return frozenset((shown - plan.discards) | moved)

    def read(self, name: str) -> memoryview:
        return self._resolved(name, "read", self.directory.read)

    def size(self, name: str) -> int:
        return self._resolved(name, "find the size of", self.directory.size)

    def modified(self, name: str) -> float:
        return self._resolved(name, "find the age of", self.directory.modified)

    @contextmanager
    def publish(self, *, durable: bool = True) -> Iterator[base.Publication]:
        with base.translated(self.location, "prepare this directory"):
            self.directory.make(durable=durable)
            self._tidy()
        publication = _Publication(self.directory, durable)
        try:
            yield publication
            with base.translated(self.location, "publish " + ", ".join(publication.moves)):
                publication.commit()
        finally:
            publication.close()

    def remove(self, names: Iterable[str]) -> None:
        with base.translated(self.location, "remove files"), self.directory.lock():
            _settle(self.directory, durable=True)
            for name in names:
                with suppress(FileNotFoundError):
                    self.directory.unlink(base.plain(name, self.location))

    def recover(self) -> None:
        with base.translated(self.location, "recover this directory"):
            if self.directory.exists():
                self._tidy()

    def _tidy(self) -> None:
        if any(name.startswith(".tfpersist-") for name in self.directory.names()):
            with self.directory.lock():
                _settle(self.directory, durable=True)
                for name in self.directory.names():
                    if journal.is_staged(name):
                        with suppress(FileNotFoundError):
                            self.directory.sweep(name)

    def _resolved(self, name: str, doing: str, step: Callable[[str], _T]) -> _T:
        base.plain(name, self.location)
        with base.translated(self.location, f"{doing} {name!r}"):
            plan = _standing(self.directory)
            if name in plan.moves:
                with suppress(FileNotFoundError):
                    return step(plan.moves[name])
            elif name in plan.discards:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return step(name)


@attrs.frozen
class _Sink:
    """One staged file, its failures translated."""

    file: StagedFile
    where: str

    def reserve(self, size: int) -> None:
        with base.translated(self.where, f"reserve {size} bytes"):
            self.file.reserve(size)

    def write(self, data: memoryview | bytes) -> None:
        view = memoryview(data)
        if view.nbytes:
            with base.translated(self.where, f"write {view.nbytes} bytes"):
                self.file.write(view if view.format == "B" and view.ndim == 1 else view.cast("B"))


@attrs.frozen
class _Publication:
    directory: Directory
    durable: bool
    token: str = attrs.field(factory=lambda: secrets.token_hex(8))
    files: list[StagedFile] = attrs.field(factory=list)
    moves: dict[str, str] = attrs.field(factory=dict)
    discards: set[str] = attrs.field(factory=set)

    def create(self, name: str) -> base.Sink:
        location = self.directory.location
        if base.plain(name, location) in self.moves:
            raise StorageError("this file was begun already", where=f"{location}: {name}")
        with base.translated(location, f"create {name!r}"):
            if self.directory.is_directory(name):
                raise IsADirectoryError(errno.EISDIR, "there is a directory of this name")
            staged = journal.staged_name(self.token, len(self.moves))
            self.files.append(self.directory.stage(staged))
        self.moves[name] = staged
        return _Sink(self.files[-1], f"{location}: {name}")

    def discard(self, name: str) -> None:
        self.discards.add(base.plain(name, self.directory.location))

    def commit(self) -> None:
        for file in self.files:
            file.finish(durable=self.durable)
        with self.directory.lock():
            _settle(self.directory, durable=self.durable)
            gone = (self.discards - self.moves.keys()) & self.directory.names()
            replaced = self.moves.keys() & self.directory.names()
            several = len(self.moves) + len(gone) > 1
            if ((replaced or gone) and several) or not self.directory.renames_atomically:
                self._replace(journal.Journal(dict(self.moves), frozenset(gone)))
            else:
                self._add(gone)

    def _add(self, gone: Iterable[str]) -> None:
        done: list[str] = []
        try:
            for name, staged in self.moves.items():
                self.directory.rename(staged, name)
                done.append(name)
        except BaseException:
            if not self.directory.names().isdisjoint([*self.moves.values()][-1:]):
                for name in done:
                    with suppress(OSError):
                        self.directory.unlink(name)
            raise
        for name in gone:
            self.directory.unlink(name)
        if self.durable:
            self.directory.sync()

    def _replace(self, plan: journal.Journal) -> None:
        staged = journal.staged_name(self.token, len(self.moves))
        file = self.directory.stage(staged)
        self.files.append(file)
        file.write(memoryview(plan.encode()))
        file.finish(durable=self.durable)
        self.moves[journal.NAME] = staged
        self.directory.rename(staged, journal.NAME)
        try:
            _carry_out(self.directory, plan, durable=self.durable)
        except BaseException:
            # The journal stands, so the new files are what is read from now on.
            with suppress(OSError):
                _carry_out(self.directory, plan, durable=self.durable)
            raise

    def close(self) -> None:
        for file in self.files:
            with suppress(OSError):
                file.close()
        with suppress(OSError):
            promised = set(_standing(self.directory).moves.values())
            for staged in self.directory.names() & set(self.moves.values()) - promised:
                with suppress(OSError):
                    self.directory.unlink(staged)


def _standing(directory: Directory) -> journal.Journal:
    try:
        plan = journal.decode(directory.read(journal.NAME))
    except (FileNotFoundError, NotADirectoryError):
        plan = None
    return plan or journal.Journal({})


def _settle(directory: Directory, *, durable: bool) -> None:
    if journal.NAME in directory.names():
        _carry_out(directory, _standing(directory), durable=durable)


def _carry_out(directory: Directory, plan: journal.Journal, *, durable: bool) -> None:
    if durable:
        directory.sync()
    for name, staged in plan.moves.items():
        with suppress(FileNotFoundError):
            directory.rename(staged, name)
    for name in plan.discards:
        with suppress(FileNotFoundError):
            directory.unlink(name)
    if durable:
        directory.sync()
    with suppress(FileNotFoundError):
        directory.unlink(journal.NAME)
