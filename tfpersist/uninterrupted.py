"""Keep signals waiting while variables are assigned, so that Ctrl-C cannot stop it half-way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

# As plain numbers, and once: `valid_signals()` takes 50 µs, a sixth of a small restore.
_NUMBERS = tuple(map(int, signal.valid_signals()))


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let the Python handlers of all signals wait until the end of a `with` block.

    Python calls them in the main thread, between any two of its instructions; the one for Ctrl-C
    raises KeyboardInterrupt there. The signals that came are handled at the end, in their order.
    In another thread nothing is done, because no handler is called there.

    Example:
        >>> import signal
        >>> done = []
        >>> try:
        ...     with uninterrupted():
        ...         signal.raise_signal(signal.SIGINT)
        ...         done.append("all of it")
        ... except KeyboardInterrupt:
        ...     done
        ['all of it']
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[Callable[[], object]] = []
    handlers: dict[int, Any] = {}

    def wait(number: int, frame: FrameType | None) -> None:
        came.append(partial(handlers[number], number, frame))

    def give_back(number: int, handler: Any) -> None:
        # The block itself may have set another one.
        if signal.getsignal(number) is wait:
            signal.signal(number, handler)

    try:
        for number in _NUMBERS:
            handler = signal.getsignal(number)
            if callable(handler):
                handlers[number] = handler
                signal.signal(number, wait)
        yield
    finally:
        try:
            _all([partial(give_back, *one) for one in handlers.items()])
        finally:
            _all(came)


def _all(calls: Sequence[Callable[[], object]]) -> None:
    """Call all functions, also if one raises, as handlers do; then raise the last error."""
    if calls:
        try:
            calls[0]()
        finally:
            _all(calls[1:])
