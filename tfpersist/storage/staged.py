"""Publish files all or nothing: the algorithm behind every storage whose directory can be listed.

1. Each new file is written under a hidden staged name beside its target, then synced.
2. A single file is then renamed. That is one step for every reader.
3. For several files, a journal lists which staged name becomes which name. It is put in place by
   one rename, and that rename is the commit. Before it no target is touched, so the old set is
   complete. After it the new set is complete, however many of the other renames are done: a reader
   that finds the journal reads each file under its staged name if that exists, else under its own
   name. For that a reader needs no permission to write. The next writer, or `recover`, finishes
   what is left; to do so twice is harmless. Files are renamed in order, the commit marker last. So
   a reader that does not know journals sees a new checkpoint whole or not at all.
4. A power loss can undo every step that no sync followed, in any combination. So, if something is
   replaced or linked, the directory is synced four times: before the journal is put in place, after
   that, after files are removed, and after all files are renamed. Only then the journal is removed.
   If a power loss brings it back, none of its staged names exists, and it means nothing. If all
   files are new, one sync at the end is enough: a power loss before it loses only new files.

Files are renamed under a lock of the directory that ends with its process. So a journal that is
found under the lock is of a dead process. A staged file is locked by its writer. So a staged file
without a lock is a leftover.
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
from tfpersist.storage.own_changes import OwnChanges
from tfpersist.storage.raw_directory import RawDirectory, RawFile, RawHold

_T = TypeVar("_T")
# After so many bytes the disk starts to write, while more bytes are to come.
_AHEAD = 8 << 20


@attrs.define(eq=False)
class StagedStorage:
    """A storage over one directory, by the algorithm above.

    Args:
        directory: the directory.
    """

    directory: RawDirectory
    # Whether the last listing showed leftovers of a dead process; None before the first listing.
    _has_leftovers: bool | None = attrs.field(default=None, init=False)

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
            pending = _pending(self.directory)
            present = self._listed()
        if not self._has_leftovers:
            return frozenset(present)
        moved = {name for name, staged in pending.moves.items() if staged in present}
        shown = {name for name in present if not journal.is_staged(name)} - {journal.NAME}
        return frozenset(shown.difference(pending.discards) | moved)

    def read(self, name: str) -> memoryview:
        return self._resolved(name, "read", self.directory.read)

    def forget(self, data: memoryview) -> None:
        self.directory.forget(data)

    def size(self, name: str) -> int:
        return self._resolved(name, "find the size of", self.directory.size)

    def modified(self, name: str) -> float:
        return self._resolved(name, "find the age of", self.directory.modified)

    def stamps(self, names: Iterable[str]) -> dict[str, base.Stamp]:
        with base.translated(self.location, "look at the files"):
            pending = _pending(self.directory)
            if not pending.moves and not pending.discards:
                return self.directory.stamps(names)
            kept = set(names).difference(pending.discards)
            staged_as = {pending.moves[name]: name for name in kept & pending.moves.keys()}
            stamps = self.directory.stamps([*kept, *staged_as])
            moved = {staged_as[name]: stamps.pop(name) for name in staged_as.keys() & stamps.keys()}
        return {**stamps, **moved}

    def hold(self, name: str, *, alone: bool = False) -> base.Hold | None:
        lock = self._resolved(name, "hold", lambda path: self.directory.hold(path, alone=alone))
        return None if lock is None else _Hold(self, name, lock)

    def version(self) -> object | None:
        with base.translated(self.location, "look at this directory"):
            return self.directory.version()

    def seal(self) -> object | None:
        with base.translated(self.location, "look at this directory"):
            return self.directory.seal()

    def identity(self, name: str) -> object:
        """Return what distinguishes a file from every other file that has had its name."""
        return self._resolved(name, "identify", self.directory.identity)

    @contextmanager
    def publish(
        self,
        *,
        durable: bool = True,
        only_if: Callable[[], bool] | None = None,
        since: object | None = None,
    ) -> Iterator[base.Publication]:
        with base.translated(self.location, "prepare this directory"):
            self.directory.make(durable=durable)
            # Who knows all names knows that there is nothing to clear away; and so does a listing
            # that was just made.
            known = since is not None and self.directory.version() == since
            if not known and self._has_leftovers is not False:
                self._tidy()
        publication = _Publication(OwnChanges(self.directory, since if known else None), durable)
        try:
            yield publication
            with base.translated(self.location, "publish " + ", ".join(publication.moves)):
                publication.commit(only_if)
        finally:
            if not publication.close():
                self._has_leftovers = None
                publication.directory.version = None

    def _listed(self) -> set[str]:
        names = self.directory.names()
        self._has_leftovers = any(name.startswith(journal.PREFIX) for name in names)
        return names

    def remove(self, names: Iterable[str]) -> None:
        with base.translated(self.location, "remove files"), self.directory.lock():
            _finish_pending(self.directory, durable=True)
            for name in names:
                with suppress(FileNotFoundError):
                    self.directory.unlink(base.plain(name, self.location))

    def rename(
        self, names: Mapping[str, str], *, held: base.Hold | None = None, durable: bool = True
    ) -> bool:
        with base.translated(self.location, "rename files"), self.directory.lock():
            _finish_pending(self.directory, durable=durable)
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

    @property
    def has_leftovers(self) -> bool:
        return bool(self._has_leftovers)

    def recover(self) -> None:
        with base.translated(self.location, "recover this directory"):
            if self.directory.exists():
                self._tidy()

    def _tidy(self) -> None:
        self._listed()
        if self._has_leftovers:
            with self.directory.lock():
                _finish_pending(self.directory, durable=True)
                for name in self._listed():
                    if journal.is_staged(name):
                        # There may be no permission to remove the leftovers of another user.
                        with suppress(OSError):
                            self.directory.sweep(name)

    def _resolved(self, name: str, doing: str, step: Callable[[str], _T]) -> _T:
        base.plain(name, self.location)
        with base.translated(self.location, f"{doing} {name!r}"):
            pending = _pending(self.directory)
            if name in pending.moves:
                with suppress(FileNotFoundError):
                    return step(pending.moves[name])
            elif name in pending.discards:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return step(name)


@attrs.frozen(eq=False)
class _Hold:
    storage: StagedStorage
    name: str
    raw: RawHold

    @property
    def effective(self) -> bool:
        return self.raw.effective

    def current(self) -> bool:
        try:
            return self.storage.identity(self.name) == self.raw.identity
        except StorageError:
            return False

    def release(self) -> None:
        self.raw.release()


@attrs.frozen
class _Sink:
    """A staged file whose OSErrors are translated."""

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
            # A context manager around each of thousands of writes would take longer than they do.
            with base.translated(self.where, f"write {view.nbytes} bytes"):
                raise
        if self.durable:
            self.file.hasten(_AHEAD)


@attrs.define(eq=False)
class _Publication:
    directory: OwnChanges
    durable: bool
    token: str = attrs.field(factory=lambda: secrets.token_hex(8))
    files: list[RawFile] = attrs.field(factory=list)
    moves: dict[str, str] = attrs.field(factory=dict)
    linked: list[str] = attrs.field(factory=list)
    discards: dict[str, base.Hold | None] = attrs.field(factory=dict)
    committed: bool = False

    @property
    def version(self) -> object | None:
        return self.directory.version if self.committed else None

    def create(self, name: str) -> base.Sink:
        self._begin(name, "create", self.directory.stage)
        return _Sink(self.files[-1], f"{self.directory.location}: {name}", self.durable)

    def link(self, hold: base.Hold, name: str) -> None:
        self._begin(name, "link", lambda staged: self.directory.link(_raw(hold), staged))
        self.linked.append(name)

    def discard(self, name: str, *, held: base.Hold | None = None) -> None:
        self.discards[base.plain(name, self.directory.location)] = held

    def _begin(self, name: str, doing: str, stage: Callable[[str], RawFile]) -> None:
        location = self.directory.location
        if base.plain(name, location) in self.moves:
            raise base.named_twice(name, location)
        with base.translated(location, f"{doing} {name!r}"):
            self.directory.check(name)
            staged = journal.staged_name(self.token, len(self.moves))
            self.files.append(stage(staged))
        self.moves[name] = staged

    def commit(self, only_if: Callable[[], bool] | None = None) -> None:
        for file in self.files if self.durable else ():
            # Start to write all files first, so that one sync can commit the metadata of them all.
            file.hasten(1)
        for file in self.files:
            file.finish(durable=self.durable)
        with self.directory.lock():
            _finish_pending(self.directory, durable=self.durable)
            if only_if is not None and not only_if():
                return
            concerned = (*self.moves, *self.moves.values(), *self.discards)
            present = self.directory.present(concerned)
            for name, staged in self.moves.items():
                if staged not in present:
                    raise FileNotFoundError(errno.ENOENT, f"{name!r} was removed while staged")
            # Each hold is asked once: all files that it stands for are removed, or none.
            current = {held: held is None or held.current() for held in {*self.discards.values()}}
            removed = tuple(
                name
                for name, held in self.discards.items()
                if name in present and name not in self.moves and current[held]
            )
            if len(self.moves) + len(removed) == 1 and self.directory.renames_atomically:
                self._exchange(removed)
            elif self.moves or removed:
                # A linked file is only right together with all new files, so it counts as replaced.
                replaces = bool(removed or self.linked or self.moves.keys() & present)
                self._commit_by_journal(
                    journal.Journal(dict(self.moves), removed), replaces=replaces
                )
        self.committed = True

    def _exchange(self, removed: Iterable[str]) -> None:
        for name, staged in self.moves.items():
            self.directory.rename(staged, name)
        for name in removed:
            self.directory.unlink(name)
        if self.durable:
            self.directory.sync()

    def _commit_by_journal(self, pending: journal.Journal, *, replaces: bool) -> None:
        staged = journal.staged_name(self.token, len(self.moves))
        file = self.directory.stage(staged)
        self.files.append(file)
        self.moves[journal.NAME] = staged
        file.write(memoryview(pending.encode()))
        file.finish(durable=self.durable and replaces)
        if self.durable and replaces:
            self.directory.sync()
        self.directory.rename(staged, journal.NAME)
        try:
            _carry_out(self.directory, pending, durable=self.durable, replaces=replaces)
        except BaseException:
            if not replaces:
                _undo(self.directory, pending)
            else:
                # The journal is in place: readers get the new files from now on.
                with suppress(OSError):
                    _carry_out(self.directory, pending, durable=self.durable)
            raise

    def close(self) -> bool:
        """Let go of all files; return whether every staged file is gone that has to go."""
        for file in self.files:
            with suppress(OSError):
                file.close()
        # By POSIX, a rename onto another name of the same file leaves both names.
        left = (
            {self.moves[name] for name in self.linked} if self.committed else {*self.moves.values()}
        )
        try:
            needed = set(_pending(self.directory).moves.values()) if left else set()
        except OSError:
            return False
        gone = True
        for staged in left - needed:
            try:
                self.directory.unlink(staged)
            except FileNotFoundError:
                continue
            except OSError:
                gone = False
        return gone


def _raw(hold: base.Hold) -> RawHold:
    if not isinstance(hold, _Hold):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    return hold.raw


def _pending(directory: RawDirectory | OwnChanges) -> journal.Journal:
    """Return the journal of the directory; an empty one if there is none, or if all is done."""
    try:
        pending = journal.decode(directory.read(journal.NAME))
    except (FileNotFoundError, NotADirectoryError):
        pending = None
    if pending is None or (pending.moves and not directory.present(pending.moves.values())):
        return journal.Journal({})
    return pending


def _finish_pending(directory: RawDirectory | OwnChanges, *, durable: bool) -> None:
    if directory.present([journal.NAME]):
        _carry_out(directory, _pending(directory), durable=durable)


def _carry_out(
    directory: RawDirectory | OwnChanges,
    pending: journal.Journal,
    *,
    durable: bool,
    replaces: bool = True,
) -> None:
    if durable and replaces:
        directory.sync()
    for name in pending.discards:
        with suppress(FileNotFoundError):
            directory.unlink(name)
    if durable and pending.discards:
        directory.sync()
    for name, staged in pending.moves.items():
        with suppress(FileNotFoundError):
            directory.rename(staged, name)
    if durable:
        directory.sync()
    with suppress(FileNotFoundError):
        directory.unlink(journal.NAME)


def _undo(directory: OwnChanges, pending: journal.Journal) -> None:
    for name in (journal.NAME, *reversed([*pending.moves])):
        with suppress(OSError):
            directory.unlink(name)
