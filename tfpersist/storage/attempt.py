"""Publish files in a store that can neither rename nor lock; `remote` describes the algorithm."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol

import attrs

from tfpersist.errors import ConflictError, StorageError
from tfpersist.storage import base

# From LEAST_ATTEMPT on there are so many numbers of five digits.
_NUMBERS = 90_000
# Up to this size a file is sent in one request, and a larger one in parts of the second size.
_MOST_IN_ONE = 96 << 20
_PART = 64 << 20


class Files(Protocol):
    """The operations that a publication needs of its directory; see `remote`."""

    @property
    def location(self) -> str:
        """Its URL."""

    @property
    def system(self) -> Any:
        """Its file system."""

    def path(self, name: str) -> str:
        """Return the path of a file in the file system."""

    def info(self, name: str) -> Mapping[str, Any] | None:
        """Return what the system says of a file; None if there is none."""

    def read(self, name: str) -> memoryview:
        """Return all bytes of a file."""

    def making(self, write: Callable[[], Any]) -> Any:
        """Write, after creating the directory if it is absent."""

    def create(self, path: str, data: bytes | bytearray) -> None:
        """Write a file that must not be there."""

    def replace(
        self, path: str, data: bytes | bytearray, before: Mapping[str, Any] | None = None
    ) -> None:
        """Write a file that must still be what it was before."""

    def alone(self) -> AbstractContextManager[None]:
        """Lock out other threads."""


@attrs.frozen(eq=False)
class RemoteHold:
    """A hold without a lock, of which other processes do not know.

    Args:
        files: the directory.
        name: the file.
        before: what the system said of it; None if it was not asked.
    """

    files: Files
    name: str
    before: Mapping[str, Any] | None
    effective: bool = attrs.field(default=False, init=False)

    def current(self) -> bool:
        """Return whether the file is what it was; True if it was not asked what it was."""
        return self.before is None or self.files.info(self.name) == self.before

    def read(self, name: str) -> memoryview:
        return self.files.read(name)

    def release(self) -> None:
        """Do nothing: nothing is locked."""


@attrs.define(eq=False)
class _Sink:
    """A file that is collected in memory and sent when it is whole, or in parts if it is large."""

    files: Files
    name: str
    own: bool
    size: int = -1
    data: bytearray = attrs.field(factory=bytearray)
    stream: Any = None
    sent: bool = False

    def reserve(self, size: int) -> None:
        """Note the size, so that the file is sent as soon as it is whole."""
        self.size = size
        if self.own and size > _MOST_IN_ONE:
            with self._refusals():
                path, system = self.files.path(self.name), self.files.system
                self.stream = self.files.making(lambda: system.open(path, "xb", block_size=_PART))

    def write(self, data: memoryview | bytes) -> None:
        view = memoryview(data)
        content = view.cast("B") if view.nbytes else b""
        if self.stream is not None:
            with self._refusals():
                self.stream.write(content)
            return
        self.data += content
        if self.own and len(self.data) == self.size:
            self.send()

    def send(self, before: Mapping[str, Any] | None = None, *, expected: bool = False) -> None:
        """Send the file, unless it was sent.

        Args:
            before: what it replaces; None for nothing.
            expected: whether `before` is known, so that another writer can be noticed.

        Raises:
            ConflictError: another process has written it.
        """
        if self.sent:
            return
        self.sent = True
        try:
            with self._refusals():
                path = self.files.path(self.name)
                if self.stream is not None:
                    self.stream.close()
                elif self.own or (expected and before is None):
                    self.files.create(path, self.data)
                else:
                    self.files.replace(path, self.data, before)
        except StorageError as error:
            if error.errno != errno.EEXIST:
                raise
            raise ConflictError(
                "another process has written this since this one began to",
                where=f"{self.files.location}/{self.name}",
                advice="What the other one has saved is complete, and nothing of this one is left",
            ) from error

    def _refusals(self) -> AbstractContextManager[None]:
        return base.refusals(f"{self.files.location}: {self.name}", f"write {self.name!r}")


@attrs.define(eq=False)
class Attempt:
    """A publication under way.

    Args:
        files: the directory.
        attempt: the number that the names of its files hold; it is drawn at random, and a file is
            created only if no other attempt has drawn the same.
    """

    files: Files
    attempt: int = attrs.field(factory=lambda: secrets.choice(base.ATTEMPTS))
    sinks: dict[str, _Sink] = attrs.field(factory=dict)
    discards: dict[str, base.Hold | None] = attrs.field(factory=dict)
    expected: dict[str, Mapping[str, Any] | None] = attrs.field(factory=dict)
    committed: bool = False
    version: None = None
    # False if the commit marker was sent and no answer came: it may be there.
    decided: bool = True

    def expect(self, name: str) -> None:
        self.expected[name] = self.files.info(name)

    def create(self, name: str) -> base.Sink:
        self.files.path(name)
        if name in self.sinks:
            raise base.named_twice(name, self.files.location)
        own = name.endswith(f"-of-{self.attempt}")
        self.sinks[name] = sink = _Sink(self.files, name, own)
        return sink

    def link(self, hold: base.Hold, name: str) -> None:
        with base.translated(self.files.location, f"link {name!r}"):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    def discard(self, name: str, *, held: base.Hold | None = None) -> None:
        self.files.path(name)
        self.discards[name] = held

    def commit(self, only_if: Callable[[], bool] | None = None) -> None:
        """Send the files, the last one last; then remove what is discarded."""
        with self.files.alone():
            if only_if is not None and not only_if():
                return
            last = next(reversed(self.sinks), None)
            for name, sink in self.sinks.items():
                self.decided = name != last
                try:
                    sink.send(self.expected.get(name), expected=name in self.expected)
                except ConflictError:
                    self.decided = True
                    raise
            self.committed = True
            self._remove()

    def _remove(self) -> None:
        # Each hold is asked once: all files that it stands for are removed, or none.
        current = {held: held is None or held.current() for held in {*self.discards.values()}}
        for name, held in self.discards.items():
            if name in self.sinks or not current[held]:
                continue
            try:
                with base.refusals(self.files.location, f"remove {name!r}"):
                    self.files.system.rm_file(self.files.path(name))
            except StorageError as error:
                # What has been replaced may stay, as in a store where nothing may be removed.
                if held is not None and error.errno != errno.ENOENT:
                    raise

    def close(self) -> None:
        """Remove what was sent, unless it is or may be published.

        Where nothing may be removed it stays, and does no harm.
        """
        for sink in () if self.committed or not self.decided else self.sinks.values():
            stream = sink.stream
            if stream is not None and not stream.closed:
                with suppress(Exception):
                    stream.discard()
                    # Else the end of the object would send the rest.
                    stream.closed = True
            if sink.own and (sink.sent or stream is not None):
                with suppress(Exception):
                    self.files.system.rm_file(self.files.path(sink.name))
