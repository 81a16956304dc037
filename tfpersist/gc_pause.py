"""Pause Python's garbage collection while something makes many objects."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collection inside a `with` block.

    A collection also visits all objects of TensorFlow. It takes longer than to freeze a graph of
    many nodes or to restore 20,000 variables. Use this where no cycles of references are made.

    Example:
        >>> with gc_paused():
        ...     gc.isenabled()
        False
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
