"""Know whether a directory was changed by others, while a publication changes it itself.

`RawDirectory.version` differs after each change of the names in a directory. So that a version that
was read before a publication can be followed through it, each change of one's own is enclosed: the
version before it must be the one that is known, and the one after it is made anew by
`RawDirectory.seal`. A change by others is noticed, unless all of it happens within the few
microseconds of a system call of one's own.
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
    """The steps of a publication in a directory.

    Args:
        directory: the directory.
        version: its version, if nobody else has changed it so far; None where that is not known.
    """

    directory: RawDirectory
    version: object | None = None

    @property
    def location(self) -> str:
        return self.directory.location

    @property
    def renames_atomically(self) -> bool:
        return self.directory.renames_atomically

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
