"""Save into a store while Keras' `fit` runs, and resume from the store.

Each checkpoint has the progress of the training as two metrics: `epoch`, the number of complete
epochs, and `batch`, the number of complete batches of the next epoch.
"""

from __future__ import annotations

import functools
import math
import warnings
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal

import attrs
import numpy as np

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.errors import (
    CheckpointNotFoundError,
    SaveError,
    value_text,
)
from tfpersist.matching.plans.report import RestoreReport
from tfpersist.tf.internals import fitting
from tfpersist.tf.training import data_facts
from tfpersist.tf.training.data_of_fit import DataOfFit
from tfpersist.tf.training.fit_state import FitState, Progress
from tfpersist.tf.training.other_callbacks import OtherCallbacks
from tfpersist.tf.training.seeds import Seeds, as_generators
from tfpersist.tf.training.training_store import TrainingStore

Mode = Literal["auto", "min", "max"]
EPOCH, BATCH = "epoch", "batch"

# The callback of each model whose `fit` runs now.
_RUNNING: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


@attrs.frozen
class _Asked:
    """The options of a callback; see `callback`."""

    every: int | str
    monitor: str | None
    mode: Mode
    resume: bool | str
    generators: tuple[Any, ...]
    strict: bool


def callback(
    store: TrainingStore,
    every: int | str,
    monitor: str | None,
    mode: Mode,
    *,
    resume: bool | str = True,
    generators: Iterable[Any] = (),
    strict: bool = False,
) -> Any:
    """Return the callback; see `ModelStore.callback`.

    Args:
        store: the store to save into.
        every: "epoch", or a number of batches.
        monitor: the metric that must get better for a save; None to save always.
        mode: whether smaller or larger values are better.
        resume: whether to restore the newest checkpoint first; "weights" for its variables alone.
        generators: random generators of the program.
        strict: whether the first save raises an error if something is not covered.

    Raises:
        SaveError: an argument is wrong.
        ArgumentError: one of `generators` is no random generator.
    """
    if every != "epoch" and (not isinstance(every, int) or isinstance(every, bool) or every < 1):
        raise SaveError(
            "`every` must say how often to save",
            expected='"epoch", or a number of batches, 1 or more',
            found=repr(every),
        )
    if mode not in ("auto", "min", "max"):
        raise SaveError(
            "`mode` must say which values of the metric are better",
            expected='"min", "max" or "auto"',
            found=repr(mode),
        )
    if monitor is not None and not isinstance(monitor, str):
        raise SaveError(
            "`monitor` must be the name of one metric",
            expected='a str such as "val_loss", or None',
            found=value_text(monitor),
        )
    if not isinstance(resume, bool) and resume != "weights":
        raise SaveError(
            "`resume` must say what to restore",
            expected='True, False or "weights"',
            found=value_text(resume),
        )
    extra = as_generators(generators)
    return _callback_class()(store, _Asked(every, monitor, mode, resume, extra, strict))


@functools.cache
def _callback_class() -> type[Any]:
    import keras

    class StoreCallback(keras.callbacks.Callback):
        """Saves the model while `fit` runs, and restores it when `fit` begins."""

        def __init__(self, store: TrainingStore, asked: _Asked) -> None:
            super().__init__()
            self.store = store
            self.every = asked.every
            self.monitor = asked.monitor
            self.larger = _larger_is_better(asked.monitor, asked.mode)
            self.asked = asked
            self.resumed: Checkpoint | None = None
            self.report: RestoreReport | None = None
            self.best: float | None = None
            self.state: FitState | None = None
            self.unsaved = 0
            self.counted = 0
            self.first: int | None = None
            self.metric_names: frozenset[str] = frozenset()

        # tf_keras asks for these.

        def _implements_train_batch_hooks(self) -> bool:
            return True

        def _implements_test_batch_hooks(self) -> bool:
            return False

        def _implements_predict_batch_hooks(self) -> bool:
            return False

        @property
        def progress(self) -> Progress:
            """The progress of the training."""
            return Progress() if self.state is None else self.state.progress

        def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
            beside = fitting.callbacks_beside(self)
            step = self.progress.step
            self.state = FitState(
                self.model,
                Seeds((self.model,), self.asked.generators),
                DataOfFit(self.model, self.params.get("steps")),
                None if beside is None else OtherCallbacks.beside(self, beside),
                self.asked.strict,
                data_facts.of_validation(*fitting.validation_data()),
            )
            self.state.progress = Progress(step=step)
            self.unsaved, self.counted = 0, 0
            self.metric_names = frozenset()
            fitting.begin_at_epoch(self.model, None)
            _RUNNING[self.model] = self
            if self.asked.resume:
                self._restore()
            # This comes after the restore, which quarantines damaged checkpoints.
            self.best = self._best_so_far()

        def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
            # This `fit` has begun at its epoch. The next one must not skip epochs.
            fitting.begin_at_epoch(self.model, None)
            state = self._running
            complete = state.progress.batch if epoch == state.progress.epoch else 0
            state.progress = attrs.evolve(state.progress, epoch=epoch, batch=complete)
            self.counted = complete
            self.first = None
            state.epoch_begins()

        def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            state = self._running
            self.first = batch if self.first is None else self.first
            if not state.trains_as_usual:
                fitting.call_once(self.model, state.train)

        def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            state = self._running
            complete = fitting.batches_complete(
                self.model, batch, first=self.first or 0, steps=self.params.get("steps")
            )
            if complete <= state.progress.batch:
                if state.found is not None and state.left <= 0:
                    state.arrive(self._restore_again)
                return
            self.unsaved += complete - self.counted
            step = state.progress.step + complete - self.counted
            self.counted = complete
            state.progress = Progress(state.progress.epoch, complete, step)
            if self.every != "epoch" and self.unsaved >= int(self.every):
                metrics = _numbers(logs)
                if self.monitor is not None and self.monitor not in metrics:
                    raise _unmeasured(self.monitor, metrics)
                self._save(metrics, logs)

        def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
            state = self._running
            state.progress = Progress(epoch + 1, 0, state.progress.step)
            self.counted = 0
            if self.every == "epoch":
                metrics = _numbers(logs)
                self._check_monitor(metrics)
                if self.monitor is None or self.monitor in metrics:
                    self._save(metrics, logs)

        def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
            fitting.begin_at_epoch(self.model, None)
            _RUNNING.pop(self.model, None)
            self.store.wait()
            if (
                self.monitor is not None
                and self.metric_names
                and self.monitor not in self.metric_names
            ):
                raise _unmeasured(self.monitor, self.metric_names)

        @property
        def _running(self) -> FitState:
            assert self.state is not None
            return self.state

        def _check_monitor(self, metrics: Mapping[str, float]) -> None:
            """Warn after the first epoch if no epoch is likely to measure the metric."""
            first = not self.metric_names
            self.metric_names |= metrics.keys()
            # A later epoch may be the first one with validation. It measures what training does.
            if first and (self.monitor or "").removeprefix("val_") not in {"", *self.metric_names}:
                warnings.warn(f"{_unmeasured(str(self.monitor), metrics)}", stacklevel=2)

        def _save(self, metrics: Mapping[str, float], logs: Mapping[str, Any] | None) -> None:
            if self.monitor is not None and not self._improves(metrics[self.monitor]):
                return
            state = self._running
            state.logs = logs or {}
            self.store.save(state, state.progress.step, {**metrics, **_as_metrics(state.progress)})
            self.unsaved = 0
            if self.monitor is not None:
                self.best = metrics[self.monitor]

        def _improves(self, value: float) -> bool:
            if self.best is None or math.isnan(value):
                return not math.isnan(value)
            return value > self.best if self.larger else value < self.best

        def _best_so_far(self) -> float | None:
            if self.monitor is None or not self.asked.resume:
                return None
            values = [
                checkpoint.metrics.get(self.monitor, math.nan)
                for checkpoint in self.store.checkpoints()
            ]
            numbers = [value for value in values if not math.isnan(value)]
            return (max if self.larger else min)(numbers, default=None)

        def _restore(self) -> None:
            self.resumed = self.report = None
            state = self._running
            try:
                report = self.store.restore(state if self.asked.resume is True else self.model)
            except CheckpointNotFoundError:
                return
            fitting.make_train_function(self.model)
            self.report = report
            self.resumed = Checkpoint(report.checkpoint)
            if state.found is not None:
                state.progress = Progress(**state.found["progress"])
            else:
                state.progress = self._progress_alone(self.resumed)
            epochs = self.params.get("epochs")
            fitting.begin_at_epoch(self.model, state.first_epoch(epochs))
            state.begin(epochs)

        def _progress_alone(self, checkpoint: Checkpoint) -> Progress:
            """Return the progress by the metrics of a checkpoint without more."""
            metrics, batches = checkpoint.metrics, self.params.get("steps")
            epoch, batch = int(metrics.get(EPOCH, 0)), int(metrics.get(BATCH, 0))
            if batches is None:
                # All batches of that epoch may be complete, and Keras cannot end an epoch without
                # a batch. So the epoch begins again.
                batch = 0
            elif batch >= batches:
                epoch, batch = epoch + 1, 0
            return Progress(epoch, batch, checkpoint.step or 0)

        def _restore_again(self) -> None:
            assert self.resumed is not None
            self.store.restore(self.model)
            fitting.make_train_function(self.model)

    return StoreCallback


def progress_of(target: object) -> tuple[int | None, Mapping[str, float] | None]:
    """Return the step and the progress of a model whose `fit` runs with a callback.

    Args:
        target: any object.

    Returns:
        The step, and the progress as metrics; None and None for any other object.
    """
    try:
        running = _RUNNING.get(target)
    except TypeError:
        return None, None
    if running is None:
        return None, None
    progress = running.state.progress_now()
    return progress.step, _as_metrics(progress)


def _as_metrics(progress: Progress) -> Mapping[str, float]:
    """Return the progress as metrics of a checkpoint."""
    return {EPOCH: progress.epoch, BATCH: progress.batch}


def _larger_is_better(monitor: str | None, mode: Mode) -> bool:
    if mode != "auto":
        return mode == "max"
    larger = ("acc", "auc", "precision", "recall", "f1", "iou", "r2")
    last = (monitor or "").removeprefix("val_").lower()
    return any(last.endswith(word) or last.startswith(word) for word in larger)


def _numbers(logs: Mapping[str, Any] | None) -> Mapping[str, float]:
    """Return the metrics that are single numbers; others have, for example, one for each class."""
    numbers = {}
    for name, value in (logs or {}).items():
        with suppress(TypeError, ValueError):
            numbers[name] = float(np.asarray(value).item())
    return numbers


def _unmeasured(monitor: str, names: Iterable[str]) -> SaveError:
    return SaveError(
        f"the training does not measure {monitor!r} as a number, so nothing is saved",
        expected="one of " + ", ".join(sorted(names)),
        advice="Use a metric of this list. Metrics of validation exist only at the end of epochs.",
    )
