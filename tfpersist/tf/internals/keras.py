"""The private parts of Keras and tf-keras that tell `fit` where to begin, whether the file that is
being loaded is trusted, and whether an optimizer has its variables; tested on both ends of the
range.
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


def is_optimizer_built(optimizer: Any) -> bool:
    """Tell whether an optimizer of Keras or tf-keras has the variables that it trains with."""
    for name in ("built", "_built", "_slots"):
        if hasattr(optimizer, name):
            return bool(getattr(optimizer, name))
    return False


def build_optimizer(optimizer: Any, variables: list[Any]) -> None:
    """Let an optimizer make its variables; the legacy ones of tf-keras do so in private."""
    if hasattr(optimizer, "build"):
        optimizer.build(variables)
    else:
        optimizer._create_all_weights(variables)
