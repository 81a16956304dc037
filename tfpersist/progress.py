"""A bar for what lasts: shown on a terminal only, and only after a second."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from tfpersist.storage.base import Hold, Publication, Sink

# Seconds before anything is shown, and between two looks at what another thread does.
PATIENCE = 1.0
_LOOK = 0.1


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
    if not sys.stderr.isatty():
        yield _nothing
        return
    work = _Work(doing, total() if callable(total) else total)
    bar = _Bar() if threading.current_thread() is threading.main_thread() else None
    lock = threading.Lock()

    def add(size: int) -> None:
        # Several shards may be written at once.
        with lock:
            work.done += size
            if bar is not None:
                bar.look(work)

    try:
        if bar is None:
            _ELSEWHERE[threading.get_ident()] = work
        yield add
    finally:
        if bar is None:
            del _ELSEWHERE[threading.get_ident()]
        else:
            bar.close()


@contextmanager
def awaited(thread: Callable[[], threading.Thread | None]) -> Iterator[Callable[[], float | None]]:
    """Show how far another thread has come while the main thread waits for it.

    Args:
        thread: gives the thread that works now; None for none.

    Returns:
        A function to be called before each wait, which says how long that may last, in seconds;
        None for as long as it takes.

    Example:
        >>> with awaited(lambda: None) as look:
        ...     look()
    """
    if threading.current_thread() is not threading.main_thread() or not sys.stderr.isatty():
        yield lambda: None
        return
    # At the end of a process no thread can be started that would draw it.
    bar = _Bar(draws_itself=False)

    def look() -> float:
        working = thread()
        work = _ELSEWHERE.get(working.ident or 0) if working is not None else None
        if work is not None:
            bar.look(work)
        return _LOOK

    try:
        yield look
    finally:
        bar.close()


@attrs.define(eq=False)
class _Work:
    doing: str
    total: int
    done: int = 0


# What threads other than the main one are doing.
_ELSEWHERE: dict[int, _Work] = {}


@attrs.define(eq=False)
class _Bar:
    draws_itself: bool = True
    start: float = attrs.field(factory=time.monotonic)
    _stop: Callable[[], None] | None = None
    _update: Callable[[_Work], None] | None = None

    def look(self, work: _Work) -> None:
        if self._update is None and time.monotonic() - self.start > PATIENCE:
            self._show()
        if self._update is not None:
            self._update(work)

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
            auto_refresh=self.draws_itself,
        )
        task = shown.add_task("", total=None)
        shown.start()
        self._stop = shown.stop
        self._update = lambda work: shown.update(
            task,
            description=work.doing,
            total=work.total or None,
            completed=work.done,
            refresh=not self.draws_itself,
        )


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
