"""A Keras callback that saves into a store while `fit` runs, and resumes from it.

How far a training has come is noted beside each checkpoint, as two metrics: `epoch`, the epochs
that are done, and `batch`, the batches of the next one that are done.
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

# By model that is being fitted: the callback that knows how far it has come.
_FITTED: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


@attrs.frozen
class Progress:
    """How far a training has come.

    Args:
        epoch: the epochs that are done.
        batch: the batches of the next epoch that are done.
    """

    epoch: int = 0
    batch: int = 0


def callback(
    store: TrainingStore, every: int | str, monitor: str | None, mode: Mode, *, resume: bool
) -> Any:
    """Make the callback; `ModelStore.callback` says what it does.

    Raises:
        SaveError: the arguments make no sense.
    """
    if every != "epoch" and (not isinstance(every, int) or every < 1):
        raise SaveError(
            "a callback saves at the end of epochs or every so many batches",
            expected='"epoch" or a number of batches from 1 up',
            found=repr(every),
        )
    if mode not in ("auto", "min", "max"):
        raise SaveError(
            "a metric is better when it is smaller or when it is larger",
            expected='mode "min", "max" or "auto"',
            found=repr(mode),
        )
    if monitor is not None and not isinstance(monitor, str):
        raise SaveError(
            "a callback watches one metric",
            expected='its name, such as monitor="val_loss", or None',
            found=value_text(monitor),
        )
    return _kind()(store, every, monitor, mode, resume)


@functools.cache
def _kind() -> type[Any]:
    import keras

    class StoreCallback(keras.callbacks.Callback):  # type: ignore[misc]
        """Saves the model that is being fitted, and restores it before."""

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
            self.seen = 0
            self.skipped = 0
            self.measures: frozenset[str] = frozenset()

        def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
            self.progress, self.unsaved, self.seen = Progress(), 0, 0
            self.measures = frozenset()
            begin_at_epoch(self.model, None)
            _FITTED[self.model] = self
            if self.resume:
                self._restore()
            # What the restore has set aside is not among them any more.
            self.best = self._best_so_far()

        def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
            # It has begun there; the next `fit`, whatever ends this one, begins where it says.
            begin_at_epoch(self.model, None)
            done = self.progress.batch if epoch == self.progress.epoch else 0
            self.progress = Progress(epoch, done)
            self.seen = self.skipped = done

        def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            if batch < self.skipped:
                _skip_next(self.model)

        def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            # With several steps to an execution the batch is the last of them.
            done = batch + 1
            if done <= self.skipped:
                return
            self.unsaved += done - self.seen
            self.seen = done
            self.progress = Progress(self.progress.epoch, done)
            if self.every != "epoch" and self.unsaved >= int(self.every):
                measured = _numbers(logs)
                if self.monitor is not None and self.monitor not in measured:
                    raise _unmeasured(self.monitor, measured)
                self._save(measured)

        def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
            self.progress = Progress(epoch + 1)
            self.seen = self.skipped = 0
            if self.every == "epoch":
                measured = _numbers(logs)
                self._note(measured)
                if self.monitor is None or self.monitor in measured:
                    self._save(measured)

        def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
            begin_at_epoch(self.model, None)
            _FITTED.pop(self.model, None)
            self.store.wait()
            if self.monitor is not None and self.measures and self.monitor not in self.measures:
                raise _unmeasured(self.monitor, self.measures)

        def _note(self, measured: Mapping[str, float]) -> None:
            """Say at the first epoch already what is likely never to be measured."""
            first = not self.measures
            self.measures |= measured.keys()
            # Validation may be left to later epochs; it measures what training does.
            if first and (self.monitor or "").removeprefix("val_") not in {"", *self.measures}:
                warnings.warn(f"{_unmeasured(str(self.monitor), measured)}", stacklevel=2)

        def _save(self, measured: Mapping[str, float]) -> None:
            if self.monitor is not None and not self._improves(measured[self.monitor]):
                return
            self.store.save(self.model, self.step(), {**measured, **self.done()})
            self.unsaved = 0
            if self.monitor is not None:
                self.best = measured[self.monitor]

        def done(self) -> Mapping[str, float]:
            """How far training has come, as it is noted beside a checkpoint."""
            return {EPOCH: self.progress.epoch, BATCH: self.progress.batch}

        def step(self) -> int:
            """The steps that the optimizer has taken; the epochs where there is none."""
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
            known = [value for value in values if not math.isnan(value)]
            return (max if self.larger else min)(known, default=None)

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
                # Keras cannot end an epoch of which no batch was run, and all may have been.
                batch = 0
            elif batch >= batches:
                epoch, batch = epoch + 1, 0
            self.progress = Progress(epoch, batch)
            begin_at_epoch(self.model, self.progress.epoch)

    return StoreCallback


def progress_of(target: object) -> tuple[int | None, Mapping[str, float] | None]:
    """Give the step of a model that is being fitted, and how far that has come."""
    try:
        running = _FITTED.get(target)
    except TypeError:
        return None, None
    return (None, None) if running is None else (running.step(), running.done())


def _larger_is_better(monitor: str | None, mode: Mode) -> bool:
    if mode != "auto":
        return mode == "max"
    larger = ("acc", "auc", "precision", "recall", "f1", "iou", "r2")
    last = (monitor or "").removeprefix("val_").lower()
    return any(last.endswith(word) or last.startswith(word) for word in larger)


def _numbers(logs: Mapping[str, Any] | None) -> Mapping[str, float]:
    """Give what was measured, but for what is no single number, as a score for each class."""
    found = {}
    for name, value in (logs or {}).items():
        with suppress(TypeError, ValueError):
            found[name] = float(np.asarray(value).item())
    return found


def _unmeasured(monitor: str, measured: Iterable[str]) -> SaveError:
    return SaveError(
        f"the training does not measure {monitor!r} as a number, so nothing is saved",
        expected="one of " + ", ".join(sorted(measured)),
        advice="Name a metric of this list; those of validation exist at the end of epochs only.",
    )


def _skip_next(model: Any) -> None:
    """Let the model pass over the next batches that it is given: it was trained on them already."""
    train = model.train_function

    def skip(iterator: Any) -> dict[str, Any]:
        # At once, so that whatever ends this `fit` leaves the model as it was.
        model.train_function = train
        for _ in range(int(model.steps_per_execution)):
            next(iterator)
        return {}

    model.train_function = skip
