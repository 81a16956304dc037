"""The private parts of Keras that tell `fit` where to begin, and whether the file that is being
loaded is trusted; tested on both ends of the range.
"""

from __future__ import annotations

from typing import Any


def begin_at_epoch(model: Any, epoch: int | None) -> None:
    """Let the `fit` that is beginning skip epochs, as keras.callbacks.BackupAndRestore does.

    Args:
        model: the model.
        epoch: the first epoch to run; None for the one that `fit` is given.
    """
    model._initial_epoch = epoch


def in_safe_mode() -> bool | None:
    """Tell what `safe_mode` says where Keras makes an object of a config; None elsewhere."""
    from keras.src.saving import serialization_lib

    mode: bool | None = serialization_lib.in_safe_mode()
    return mode
