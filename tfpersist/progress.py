"""Show a progress bar for long work: on a terminal only, and only after a second."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from tfpersist.errors import printable
from tfpersist.storage.base import Hold, Publication, Sink

# Seconds before a bar is shown, and between two looks at the work of another thread.
PATIENCE = 1.0
_LOOK = 0.1


def _nothing(size: int) -> None:
    """Show nothing."""


@contextmanager
def progress(doing: str, total: int | Callable[[], int]) -> Iterator[Callable[[int], None]]:
    """Show the progress of some work inside a `with` block.

    Args:
        doing: the text beside the bar, such as "Saving model.ckpt-5".
        total: the bytes of the work, 0 if unknown; or a function that returns them.

    Returns:
        A function to call with the number of bytes that were done since the last call.

    Example:
        >>> with progress("Saving model.ckpt-5", 100) as done:
        ...     done(100)
    """
    if not sys.stderr.isatty():
        yield _nothing
        return
    # The names of checkpoints come from directories.
    work = _Work(printable(doing), total() if callable(total) else total)
    bar = _Bar() if threading.current_thread() is threading.main_thread() else None
    lock = threading.Lock()

    def add(size: int) -> None:
        # Several threads may write shards at once.
        with lock:
            work.done += size
            if bar is not None:
                bar.look(work)

    try:
        if bar is None:
            _WORK_OF_THREADS[threading.get_ident()] = work
        yield add
    finally:
        if bar is None:
            del _WORK_OF_THREADS[threading.get_ident()]
        else:
            bar.close()


@contextmanager
def awaited(thread: Callable[[], threading.Thread | None]) -> Iterator[Callable[[], float | None]]:
    """Show the progress of another thread while the main thread waits for it.

    Args:
        thread: returns the thread that is working now, or None.

    Returns:
        A function to call before each wait. It returns how long the wait may last in seconds, or
        None for any time.

    Example:
        >>> with awaited(lambda: None) as look:
        ...     look()
    """
    if threading.current_thread() is not threading.main_thread() or not sys.stderr.isatty():
        yield lambda: None
        return
    # At the end of a process no thread can be started, so this thread draws the bar.
    bar = _Bar(draws_itself=False)

    def look() -> float:
        working = thread()
        work = _WORK_OF_THREADS.get(working.ident or 0) if working is not None else None
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


# The work of each thread that is not the main thread.
_WORK_OF_THREADS: dict[int, _Work] = {}


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
    """A publication that reports the progress of its writes.

    Args:
        publication: the publication that writes the files.
        done: called with the number of bytes of each write.
    """

    publication: Publication
    done: Callable[[int], None]

    @property
    def committed(self) -> bool:
        """True if the files are published."""
        return self.publication.committed

    @property
    def version(self) -> object | None:
        """The version of the directory when it is over."""
        return self.publication.version

    @property
    def attempt(self) -> int:
        """The part that the names of data files must hold; see `Publication.attempt`."""
        return self.publication.attempt

    def expect(self, name: str) -> None:
        """Note what a file is now; see `Publication.expect`."""
        self.publication.expect(name)

    def create(self, name: str) -> Sink:
        """Create a file; see `Publication.create`."""
        sink = self.publication.create(name)
        return sink if self.done is _nothing else _WatchedSink(sink, self.done)

    def link(self, hold: Hold, name: str) -> None:
        """Link a file under another name; see `Publication.link`."""
        self.publication.link(hold, name)

    def discard(self, name: str, *, held: Hold | None = None) -> None:
        """Remove a file; see `Publication.discard`."""
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
