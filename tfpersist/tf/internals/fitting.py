"""The private APIs of a running `fit` of Keras and tf_keras."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any


def is_tf_keras(model: Any) -> bool:
    """Return whether a model is of tf_keras."""
    return hasattr(model, "_training_state")


def begin_at_epoch(model: Any, epoch: int | None) -> None:
    """Make the `fit` that is beginning skip epochs, as BackupAndRestore does.

    Args:
        model: a model of Keras or tf_keras.
        epoch: the first epoch to run; None for the `initial_epoch` of `fit`.
    """
    if is_tf_keras(model):
        model._training_state = None if epoch is None else _Begin(epoch)
    else:
        model._initial_epoch = epoch


class _Begin:
    """The object that tf_keras asks for the first epoch and batch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def maybe_load_initial_counters_from_ckpt(self, *_: Any, **named: Any) -> tuple[int, int]:
        """Return the epoch, and its first batch."""
        return self.epoch, 0


def makes_spare_iterators(model: Any) -> bool:
    """Return whether `fit` makes one more iterator at the end of each epoch of known length.

    Keras 3 does so since its `EpochIterator` keeps one iterator for all kinds of epochs.
    """
    if is_tf_keras(model):
        return False
    from keras.src.trainers.epoch_iterator import EpochIterator

    return hasattr(EpochIterator, "_enumerate_iterator")


def steps_at_once(model: Any) -> int:
    """Return how many batches one call of the training function takes."""
    steps: Any = getattr(model, "_steps_per_execution", None)  # of tf_keras, a variable
    if steps is None:
        steps = getattr(model, "steps_per_execution", None) or 1
    return int(steps.numpy() if hasattr(steps, "numpy") else steps)


def batches_complete(model: Any, batch: int, *, first: int, steps: int | None) -> int:
    """Return how many batches of an epoch are complete when a call for the end of some comes.

    Args:
        model: the model.
        batch: what the callback is called with.
        first: what it was called with when the epoch's first batch began.
        steps: the number of batches of the epoch, if it is known.
    """
    at_once = steps_at_once(model)
    if first or at_once == 1 or is_tf_keras(model) or _tells_last_batch():
        return batch + 1
    return batch + at_once if steps is None else min(batch + at_once, steps)


def _tells_last_batch() -> bool:
    """Return whether Keras tells callbacks the last of the batches that it has trained on at once.

    Up to 3.10 it tells the first one, in epochs of known length.
    """
    import keras

    return tuple(map(int, keras.__version__.split(".")[:2])) >= (3, 11)


def steps_of_optimizer(model: Any) -> int | None:
    """Return the steps that the optimizer of a model has taken; None if it counts none."""
    steps: Any = getattr(getattr(model, "optimizer", None), "iterations", None)
    return None if steps is None else int(steps.numpy() if hasattr(steps, "numpy") else steps)


def callbacks_beside(callback: Any) -> Sequence[Any] | None:
    """Return the list of callbacks that is calling one of them; None if there is no such list.

    Keras gives a callback no way to the others. The list is an object that is calling it now.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        callbacks = getattr(owner, "callbacks", None)
        if isinstance(callbacks, list) and any(one is callback for one in callbacks):
            return callbacks
        frame = frame.f_back
    return None


def distributed_dataset() -> Any:
    """Return the dataset of a strategy that the `fit` which calls this reads; None elsewhere.

    Its iterators do not know their dataset. `fit` has it in a variable of its own.
    """
    frame: Any = sys._getframe(1)
    while frame is not None:
        reads = frame.f_locals.get("epoch_iterator") or frame.f_locals.get("data_handler")
        dataset = getattr(reads, "_distributed_dataset", None) or getattr(reads, "_dataset", None)
        if dataset is not None:
            return dataset
        frame = frame.f_back
    return None


def validation_data() -> tuple[Any, int | None]:
    """Return the validation data of the `fit` which calls this, and the steps that it asks for."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        found = frame.f_locals
        if all(name in found for name in ("validation_data", "validation_steps", "epochs")):
            return found["validation_data"], found["validation_steps"]
        frame = frame.f_back
    return None, None


def make_train_function(model: Any) -> None:
    """Make the training function of a model if there is none, as after some restores."""
    if model.train_function is None:
        model.make_train_function()


def call_once(model: Any, train: Any) -> None:
    """Have the training function of a model called by another one, the next time only.

    Args:
        model: the model.
        train: is called with the training function and the iterator, and returns the logs.
    """
    make_train_function(model)  # `train_on_batch` makes it only when it is called
    real = model.train_function

    def once(iterator: Any) -> Any:
        # This comes first, so that the model is as before even if `fit` ends here.
        model.train_function = real
        return train(real, iterator)

    model.train_function = once


def after_once(thing: Any, name: str, work: Callable[[], object]) -> None:
    """Have something done after a method of an object, when it is called the next time only.

    Args:
        thing: the object.
        name: the method.
        work: what is to be done.
    """
    real = getattr(thing, name)
    own = vars(thing).get(name)

    def once(*given: Any, **named: Any) -> None:
        if own is None:
            delattr(thing, name)
        else:
            setattr(thing, name, own)
        real(*given, **named)
        work()

    setattr(thing, name, once)


def metric_variables(model: Any) -> list[Any]:
    """Return the variables of a model's metrics, as many as exist now."""
    found = getattr(model, "metrics_variables", None)
    if found is None:
        found = [one for metric in model.metrics for one in metric.variables]
    return list(found)


def make_metrics(model: Any, spec: Any) -> None:
    """Make the metrics that `fit` makes at its first batch.

    Args:
        model: the model.
        spec: the specs of a batch. No batch of the data is read: that would draw from its seeds.
    """
    import tensorflow as tf

    batch = tf.nest.map_structure(
        lambda one: tf.zeros([n or 1 for n in one.shape], one.dtype), spec
    )
    if hasattr(model, "_symbolic_build"):
        model._symbolic_build(data_batch=batch)
    elif isinstance(batch, tuple) and len(batch) > 1:
        outputs = model(batch[0])
        model.compiled_metrics.build(outputs, batch[1])
        model.compiled_loss.build(outputs)
