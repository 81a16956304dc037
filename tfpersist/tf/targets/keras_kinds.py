"""The classes of Keras and tf-keras (Keras 2), of those that the program has imported."""

from __future__ import annotations

import sys
from typing import Any


def models() -> tuple[type[Any], ...]:
    """Return the classes of models."""
    return tuple(package.Model for package in _packages())


def layers() -> tuple[type[Any], ...]:
    """Return the classes of layers."""
    return tuple(package.layers.Layer for package in _packages())


def untracking() -> tuple[type[Any], ...]:
    """Return the classes of objects that hold lists and dicts which TensorFlow does not track."""
    import tensorflow as tf

    return tf.Module, *(package.layers.Layer for package in _packages("keras"))


def optimizers(*names: str) -> tuple[type[Any], ...]:
    """Return the classes of optimizers, with the legacy ones of tf-keras.

    Args:
        names: "keras" or "tf_keras" for the classes of one package; none for both.
    """
    modules = [package.optimizers for package in _packages(*names)]
    # In Keras 3 the legacy class is a stub without instances.
    return tuple(module.Optimizer for module in modules) + tuple(
        module.legacy.Optimizer
        for module in modules
        if hasattr(getattr(module, "legacy", 0), "Optimizer")
    )


def _packages(*names: str) -> list[Any]:
    packages = (sys.modules.get(name) for name in names or ("keras", "tf_keras"))
    return [package for package in packages if hasattr(package, "optimizers")]
