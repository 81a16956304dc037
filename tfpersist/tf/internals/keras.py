"""The private APIs of Keras and tf-keras: first epoch, safe mode, optimizers, name scopes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def begin_at_epoch(model: Any, epoch: int | None) -> None:
    """Make the `fit` that is beginning skip epochs, as keras.callbacks.BackupAndRestore does.

    Args:
        model: the model.
        epoch: the first epoch to run; None for the `initial_epoch` of `fit`.
    """
    model._initial_epoch = epoch


def in_safe_mode() -> bool | None:
    """Return `safe_mode` while Keras makes an object from a config; None at other times."""
    from keras.src.saving import serialization_lib

    mode: bool | None = serialization_lib.in_safe_mode()
    return mode


def is_optimizer_built(optimizer: Any) -> bool:
    """Return whether an optimizer of Keras or tf-keras has made its variables."""
    for name in ("built", "_built", "_slots"):
        if hasattr(optimizer, name):
            return bool(getattr(optimizer, name))
    return False


def build_optimizer(optimizer: Any, variables: list[Any]) -> None:
    """Make an optimizer create its variables.

    Args:
        optimizer: one of Keras or tf-keras; the legacy ones have a private method for it.
        variables: what it is to train.
    """
    if hasattr(optimizer, "build"):
        optimizer.build(variables)
    else:
        optimizer._create_all_weights(variables)
    # An optimizer of tf-keras keeps the children that it had when it was first asked for them.
    vars(optimizer).pop("_coalesced_children", None)


@contextmanager
def name_scopes_restored() -> Iterator[None]:
    """Have the same name scopes of Keras open after the block as before it.

    Keras opens the name scope of a layer before TensorFlow checks its name. If TensorFlow refuses
    the name, the scope of the model stays open, and is part of the paths of all later variables.
    """
    state: Any = sys.modules.get("keras.src.backend.common.global_state")
    if state is None:
        yield
        return
    scopes = state.get_global_attribute("name_scope_stack", default=[], set_to_default=True)
    before = [*scopes]
    try:
        yield
    finally:
        scopes[:] = before
