"""Pause Python's garbage collection while something makes many objects."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Pauses:
    """The pauses that have not ended, of all threads.

    Garbage collection is on or off for the whole process. The first pause notes which, and the last
    one restores it. Without a count, a pause that begins while another one ends could leave it off.
    """

    def __init__(self) -> None:
        # A signal handler may begin a pause in a thread that holds the lock.
        self._lock = threading.RLock()
        self._count = 0
        self._was_enabled = False

    def begin(self) -> None:
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._was_enabled = gc.isenabled()
                gc.disable()

    def end(self) -> None:
        with self._lock:
            if self._count == 1 and self._was_enabled:
                gc.enable()
            self._count -= 1


_PAUSES = _Pauses()


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collection inside a `with` block.

    A collection also visits all objects of TensorFlow. It takes longer than to freeze a graph of
    many nodes or to restore 20,000 variables. Use this where no cycles of references are made.
    Blocks may be nested, and several threads may use it at the same time.

    Example:
        >>> with gc_paused():
        ...     gc.isenabled()
        False
    """
    _PAUSES.begin()
    try:
        yield
    finally:
        _PAUSES.end()
