"""Python's garbage collection, while something makes very many objects."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Let no garbage be collected: nothing that is made meanwhile is a cycle of references.

    A collection goes through all that TensorFlow keeps, too, and takes longer than to freeze a
    graph of many nodes, or to restore 20,000 variables.

    Example:
        >>> with uncollected():
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
