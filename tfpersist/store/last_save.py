"""One last save when a signal asks the process to end, and then the signal's own course.

Python calls a signal's handler in the main thread, between any two steps of it. Where that thread
is inside of this package, it may hold a lock that the last save needs; then the signal is served
at the end of the save that it came in, or sent again when the thread has left. TensorFlow's own
calls are never cut in two: a training step, be it one of `session.run`, of a tf.function or of
`fit`, is done or not begun.

A forked process has the handlers of the one that trains, but not its model: what it holds is as old
as the fork. A signal that it gets takes its own course there, and nothing is saved.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, ParamSpec, TypeVar

import attrs

from tfpersist.errors import ArgumentError, UnsupportedError, value_text
from tfpersist.tf.targets.adapt import adapt
from tfpersist.tf.targets.cluster import refuse_alone
from tfpersist.tf.targets.modes import untraced
from tfpersist.tf.targets.steps import counted_by, step_of

_Result = TypeVar("_Result")
_Arguments = ParamSpec("_Arguments")

_PAUSE = 0.01
_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
# These run the user's models and hold no lock meanwhile, perhaps all the time.
_RUNNING = frozenset(
    {
        "tfpersist.frozen.model",
        "tfpersist.tf.open_graph.graph_model",
        "tfpersist.tf.run.execute",
        "tfpersist.store.last_save",
    }
)


@attrs.define(eq=False)
class SignalSave:
    """The last save that a signal will cause; a context manager, at whose end it will not.

    Args:
        save: saves what is to be saved.
        number: the signal.

    Example:
        >>> import signal
        >>> import numpy as np, tfpersist as tfp
        >>> store = tfp.ModelStore("memory://doc/last_save")
        >>> with store.save_on_signal({"v": np.zeros(2)}, signal.SIGUSR1) as last_save:
        ...     last_save.number == signal.SIGUSR1
        True
    """

    save: Callable[[], None]
    number: int
    _handler: Handler | None = attrs.field(default=None, init=False)

    def begin(self) -> SignalSave:
        """Take over the signal, or share it with the saves that have taken it over already.

        Raises:
            UnsupportedError: this is not the main thread, or no signal that can be handled.

        Returns:
            This save, so that it can be cancelled.

        Example:
            >>> import signal
            >>> saved = []
            >>> save = SignalSave(lambda: saved.append("model"), signal.SIGUSR1).begin()
            >>> save.cancel()
        """
        try:
            self._handler = _handler_of(self.number)
        except (ValueError, OSError) as error:
            raise UnsupportedError(
                f"signal {self.number!r} cannot be handled here: {error}",
                advice="Call save_on_signal in the main thread, with signal.SIGTERM or another"
                " signal that can be caught.",
            ) from error
        self._handler.saves.append(self.save)
        return self

    def cancel(self) -> None:
        """Restore the earlier handler of the signal. Calling it twice is allowed.

        Example:
            >>> import signal
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/cancel")
            >>> store.save_on_signal({"v": np.zeros(2)}, signal.SIGUSR1).cancel()
        """
        handler, self._handler = self._handler, None
        if handler is not None:
            with suppress(ValueError):
                handler.saves.remove(self.save)
            handler.give_back()

    def __enter__(self) -> SignalSave:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()


@attrs.define(eq=False)
class Handler:
    """The handler of a signal that causes last saves.

    Args:
        number: the signal.
        before: the handler that was there; None where it was not one of Python's.
        saves: the last saves, in the order of their beginning.
        process: the only process that they are for.
    """

    number: int
    before: Any = attrs.field(init=False)
    saves: list[Callable[[], None]] = attrs.field(factory=list, init=False)
    process: int = attrs.field(factory=os.getpid, init=False)

    def __attrs_post_init__(self) -> None:
        self.before = signal.signal(self.number, self.arrived)

    def arrived(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal, now or when the main thread has left this package."""
        if self.process != os.getpid():
            self.saves.clear()
        if not self.saves or not _inside(frame):
            self.serve(frame)
        elif self not in _WAITING:
            _WAITING.append(self)
            threading.Thread(target=self._watch, name="tfpersist", daemon=True).start()

    def serve(self, frame: FrameType | None = None) -> None:
        """Save, and let the signal take its course."""
        # Whatever comes of the saves, a second signal takes its own course at once.
        saves, self.saves = self.saves[::-1], []
        self.give_back()
        for save in saves:
            try:
                save()
            except Exception:
                traceback.print_exc(file=sys.stderr)
        if callable(self.before):
            self.before(self.number, frame)
        elif self.before != signal.SIG_IGN:
            signal.signal(self.number, signal.SIG_DFL)
            os.kill(os.getpid(), self.number)

    def give_back(self) -> None:
        """Put the handler back that was there, if nothing is to be saved and nobody did so since.

        Where that cannot be done, as in another thread, this one lets every signal take its course.
        """
        if not self.saves and signal.getsignal(self.number) == self.arrived:
            with suppress(ValueError):
                signal.signal(self.number, signal.SIG_DFL if self.before is None else self.before)

    def _watch(self) -> None:
        main = threading.main_thread().ident
        while self in _WAITING:
            time.sleep(_PAUSE)
            if not _inside(sys._current_frames().get(main or 0)) and _claim(self):
                os.kill(os.getpid(), self.number)


# Signals that came while the main thread was inside; whoever takes one out of here serves it.
_WAITING: list[Handler] = []


def save_on_signal(
    target: object,
    signum: int,
    step: Any,
    *,
    wait: Callable[[], None],
    save: Callable[..., object],
) -> SignalSave:
    """Save a target once more when a signal comes, as `ModelStore.save_on_signal` says.

    Args:
        target: what is saved.
        signum: the signal.
        step: the training step, or a function that returns it; None to find it out.
        wait: waits for the saves that are under way.
        save: saves a target, with its step and its metrics.
    """

    refuse_alone(target)

    def save_now() -> None:
        number, metrics = None, None
        with _printed():
            number, metrics = _progress_of(target, step)
        with _printed():
            wait()
        save(target, number, metrics)

    if not isinstance(signum, int):
        raise ArgumentError(
            "signum must be the number of a signal",
            expected="such as signal.SIGTERM",
            found=value_text(signum),
        )
    return SignalSave(lambda: untraced(save_now), int(signum)).begin()


def _progress_of(target: object, step: Any) -> tuple[int | None, Mapping[str, float] | None]:
    """Return the step of a training, and how far it has come besides."""
    number = step() if callable(step) else step
    if number is not None:
        return step_of(number, adapt(target)), None
    callbacks = sys.modules.get("tfpersist.tf.training.callbacks")
    number, metrics = (None, None) if callbacks is None else callbacks.progress_of(target)
    return counted_by(adapt(target)) if number is None else number, metrics


@contextmanager
def _printed() -> Iterator[None]:
    """Print an error that must not cost the last save."""
    try:
        yield
    except Exception:
        traceback.print_exc(file=sys.stderr)


def served(save: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Serve a signal that came during a save at the end of that save."""

    @functools.wraps(save)
    def wrapped(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        try:
            return save(*arguments, **named)
        finally:
            serve()

    return wrapped


def serve() -> None:
    """Serve the signals that came during a save, now that it is over."""
    if threading.current_thread() is threading.main_thread():
        for waiting in list(_WAITING):
            if _claim(waiting):
                waiting.serve()


def _handler_of(number: int) -> Handler:
    """Return the handler of a signal if it is of this kind and process, else a new one."""
    present = getattr(signal.getsignal(number), "__self__", None)
    if not isinstance(present, Handler) or present.process != os.getpid():
        return Handler(number)
    # Only the main thread may: signal.signal says so where this is another.
    signal.signal(number, present.arrived)
    return present


def _claim(waiting: Handler) -> bool:
    try:
        _WAITING.remove(waiting)
    except ValueError:
        return False
    return True


def _inside(frame: FrameType | None) -> bool:
    """Return whether a thread is in a part of this package that may hold a lock."""
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if frame.f_code.co_filename.startswith(_FOLDER) and name not in _RUNNING:
            return True
        frame = frame.f_back
    return False


if hasattr(os, "register_at_fork"):
    # They came to the process that was forked.
    os.register_at_fork(after_in_child=_WAITING.clear)
