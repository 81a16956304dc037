"""A bar for what lasts: shown on a terminal only, and only after a second."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from tfpersist.storage.base import Hold, Publication, Sink

# Seconds before anything is shown.
PATIENCE = 1.0


def _nothing(size: int) -> None:
    """Show nothing."""


@contextmanager
def progress(doing: str, total: int | Callable[[], int]) -> Iterator[Callable[[int], None]]:
    """Show how far some work has come.

    Args:
        doing: what is being done, such as "Saving model.ckpt-5".
        total: its bytes, or 0 where they are not known; or what gives them when they are shown.

    Returns:
        A function to be told how many bytes more are done.

    Example:
        >>> with progress("Saving model.ckpt-5", 100) as done:
        ...     done(100)
    """
    shown = threading.current_thread() is threading.main_thread() and sys.stderr.isatty()
    if not shown:
        yield _nothing
        return
    bar = _Bar(doing, total() if callable(total) else total)
    try:
        yield bar.add
    finally:
        bar.close()


@attrs.define(eq=False)
class _Bar:
    doing: str
    total: int
    start: float = attrs.field(factory=time.monotonic)
    done: int = 0
    _stop: Callable[[], None] | None = None
    _update: Callable[[int], None] = _nothing
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def add(self, size: int) -> None:
        # Several shards may be written at once.
        with self._lock:
            self.done += size
            if self._stop is None and time.monotonic() - self.start > PATIENCE:
                self._show()
            self._update(self.done)

    def close(self) -> None:
        if self._stop is not None:
            self._stop()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        shown = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            transient=True,
        )
        task = shown.add_task(self.doing, total=self.total or None)
        shown.start()
        self._stop = shown.stop
        self._update = lambda done: shown.update(task, completed=done)


@attrs.frozen(eq=False)
class Watched:
    """A publication that tells how far its writing has come.

    Args:
        publication: where the files go.
        done: is told of the bytes of each write.
    """

    publication: Publication
    done: Callable[[int], None]

    def create(self, name: str) -> Sink:
        """Begin a file."""
        sink = self.publication.create(name)
        return sink if self.done is _nothing else _WatchedSink(sink, self.done)

    def link(self, hold: Hold, name: str) -> None:
        """Let a file appear under one more name."""
        self.publication.link(hold, name)

    def discard(self, name: str, *, held: Hold | None = None) -> None:
        """Let a file go."""
        self.publication.discard(name, held=held)


@attrs.frozen(eq=False)
class _WatchedSink:
    sink: Sink
    done: Callable[[int], None]

    def reserve(self, size: int) -> None:
        self.sink.reserve(size)

    def write(self, data: memoryview | bytes) -> None:
        self.sink.write(data)
        self.done(memoryview(data).nbytes)
