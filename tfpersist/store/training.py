"""What a store does around a training loop: saves in the background and at the loop's events."""

from __future__ import annotations

import functools
import operator
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast

import attrs

from tfpersist.errors import ArgumentError, SaveError, value_text
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.tf.targets.adapt import adapt
from tfpersist.tf.targets.modes import untraced
from tfpersist.tf.targets.steps import counted_by, step_of

if TYPE_CHECKING:
    from datetime import timedelta

    from tfpersist.checkpoint.checkpoint import Checkpoint
    from tfpersist.store.background import Worker
    from tfpersist.store.last_save import SignalSave
    from tfpersist.tf.targets.target import Captured
    from tfpersist.tf.training.training_store import TrainingStore

_Store = TypeVar("_Store", bound="Training")
_Result = TypeVar("_Result")
_Given = ParamSpec("_Given")


def _room(value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or operator.index(value) < 0:
        raise SaveError(
            "`in_flight` says how many saves may be under way in the background",
            expected="a whole number: 0 for none, or 1 or more",
            found=repr(value),
        )
    return operator.index(value)


@attrs.frozen(eq=False, slots=False)
class Training:
    """The part of a store that knows of training loops.

    Args:
        in_flight: how many saves may be under way in the background; 0 where every save is over
            when it returns.
    """

    in_flight: int = attrs.field(default=0, converter=_room, kw_only=True)

    def background(self: _Store, in_flight: int = 1) -> _Store:
        """Save in the background: `save` takes the values as they are and returns at once.

        What it returns is the checkpoint, and whoever looks into it waits; `wait(timeout)` does
        only that, and `done` tells. When `in_flight` saves are under way, the next waits for the
        first of them. An error is raised by the next call of any kind, which then does nothing
        else, and by `close()`. Restoring and listing wait first. All background saves into one
        directory end in the order of their calls. At its end the process waits for them for up to
        `tfpersist.store.background.EXIT_PATIENCE` seconds.

        The values of TensorFlow's variables are shared, not copied, until training changes them:
        a save costs no time for them, and up to one model of memory while it is under way.

        Args:
            in_flight: how many saves may be under way at once.

        Returns:
            A store that saves in the background.

        Raises:
            SaveError: `in_flight` is no number from 1 on.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> with tfp.ModelStore("memory://doc/background").background() as store:
            ...     for step in range(3):
            ...         _ = store.save({"v": np.int32(step)}, step=step)
            >>> store.latest().step
            2
        """
        store = attrs.evolve(self, in_flight=in_flight)
        if not store.in_flight:
            raise SaveError(
                "a background store needs room for a save", expected="1 or more", found=in_flight
            )
        return store

    def wait(self) -> None:
        """Wait for the saves that are under way.

        Raises:
            TFPersistError: one of them has failed.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.ModelStore("memory://doc/wait").background().wait()
        """
        if self.in_flight:
            self._worker.wait()
            self._worker.raise_failure()

    def close(self) -> None:
        """Wait as `wait` does; a `with` block ends so. The store can be used again afterwards.

        Raises:
            TFPersistError: a save has failed.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.ModelStore("memory://doc/close").close()
        """
        self.wait()

    def callback(
        self,
        every: int | Literal["epoch"] = "epoch",
        *,
        monitor: str | None = None,
        mode: Literal["auto", "min", "max"] = "auto",
        resume: bool = True,
    ) -> Any:
        """Make a Keras callback that saves the model while `fit` runs, and resumes.

        When `fit` begins, the newest checkpoint is restored: weights, optimizer, the epoch and the
        batch. Epochs that are done are skipped, and so are the batches of the epoch that was under
        way; the averages that `fit` prints for that epoch are those of the rest of it. Where the
        number of batches is not known, that epoch begins anew. The single numbers that `fit` has
        measured are the metrics of each checkpoint, with the numbers of `epoch`s and `batch`es
        done; its step is the number of steps that the optimizer has taken. The states of random
        generators, such as those of Dropout, are not saved.

        Args:
            every: "epoch", or a number of batches.
            monitor: save only where this metric is better than in every checkpoint so far; epochs
                that do not measure it are passed over. A name that no epoch has measured is warned
                of after the first, and an error at the end.
            mode: whether smaller ("min") or larger ("max") is better; "auto" takes accuracies and
                the like for larger, and all else for smaller.
            resume: restore the newest checkpoint first. A model that is not built cannot be.

        Returns:
            A keras.callbacks.Callback; its `resumed` is the checkpoint that was restored, or None.

        Raises:
            SaveError: the arguments make no sense.

        Example:
            >>> import keras, numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/callback")
            >>> def fit(epochs):
            ...     model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
            ...     model.compile("sgd", "mse")
            ...     data = np.ones((4, 1)), np.ones((4, 1))
            ...     return model.fit(*data, epochs=epochs, verbose=0, callbacks=[store.callback()])
            >>> fit(2).epoch, fit(5).epoch
            ([0, 1], [2, 3, 4])
        """
        from tfpersist.tf.training import callbacks

        return callbacks.callback(self._store, every, monitor, mode, resume=resume)

    def hook(
        self,
        every_steps: int | None = None,
        every_secs: float | str | timedelta | None = None,
        *,
        resume: bool = True,
    ) -> Any:
        """Make a hook for tf.compat.v1.train.MonitoredTrainingSession that saves and resumes.

        After the session was created and initialized, the newest checkpoint is restored, unless
        training has come further by then; the same happens where a session is created anew after
        a failure. A last checkpoint is saved at the end. The graph must count its global step; no
        op is added to it. With several workers give the hook to the chief alone.

        Args:
            every_steps: save when the global step has grown by this.
            every_secs: save when so much time has passed: seconds, a timedelta or a text such as
                "1h"; 600 where neither is given. Where both are, whichever comes first.
            resume: restore the newest checkpoint first.

        Returns:
            A tf.compat.v1.train.SessionRunHook.

        Raises:
            SaveError: the arguments make no sense.

        Example:
            >>> import tensorflow as tf, tfpersist as tfp
            >>> store, v1 = tfp.ModelStore("memory://doc/hook"), tf.compat.v1
            >>> with tf.Graph().as_default():
            ...     step = v1.train.get_or_create_global_step()
            ...     train = v1.assign_add(step, 1)
            ...     hook = store.hook(every_steps=2)
            ...     with v1.train.MonitoredTrainingSession(hooks=[hook]) as session:
            ...         for _ in range(5):
            ...             _ = session.run(train)
            >>> [checkpoint.step for checkpoint in store.checkpoints()]
            [2, 4, 5]
        """
        from tfpersist.tf.training import hooks

        return hooks.hook(self._store, every_steps, every_secs, resume=resume)

    def save_on_signal(self, target: object, signum: int, *, step: Any = None) -> SignalSave:
        """Save once more when a signal asks the process to end; then the signal takes its course.

        That is the handler that was there before, or what the system does by default: the process
        ends, and its exit status is that of the signal. Saves in the background are waited for
        first. If the signal comes while a save is under way, the last one follows it. An error of
        the last save is printed, and the signal takes its course all the same. In a process that is
        forked meanwhile it does so at once, and nothing is saved.

        Args:
            target: what `save` takes.
            signum: the signal, such as `signal.SIGTERM`.
            step: the training step: what `save` takes, or a function without arguments that gives
                it. While `fit` runs with this store's callback, it and the epoch are known, and
                so is the global step of a session's graph. Where it cannot be told, the error is
                printed, and the checkpoint has none.

        Returns:
            A context manager, at whose end the signal is given back; or call `cancel()`.

        Raises:
            ArgumentError: that is no signal.
            UnsupportedError: this is not the main thread, or that signal cannot be handled.

        Example:
            >>> import signal
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/signal")
            >>> def stop(number, frame):
            ...     print("stopped by", signal.Signals(number).name)
            >>> before = signal.signal(signal.SIGUSR1, stop)
            >>> with store.save_on_signal({"v": np.zeros(2)}, signal.SIGUSR1, step=7):
            ...     signal.raise_signal(signal.SIGUSR1)
            stopped by SIGUSR1
            >>> store.latest().step
            7
        """
        from tfpersist.store.last_save import SignalSave

        def save() -> None:
            untraced(lambda: self._save_at_last(target, step))

        if not isinstance(signum, int):
            raise ArgumentError(
                "this is no signal", expected="such as signal.SIGTERM", found=value_text(signum)
            )
        return SignalSave(save, int(signum)).begin()

    def _save_at_last(self, target: object, step: Any) -> None:
        number, metrics = None, None
        with _told():
            number, metrics = _reached(target, step)
        with _told():
            self.wait()
        attrs.evolve(self, in_flight=0).save(target, number, metrics)

    def __enter__(self: _Store) -> _Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif self.in_flight:
            self._worker.wait()

    if TYPE_CHECKING:

        @property
        def _worker(self) -> Worker: ...

        def save(
            self, target: object, step: Any = None, metrics: Mapping[str, float] | None = None
        ) -> Checkpoint: ...

    @property
    def _store(self) -> TrainingStore:
        return cast("TrainingStore", self)


def _reached(target: object, step: Any) -> tuple[int | None, Mapping[str, float] | None]:
    """Tell the step of a training, and how far it has come besides."""
    number = step() if callable(step) else step
    if number is not None:
        return step_of(number, adapt(target)), None
    callbacks = sys.modules.get("tfpersist.tf.training.callbacks")
    number, metrics = (None, None) if callbacks is None else callbacks.progress_of(target)
    return counted_by(adapt(target)) if number is None else number, metrics


@contextmanager
def _told() -> Iterator[None]:
    """Print an error that must not cost the last save."""
    try:
        yield
    except Exception:
        traceback.print_exc(file=sys.stderr)


def served(save: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Let a signal that came during a save take its course at the end of it."""

    @functools.wraps(save)
    def wrapped(*given: _Given.args, **named: _Given.kwargs) -> _Result:
        try:
            return save(*given, **named)
        finally:
            preemption = sys.modules.get("tfpersist.store.last_save")
            if preemption is not None:
                preemption.serve()

    return wrapped


def lasting(captured: Captured) -> list[Item]:
    """Fetch all values now, and copy those that lie in the caller's own memory.

    Args:
        captured: what a save writes.

    Returns:
        Items that stay what they are now.
    """
    held = []
    for item in captured.items:
        value = item.payload.load()
        kept = value.copy() if item.key in captured.borrowed else value
        held.append(attrs.evolve(item, payload=payload_of(kept, item.payload.spec.dtype)))
    return held
