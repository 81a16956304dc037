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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

import attrs

from tfpersist.storage import base, journal
from tfpersist.storage.own_changes import OwnChanges
from tfpersist.storage.publication import (
    StagedHold,
    StagedPublication,
    finish_pending,
    pending_in,
)
from tfpersist.storage.raw_directory import RawDirectory, RawHold

_T = TypeVar("_T")


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
    def remote(self) -> bool:
        return False

    @property
    def links(self) -> bool:
        return True

    def beside(self, location: str) -> StagedStorage:
        return StagedStorage(self.directory.beside(location))

    def exists(self) -> bool:
        with base.translated(self.location, "look for this directory"):
            return self.directory.exists()

    def names(self) -> frozenset[str]:
        with base.translated(self.location, "list this directory"):
            pending = pending_in(self.directory)
            present = self._listed()
        if not self._has_leftovers:
            return frozenset(present)
        moved = {name for name, staged in pending.moves.items() if staged in present}
        shown = {name for name in present if not journal.is_staged(name)} - {journal.NAME}
        return frozenset(shown.difference(pending.discards) | moved)

    def folders(self) -> frozenset[str]:
        with base.translated(self.location, "list this directory"):
            return frozenset(self.directory.names(folders=True))

    def read(self, name: str) -> memoryview:
        return self._resolved(name, "read", self.directory.read)

    def read_parts(self, parts: Sequence[tuple[str, int, int]]) -> list[memoryview]:
        def step(start: int, size: int) -> Callable[[str], memoryview]:
            return lambda path: self.directory.read_part(path, start, size)

        return [self._resolved(name, "read", step(*part)) for name, *part in parts]

    def forget(self, data: memoryview) -> None:
        self.directory.forget(data)

    def size(self, name: str) -> int:
        return self._resolved(name, "find the size of", self.directory.size)

    def modified(self, name: str) -> float:
        return self._resolved(name, "find the age of", self.directory.modified)

    def stamps(self, names: Iterable[str]) -> dict[str, base.Stamp]:
        with base.translated(self.location, "look at the files"):
            pending = pending_in(self.directory)
            if not pending.moves and not pending.discards:
                return self.directory.stamps(names)
            kept = set(names).difference(pending.discards)
            staged_as = {pending.moves[name]: name for name in kept & pending.moves.keys()}
            stamps = self.directory.stamps([*kept, *staged_as])
            moved = {staged_as[name]: stamps.pop(name) for name in staged_as.keys() & stamps.keys()}
        return {**stamps, **moved}

    def mark(self, name: str) -> object | None:
        # A file that a journal is about to replace has a mark of its own, and so has the next one.
        return self.directory.mark(base.plain(name, self.location))

    def hold(self, name: str, *, alone: bool = False) -> base.Hold | None:
        with base.translated(self.location, f"hold {name!r}"):
            pending = pending_in(self.directory)

        def lock(path: str) -> RawHold | None:
            return self.directory.hold(path, alone=alone)

        raw = self._resolved(name, "hold", lock, pending)
        if raw is None:
            return None

        def read(other: str) -> memoryview:
            step = (lambda path: raw.read()) if other == name else self.directory.read
            return self._resolved(other, "read", step, pending)

        return StagedHold(raw, lambda: self.identity(name), read)

    def version(self) -> object | None:
        try:
            return self.directory.version()
        except OSError:
            with base.translated(self.location, "look at this directory"):
                raise

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
        attempt: int | None = None,
    ) -> Iterator[base.Publication]:
        with base.translated(self.location, "prepare this directory"):
            self.directory.make(durable=durable)
            # There is nothing to clear away if the caller knows all names of this version, or if
            # a listing that was just made shows no leftovers.
            known = since is not None and self.directory.version() == since
            if not known and self._has_leftovers is not False:
                self._tidy()
        publication = StagedPublication(
            OwnChanges(self.directory, since if known else None), durable
        )
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

    @contextmanager
    def alone(self) -> Iterator[None]:
        with ExitStack() as stack:
            with base.translated(self.location, "lock this directory"):
                stack.enter_context(self.directory.lock())
            yield

    def remove(self, names: Iterable[str]) -> None:
        with base.translated(self.location, "remove files"), self.directory.lock():
            finish_pending(self.directory, durable=True)
            for name in names:
                with suppress(FileNotFoundError):
                    self.directory.unlink(base.plain(name, self.location))

    def rename(
        self, names: Mapping[str, str], *, held: base.Hold | None = None, durable: bool = True
    ) -> bool:
        with base.translated(self.location, "rename files"), self.directory.lock():
            finish_pending(self.directory, durable=durable)
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
                finish_pending(self.directory, durable=True)
                for name in self._listed():
                    if journal.is_staged(name):
                        # There may be no permission to remove the leftovers of another user.
                        with suppress(OSError):
                            self.directory.sweep(name)

    def _resolved(
        self,
        name: str,
        doing: str,
        step: Callable[[str], _T],
        pending: journal.Journal | None = None,
    ) -> _T:
        base.plain(name, self.location)
        # This is called for each read, and a context manager would take as long as a system call.
        try:
            if pending is None:
                pending = pending_in(self.directory)
            if name in pending.moves:
                with suppress(FileNotFoundError):
                    return step(pending.moves[name])
            elif name in pending.discards:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return step(name)
        except OSError:
            with base.translated(self.location, f"{doing} {name!r}"):
                raise
