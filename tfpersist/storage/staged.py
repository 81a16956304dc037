"""Publishing by staging: the one algorithm behind every storage whose directory can be listed.

1. Each new file is written under a hidden staged name beside its target, then synced.
2. A single file is renamed, which is one step for every reader.
3. For several files a journal, which says what becomes what, is put in place first, by one rename,
   and that rename is the commit. Until then no target is touched: what was there is complete. From
   then on a reader that finds the journal takes each file from its staged name if that is still
   there, else from its own name, so the new set is complete, whichever of the renames were done.
   Readers need no permission to write for that. The next writer, or `recover`, carries out what is
   left; doing so twice is harmless. Renames go in order, the commit marker's last, so a reader
   that knows no journals sees a new checkpoint whole or not at all.
4. A power loss may undo any step that no sync followed, in any combination. So, where something is
   replaced or linked, the directory is synced before the journal is put in place, when it is, when
   files were discarded and when all are renamed; only then the journal goes. Should it come back,
   none of its staged names is left, and it means nothing. Where all is new, one sync at the end
   will do: what is lost before is a part of the new set, and the old is elsewhere.

Renames happen under a lock of the directory that dies with its holder: a journal met under the
lock is a dead process's. A staged file is locked by its writer: one without a lock is rubbish.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TypeVar

import attrs

from tfpersist.errors import StorageError
from tfpersist.storage import base, journal
from tfpersist.storage.raw_directory import RawDirectory, RawFile, RawHold

_T = TypeVar("_T")
# From so many bytes on the disk begins to write while more is to come.
_AHEAD = 8 << 20


@attrs.define(eq=False)
class StagedStorage:
    """A storage over one directory, by the algorithm above.

    Args:
        directory: the steps.
    """

    directory: RawDirectory
    # Whether the last listing showed what a dead process may have left; None before the first.
    _litter: bool | None = attrs.field(default=None, init=False)

    @property
    def location(self) -> str:
        return self.directory.location

    @property
    def maps(self) -> bool:
        return self.directory.maps

    @property
    def links(self) -> bool:
        return self.directory.links

    def exists(self) -> bool:
        with base.translated(self.location, "look for this directory"):
            return self.directory.exists()

    def names(self) -> frozenset[str]:
        with base.translated(self.location, "list this directory"):
            plan = _standing(self.directory)
            present = self._listed()
        moved = {name for name, staged in plan.moves.items() if staged in present}
        shown = {name for name in present if not journal.is_staged(name)} - {journal.NAME}
        return frozenset(shown.difference(plan.discards) | moved)

    def read(self, name: str) -> memoryview:
        return self._resolved(name, "read", self.directory.read)

    def forget(self, data: memoryview) -> None:
        self.directory.forget(data)

    def size(self, name: str) -> int:
        return self._resolved(name, "find the size of", self.directory.size)

    def modified(self, name: str) -> float:
        return self._resolved(name, "find the age of", self.directory.modified)

    def hold(self, name: str, *, alone: bool = False) -> base.Hold | None:
        held = self._resolved(name, "hold", lambda at: self.directory.hold(at, alone=alone))
        return None if held is None else _Hold(self, name, held)

    def identity(self, name: str) -> object:
        """What tells a file from every other that has had its name."""
        return self._resolved(name, "tell", self.directory.identity)

    @contextmanager
    def publish(self, *, durable: bool = True) -> Iterator[base.Publication]:
        with base.translated(self.location, "prepare this directory"):
            self.directory.make(durable=durable)
            # Who has just looked at the directory knows whether there is something to clear away.
            if self._litter is not False:
                self._tidy()
        publication = _Publication(self.directory, durable)
        try:
            yield publication
            with base.translated(self.location, "publish " + ", ".join(publication.moves)):
                publication.commit()
        finally:
            publication.close()

    def _listed(self) -> set[str]:
        names = self.directory.names()
        self._litter = any(name.startswith(journal.PREFIX) for name in names)
        return names

    def remove(self, names: Iterable[str]) -> None:
        with base.translated(self.location, "remove files"), self.directory.lock():
            _settle(self.directory, durable=True)
            for name in names:
                with suppress(FileNotFoundError):
                    self.directory.unlink(base.plain(name, self.location))

    def rename(
        self, names: Mapping[str, str], *, held: base.Hold | None = None, durable: bool = True
    ) -> bool:
        with base.translated(self.location, "rename files"), self.directory.lock():
            _settle(self.directory, durable=durable)
            if held is not None and not held.current():
                return False
            present = self.directory.names()
            for old, new in names.items():
                if base.plain(new, self.location) in present:
                    raise FileExistsError(errno.EEXIST, f"there is a file {new!r} already")
                if base.plain(old, self.location) in present:
                    self.directory.rename(old, new)
            if durable:
                self.directory.sync()
        return True

    def recover(self) -> None:
        with base.translated(self.location, "recover this directory"):
            if self.directory.exists():
                self._tidy()

    def _tidy(self) -> None:
        self._listed()
        if self._litter:
            with self.directory.lock():
                _settle(self.directory, durable=True)
                for name in self._listed():
                    if journal.is_staged(name):
                        # Another user's leftovers may be out of reach.
                        with suppress(OSError):
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


@attrs.frozen(eq=False)
class _Hold:
    storage: StagedStorage
    name: str
    held: RawHold

    @property
    def effective(self) -> bool:
        return self.held.effective

    def current(self) -> bool:
        try:
            return self.storage.identity(self.name) == self.held.identity
        except StorageError:
            return False

    def release(self) -> None:
        self.held.release()


@attrs.frozen
class _Sink:
    """One staged file, its failures translated."""

    file: RawFile
    where: str
    durable: bool

    def reserve(self, size: int) -> None:
        with base.translated(self.where, f"reserve {size} bytes"):
            self.file.reserve(size)

    def write(self, data: memoryview | bytes) -> None:
        view = memoryview(data)
        if not view.nbytes:
            return
        try:
            self.file.write(view if view.format == "B" and view.ndim == 1 else view.cast("B"))
        except OSError:
            # There are thousands of writes: a context for each would cost more than some of them.
            with base.translated(self.where, f"write {view.nbytes} bytes"):
                raise
        if self.durable:
            self.file.hasten(_AHEAD)


@attrs.define(eq=False)
class _Publication:
    directory: RawDirectory
    durable: bool
    token: str = attrs.field(factory=lambda: secrets.token_hex(8))
    files: list[RawFile] = attrs.field(factory=list)
    moves: dict[str, str] = attrs.field(factory=dict)
    linked: list[str] = attrs.field(factory=list)
    discards: dict[str, base.Hold | None] = attrs.field(factory=dict)
    committed: bool = False

    def create(self, name: str) -> base.Sink:
        self._begin(name, "create", self.directory.stage)
        return _Sink(self.files[-1], f"{self.directory.location}: {name}", self.durable)

    def link(self, hold: base.Hold, name: str) -> None:
        self._begin(name, "link", lambda staged: self.directory.link(_held(hold), staged))
        self.linked.append(name)

    def discard(self, name: str, *, held: base.Hold | None = None) -> None:
        self.discards[base.plain(name, self.directory.location)] = held

    def _begin(self, name: str, doing: str, stage: Callable[[str], RawFile]) -> None:
        location = self.directory.location
        if base.plain(name, location) in self.moves:
            raise StorageError("this file was begun already", where=f"{location}: {name}")
        with base.translated(location, f"{doing} {name!r}"):
            self.directory.check(name)
            staged = journal.staged_name(self.token, len(self.moves))
            self.files.append(stage(staged))
        self.moves[name] = staged

    def commit(self) -> None:
        for file in self.files if self.durable else ():
            # So the sync of the first file can commit what the file system notes of all.
            file.hasten(1)
        for file in self.files:
            file.finish(durable=self.durable)
        with self.directory.lock():
            _settle(self.directory, durable=self.durable)
            concerned = (*self.moves, *self.moves.values(), *self.discards)
            present = self.directory.present(concerned)
            for name, staged in self.moves.items():
                if staged not in present:
                    raise FileNotFoundError(errno.ENOENT, f"{name!r} was removed while staged")
            # Asked once, so that what one hold stands for goes as a whole or stays.
            current = {held: held is None or held.current() for held in {*self.discards.values()}}
            gone = tuple(
                name
                for name, held in self.discards.items()
                if name in present and name not in self.moves and current[held]
            )
            if len(self.moves) + len(gone) == 1 and self.directory.renames_atomically:
                self._exchange(gone)
            elif self.moves or gone:
                # What is linked is not read right without all that is new beside it.
                replaces = bool(gone or self.linked or self.moves.keys() & present)
                self._carry(journal.Journal(dict(self.moves), gone), replaces=replaces)
        self.committed = True

    def _exchange(self, gone: Iterable[str]) -> None:
        for name, staged in self.moves.items():
            self.directory.rename(staged, name)
        for name in gone:
            self.directory.unlink(name)
        if self.durable:
            self.directory.sync()

    def _carry(self, plan: journal.Journal, *, replaces: bool) -> None:
        staged = journal.staged_name(self.token, len(self.moves))
        file = self.directory.stage(staged)
        self.files.append(file)
        self.moves[journal.NAME] = staged
        file.write(memoryview(plan.encode()))
        file.finish(durable=self.durable and replaces)
        if self.durable and replaces:
            self.directory.sync()
        self.directory.rename(staged, journal.NAME)
        try:
            _carry_out(self.directory, plan, durable=self.durable, replaces=replaces)
        except BaseException:
            if not replaces:
                _take_back(self.directory, plan)
            else:
                # The journal stands, so the new files are what is read from now on.
                with suppress(OSError):
                    _carry_out(self.directory, plan, durable=self.durable)
            raise

    def close(self) -> None:
        for file in self.files:
            with suppress(OSError):
                file.close()
        if self.committed:
            return
        with suppress(OSError):
            promised = set(_standing(self.directory).moves.values())
            for staged in set(self.moves.values()) - promised:
                with suppress(OSError):
                    self.directory.unlink(staged)


def _held(hold: base.Hold) -> RawHold:
    if not isinstance(hold, _Hold):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    return hold.held


def _standing(directory: RawDirectory) -> journal.Journal:
    """What the journal still asks for: nothing where there is none, or where all is done."""
    try:
        plan = journal.decode(directory.read(journal.NAME))
    except (FileNotFoundError, NotADirectoryError):
        plan = None
    if plan is None or (plan.moves and not directory.present(plan.moves.values())):
        return journal.Journal({})
    return plan


def _settle(directory: RawDirectory, *, durable: bool) -> None:
    if directory.present([journal.NAME]):
        _carry_out(directory, _standing(directory), durable=durable)


def _carry_out(
    directory: RawDirectory, plan: journal.Journal, *, durable: bool, replaces: bool = True
) -> None:
    if durable and replaces:
        directory.sync()
    for name in plan.discards:
        with suppress(FileNotFoundError):
            directory.unlink(name)
    if durable and plan.discards:
        directory.sync()
    for name, staged in plan.moves.items():
        with suppress(FileNotFoundError):
            directory.rename(staged, name)
    if durable:
        directory.sync()
    with suppress(FileNotFoundError):
        directory.unlink(journal.NAME)


def _take_back(directory: RawDirectory, plan: journal.Journal) -> None:
    for name in (journal.NAME, *reversed([*plan.moves])):
        with suppress(OSError):
            directory.unlink(name)
