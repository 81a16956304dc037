"""One last save when a signal asks the process to end, and then the signal's own course.

Python calls a signal's handler in the main thread, between any two steps of it. Where that thread
is inside of this package, it may hold a lock that the last save needs; then the signal is served
at the end of the save that it came in, or sent again when the thread has left. TensorFlow's own
calls are never cut in two: a training step, be it one of `session.run`, of a tf.function or of
`fit`, is done or not begun.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import attrs

from tfpersist.errors import UnsupportedError

_PAUSE = 0.01
_FOLDER = os.path.join(os.path.dirname(__file__), "")
# These run the user's models and hold no lock meanwhile, perhaps all the time.
_RUNNING = frozenset(
    {"tfpersist.frozen", "tfpersist.tf.graph_model", "tfpersist.tf.execute", "tfpersist.preemption"}
)


@attrs.define(eq=False)
class SignalSave:
    """The last save that a signal will cause; a context manager, at whose end it will not.

    Args:
        save: saves what is to be saved.
        number: the signal.
    """

    save: Callable[[], None]
    number: int
    _before: Any = attrs.field(default=None, init=False)
    _active: bool = attrs.field(default=False, init=False)

    def begin(self) -> SignalSave:
        """Take over the signal.

        Raises:
            UnsupportedError: this is not the main thread, or no signal that can be handled.
        """
        try:
            self._before = signal.signal(self.number, self._arrived)
        except (ValueError, OSError) as error:
            raise UnsupportedError(
                f"signal {self.number!r} cannot be handled here: {error}",
                advice="Call save_on_signal in the main thread, with signal.SIGTERM or another"
                " signal that can be caught.",
            ) from error
        self._active = True
        return self

    def cancel(self) -> None:
        """Give the signal back; doing so twice does no harm.

        Example:
            >>> import signal
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/cancel")
            >>> store.save_on_signal({"v": np.zeros(2)}, signal.SIGUSR1).cancel()
        """
        if self._active:
            self._active = False
            signal.signal(self.number, signal.SIG_DFL if self._before is None else self._before)

    def __enter__(self) -> SignalSave:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if not _inside(frame):
            self.serve(frame)
        elif self not in _WAITING:
            _WAITING.append(self)
            threading.Thread(target=self._watch, name="tfpersist", daemon=True).start()

    def serve(self, frame: FrameType | None = None) -> None:
        """Save, and let the signal take its course."""
        # Whatever comes of the save, a second signal takes its own course at once.
        self.cancel()
        try:
            self.save()
        except Exception:
            traceback.print_exc(file=sys.stderr)
        if callable(self._before):
            self._before(self.number, frame)
        elif self._before != signal.SIG_IGN:
            os.kill(os.getpid(), self.number)

    def _watch(self) -> None:
        main = threading.main_thread().ident
        while self in _WAITING:
            time.sleep(_PAUSE)
            if not _inside(sys._current_frames().get(main or 0)) and _claim(self):
                os.kill(os.getpid(), self.number)


# Signals that came while the main thread was inside; whoever takes one out of here serves it.
_WAITING: list[SignalSave] = []


def serve() -> None:
    """Serve the signals that came during a save, now that it is over."""
    if threading.current_thread() is threading.main_thread():
        for waiting in list(_WAITING):
            if _claim(waiting):
                waiting.serve()


def _claim(waiting: SignalSave) -> bool:
    try:
        _WAITING.remove(waiting)
    except ValueError:
        return False
    return True


def _inside(frame: FrameType | None) -> bool:
    """Whether a thread is in a part of this package that may hold a lock."""
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if frame.f_code.co_filename.startswith(_FOLDER) and name not in _RUNNING:
            return True
        frame = frame.f_back
    return False
