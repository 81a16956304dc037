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
from tfpersist.tf.internals.keras import begin_at_epoch
from tfpersist.tf.training.training_store import TrainingStore

Mode = Literal["auto", "min", "max"]
EPOCH, BATCH = "epoch", "batch"

# The callback of each model whose `fit` runs now.
_RUNNING: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


@attrs.frozen
class Progress:
    """The progress of a training.

    Args:
        epoch: the number of complete epochs.
        batch: the number of complete batches of the next epoch.
    """

    epoch: int = 0
    batch: int = 0


def callback(
    store: TrainingStore, every: int | str, monitor: str | None, mode: Mode, *, resume: bool
) -> Any:
    """Return the callback; see `ModelStore.callback`.

    Args:
        store: the store to save into.
        every: "epoch", or a number of batches.
        monitor: the metric that must get better for a save; None to save always.
        mode: whether smaller or larger values are better.
        resume: whether to restore the newest checkpoint first.

    Raises:
        SaveError: an argument is wrong.
    """
    if every != "epoch" and (not isinstance(every, int) or every < 1):
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
    return _callback_class()(store, every, monitor, mode, resume)


@functools.cache
def _callback_class() -> type[Any]:
    import keras

    class StoreCallback(keras.callbacks.Callback):
        """Saves the model while `fit` runs, and restores it when `fit` begins."""

        def __init__(
            self,
            store: TrainingStore,
            every: int | str,
            monitor: str | None,
            mode: Mode,
            resume: bool,
        ) -> None:
            super().__init__()
            self.store = store
            self.every = every
            self.monitor = monitor
            self.larger = _larger_is_better(monitor, mode)
            self.resume = resume
            self.resumed: Checkpoint | None = None
            self.best: float | None = None
            self.progress = Progress()
            self.unsaved = 0
            self.counted = 0
            self.skipped = 0
            self.metric_names: frozenset[str] = frozenset()

        def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
            self.progress, self.unsaved, self.counted = Progress(), 0, 0
            self.metric_names = frozenset()
            begin_at_epoch(self.model, None)
            _RUNNING[self.model] = self
            if self.resume:
                self._restore()
            # This comes after the restore, which quarantines damaged checkpoints.
            self.best = self._best_so_far()

        def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
            # This `fit` has begun at its epoch. The next one must not skip epochs.
            begin_at_epoch(self.model, None)
            complete = self.progress.batch if epoch == self.progress.epoch else 0
            self.progress = Progress(epoch, complete)
            self.counted = self.skipped = complete

        def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            if batch < self.skipped:
                _skip_next(self.model)

        def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            # With several steps per execution, `batch` is the last batch of them.
            complete = batch + 1
            if complete <= self.skipped:
                return
            self.unsaved += complete - self.counted
            self.counted = complete
            self.progress = Progress(self.progress.epoch, complete)
            if self.every != "epoch" and self.unsaved >= int(self.every):
                metrics = _numbers(logs)
                if self.monitor is not None and self.monitor not in metrics:
                    raise _unmeasured(self.monitor, metrics)
                self._save(metrics)

        def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
            self.progress = Progress(epoch + 1)
            self.counted = self.skipped = 0
            if self.every == "epoch":
                metrics = _numbers(logs)
                self._check_monitor(metrics)
                if self.monitor is None or self.monitor in metrics:
                    self._save(metrics)

        def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
            begin_at_epoch(self.model, None)
            _RUNNING.pop(self.model, None)
            self.store.wait()
            if (
                self.monitor is not None
                and self.metric_names
                and self.monitor not in self.metric_names
            ):
                raise _unmeasured(self.monitor, self.metric_names)

        def _check_monitor(self, metrics: Mapping[str, float]) -> None:
            """Warn after the first epoch if no epoch is likely to measure the metric."""
            first = not self.metric_names
            self.metric_names |= metrics.keys()
            # A later epoch may be the first one with validation. It measures what training does.
            if first and (self.monitor or "").removeprefix("val_") not in {"", *self.metric_names}:
                warnings.warn(f"{_unmeasured(str(self.monitor), metrics)}", stacklevel=2)

        def _save(self, metrics: Mapping[str, float]) -> None:
            if self.monitor is not None and not self._improves(metrics[self.monitor]):
                return
            self.store.save(self.model, self.step(), {**metrics, **self.progress_metrics()})
            self.unsaved = 0
            if self.monitor is not None:
                self.best = metrics[self.monitor]

        def progress_metrics(self) -> Mapping[str, float]:
            """Return the progress as metrics of a checkpoint."""
            return {EPOCH: self.progress.epoch, BATCH: self.progress.batch}

        def step(self) -> int:
            """Return the steps of the optimizer; the complete epochs if there is no optimizer."""
            optimizer = getattr(self.model, "optimizer", None)
            if optimizer is not None:
                return int(optimizer.iterations)
            return self.progress.epoch

        def _improves(self, value: float) -> bool:
            if self.best is None or math.isnan(value):
                return not math.isnan(value)
            return value > self.best if self.larger else value < self.best

        def _best_so_far(self) -> float | None:
            if self.monitor is None or not self.resume:
                return None
            values = [
                checkpoint.metrics.get(self.monitor, math.nan)
                for checkpoint in self.store.checkpoints()
            ]
            numbers = [value for value in values if not math.isnan(value)]
            return (max if self.larger else min)(numbers, default=None)

        def _restore(self) -> None:
            self.resumed = None
            try:
                report = self.store.restore(self.model)
            except CheckpointNotFoundError:
                return
            self.resumed = Checkpoint(report.checkpoint)
            metrics = self.resumed.metrics
            epoch, batch = int(metrics.get(EPOCH, 0)), int(metrics.get(BATCH, 0))
            batches = self.params.get("steps")
            if batches is None:
                # All batches of that epoch may be complete, and Keras cannot end an epoch without
                # a batch. So the epoch begins again.
                batch = 0
            elif batch >= batches:
                epoch, batch = epoch + 1, 0
            self.progress = Progress(epoch, batch)
            begin_at_epoch(self.model, self.progress.epoch)

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
    return (None, None) if running is None else (running.step(), running.progress_metrics())


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


def _skip_next(model: Any) -> None:
    """Make the model skip its next batches, which it was trained on before."""
    train = model.train_function

    def skip(iterator: Any) -> dict[str, Any]:
        # This comes first, so that the model is as before even if `fit` ends here.
        model.train_function = train
        for _ in range(int(model.steps_per_execution)):
            next(iterator)
        return {}

    model.train_function = skip
