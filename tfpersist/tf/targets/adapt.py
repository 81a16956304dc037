"""Which adapter fits what the user hands in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from tfpersist.errors import TargetError, value_text
from tfpersist.tf.targets import arrays
from tfpersist.tf.targets.modes import is_tracing
from tfpersist.tf.targets.target import Target


def adapt(target: object) -> Target:
    """Find the adapter for what the user handed in.

    Args:
        target: a session, a Keras model or optimizer, a trackable, or a dict or list of them, of
            variables or of arrays.

    Returns:
        The adapter.

    Raises:
        TargetError: nothing here can save or restore such an object, or a tf.function that uses
            it is being traced, or this is what each replica of a strategy runs.

    Example:
        >>> import numpy as np
        >>> [entry.name for entry in adapt({"a": np.zeros(2)}).entries()]
        ['a']
    """
    for fit, is_traced in _adapters():
        found = fit(target)
        if found is not None:
            if is_traced:
                _refuse_inside()
            return found
    raise arrays.culprit(target) or TargetError(
        f"{value_text(target)} cannot be saved or restored",
        expected="a tf.compat.v1.Session, a Keras model, a tf.Module or other trackable, or a dict"
        " {name: variable or array}",
        advice="Saves go to ModelStore(directory).save(model), and restores come from"
        " ModelStore(directory).restore(model)."
        if isinstance(target, str)
        else None,
    )


def _adapters() -> Iterator[tuple[Callable[[object], Target | None], bool]]:
    """Give what adapts each kind, and whether a function that is traced would trace it."""
    yield arrays.adapt_arrays, True
    if "tensorflow" not in sys.modules:
        return
    from tfpersist.tf.targets import keras, objects, session

    yield session.adapt_session, False
    yield keras.adapt_keras, True
    yield objects.adapt_objects, True


def _refuse_inside() -> None:
    if is_tracing():
        raise TargetError(
            "a save or a restore inside of a tf.function would happen once, while it is"
            " traced, and never when it is called",
            advice="Save and restore outside of the function.",
        )
    # A signal may come while TensorFlow is only half imported.
    distribute: Any = getattr(sys.modules.get("tensorflow"), "distribute", None)
    inside = getattr(distribute, "in_cross_replica_context", None)
    if inside is not None and distribute.has_strategy() and not inside():
        raise TargetError(
            "a save or a restore inside of strategy.run() would happen once for each replica",
            advice="Save and restore outside of it.",
        )
