"""The private part of Keras that tells `fit` where to begin; tested on both ends of the range."""

from __future__ import annotations

from typing import Any


def begin_at_epoch(model: Any, epoch: int | None) -> None:
    """Let the `fit` that is beginning skip epochs, as keras.callbacks.BackupAndRestore does.

    Args:
        model: the model.
        epoch: the first epoch to run; None for the one that `fit` is given.
    """
    model._initial_epoch = epoch
