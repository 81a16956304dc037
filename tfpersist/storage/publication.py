"""Carry out a publication: stage files, then rename them by a journal.

`staged` describes the algorithm.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import MappingProxyType

import attrs

from tfpersist.errors import StorageError
from tfpersist.storage import base, journal
from tfpersist.storage.own_changes import OwnChanges
from tfpersist.storage.raw_directory import RawDirectory, RawFile, RawHold

# After so many bytes the disk starts to write, while more bytes are to come.
_AHEAD = 8 << 20


@attrs.frozen(eq=False)
class StagedHold:
    """A lock on a file of a staged storage, whose name a pending journal may redirect.

    Args:
        raw: the lock.
        identity: returns what distinguishes the file that has the name now.
        read: reads this file, or another one by the journal of the moment of the lock.
    """

    raw: RawHold
    identity: Callable[[], object]
    read: Callable[[str], memoryview]

    @property
    def effective(self) -> bool:
        return self.raw.effective

    def current(self) -> bool:
        try:
            return self.identity() == self.raw.identity
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
class StagedPublication:
    """A publication under way; see `staged`."""

    directory: OwnChanges
    durable: bool
    token: str = attrs.field(factory=lambda: secrets.token_hex(8))
    files: list[RawFile] = attrs.field(factory=list)
    moves: dict[str, str] = attrs.field(factory=dict)
    linked: list[str] = attrs.field(factory=list)
    discards: dict[str, base.Hold | None] = attrs.field(factory=dict)
    committed: bool = False
    attempt: int = attrs.field(default=0, init=False)

    def expect(self, name: str) -> None:
        """Do nothing: writers lock the directory."""

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
        if self.files:
            self.files[-1].seal()
        for file in self.files if self.durable else ():
            # Start to write all files first, so that one sync can commit the metadata of them all.
            file.hasten(1)
        for file in self.files:
            file.finish(durable=self.durable)
        with self.directory.lock():
            finish_pending(self.directory, durable=self.durable)
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
            if len(self.moves) + len(removed) == 1:
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
        """Close all files; return whether all staged files that are not needed are removed."""
        for file in self.files:
            with suppress(OSError):
                file.close()
        # By POSIX, a rename onto another name of the same file leaves both names.
        left = (
            {self.moves[name] for name in self.linked} if self.committed else {*self.moves.values()}
        )
        try:
            needed = set(pending_in(self.directory).moves.values()) if left else set()
        except OSError:
            return False
        all_removed = True
        for staged in left - needed:
            try:
                self.directory.unlink(staged)
            except FileNotFoundError:
                continue
            except OSError:
                all_removed = False
        return all_removed


def _raw(hold: base.Hold) -> RawHold:
    if not isinstance(hold, StagedHold):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    return hold.raw


_NOTHING = journal.Journal(MappingProxyType({}))


def pending_in(directory: RawDirectory | OwnChanges) -> journal.Journal:
    """Return the journal of the directory; an empty one if there is none, or if all is done."""
    try:
        pending = journal.decode(directory.read(journal.NAME))
    except (FileNotFoundError, NotADirectoryError):
        return _NOTHING
    if pending is None or (pending.moves and not directory.present(pending.moves.values())):
        return _NOTHING
    return pending


def finish_pending(directory: RawDirectory | OwnChanges, *, durable: bool) -> None:
    """Carry out the journal of the directory, if there is one."""
    if directory.present([journal.NAME]):
        _carry_out(directory, pending_in(directory), durable=durable)


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
