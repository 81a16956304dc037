"""Notice whether others change a directory while a publication changes it.

`RawDirectory.version` differs after each change of the names in a directory. A publication makes
such changes itself, and follows the version through them: before each change it compares the
version with the known one, and after the change `RawDirectory.seal` makes a new one. A change by
others is noticed, unless it happens within the few microseconds of one system call of the
publication.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TypeVar

import attrs

from tfpersist.storage.raw_directory import RawDirectory, RawFile, RawHold

_T = TypeVar("_T")


@attrs.define(eq=False)
class OwnChanges:
    """A directory whose changes by a publication are distinguished from those by others.

    Args:
        directory: the directory.
        version: its version if nobody else has changed it so far; None if that is not known.
    """

    directory: RawDirectory
    version: object | None = None

    @property
    def location(self) -> str:
        return self.directory.location

    def check(self, name: str) -> None:
        self.directory.check(name)

    def present(self, names: Iterable[str]) -> set[str]:
        return self.directory.present(names)

    def read(self, name: str) -> memoryview:
        return self.directory.read(name)

    def stage(self, name: str) -> RawFile:
        return self._own(lambda: self.directory.stage(name))

    def link(self, held: RawHold, name: str) -> RawFile:
        return self._own(lambda: self.directory.link(held, name))

    def rename(self, old: str, new: str) -> None:
        self._own(lambda: self.directory.rename(old, new))

    def unlink(self, name: str) -> None:
        self._own(lambda: self.directory.unlink(name))

    def sync(self) -> None:
        self.directory.sync()

    def lock(self) -> AbstractContextManager[None]:
        return self.directory.lock()

    def _own(self, change: Callable[[], _T]) -> _T:
        if self.version is None or self.directory.version() != self.version:
            self.version = None
            return change()
        result = change()
        self.version = self.directory.seal()
        return result
