"""Keras and tf-keras, the Keras 2 of old: what is around of them, and what is made of it."""

from __future__ import annotations

import sys
from typing import Any


def models() -> tuple[type[Any], ...]:
    """Give the classes of models."""
    return tuple(package.Model for package in _packages())


def layers() -> tuple[type[Any], ...]:
    """Give the classes of layers."""
    return tuple(package.layers.Layer for package in _packages())


def optimizers(*names: str) -> tuple[type[Any], ...]:
    """Give the classes of optimizers, the legacy ones of tf-keras too.

    Args:
        names: "keras" or "tf_keras", for those of one alone.
    """
    rooms = [package.optimizers for package in _packages(*names)]
    # In Keras 3 this is a stub that cannot be made.
    return tuple(room.Optimizer for room in rooms) + tuple(
        room.legacy.Optimizer for room in rooms if hasattr(getattr(room, "legacy", 0), "Optimizer")
    )


def _packages(*names: str) -> list[Any]:
    found = (sys.modules.get(name) for name in names or ("keras", "tf_keras"))
    return [package for package in found if hasattr(package, "optimizers")]
