"""Adapt whatever a user saves or restores to a target."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from tfpersist.errors import TargetError, value_text
from tfpersist.tf.targets import arrays
from tfpersist.tf.targets.modes import is_tracing
from tfpersist.tf.targets.resumable import Resumable
from tfpersist.tf.targets.target import Target


def adapt(target: object) -> Target:
    """Adapt what a user saves or restores.

    Args:
        target: a session, a Keras model or optimizer, a trackable, or a dict or list of them, of
            variables, of seed generators or of arrays.

    Returns:
        The same, seen as variables under keys.

    Raises:
        TargetError: such an object cannot be saved or restored, or the call is inside of a
            tf.function that is being traced, or inside of `strategy.run()`.

    Example:
        >>> import numpy as np
        >>> [entry.name for entry in adapt({"a": np.zeros(2)}).entries()]
        ['a']
    """
    if isinstance(target, Resumable):
        target = target.as_target()
    target = _with_seeds(target)
    for adapt_type, is_traceable in _adapters():
        adapted = adapt_type(target)
        if adapted is not None:
            if is_traceable:
                _refuse_inside_of_functions()
            return adapted
    raise arrays.error_about(target) or TargetError(
        f"{value_text(target)} cannot be saved or restored",
        expected="a tf.compat.v1.Session, a Keras model, a tf.Module or other trackable, or a dict"
        " {name: variable or array}",
        advice="Saves go to ModelStore(directory).save(model), and restores come from"
        " ModelStore(directory).restore(model)."
        if isinstance(target, str)
        else None,
    )


def _with_seeds(target: object) -> object:
    """Return a dict with the state of each SeedGenerator of Keras in it; other targets as they are.

    TensorFlow does not know these objects, but their state is a variable.
    """
    generator: Any = getattr(getattr(sys.modules.get("keras"), "random", None), "SeedGenerator", ())
    if type(target) is not dict or not any(isinstance(one, generator) for one in target.values()):
        return target
    return {name: one.state if isinstance(one, generator) else one for name, one in target.items()}


def _adapters() -> Iterator[tuple[Callable[[object], Target | None], bool]]:
    """Yield the adapter of each type of target, and whether a tf.function can trace its use."""
    yield arrays.adapt_arrays, True
    if "tensorflow" not in sys.modules:
        return
    from tfpersist.tf.targets import keras, objects, session

    yield session.adapt_session, False
    yield keras.adapt_keras, True
    yield objects.adapt_objects, True


def _refuse_inside_of_functions() -> None:
    if is_tracing():
        raise TargetError(
            "a save or a restore inside of a tf.function would run once, when the function is"
            " traced, and not when it is called",
            advice="Save and restore outside of the function.",
        )
    # A signal may arrive while TensorFlow is only half imported.
    distribute: Any = getattr(sys.modules.get("tensorflow"), "distribute", None)
    in_cross_replica_context = getattr(distribute, "in_cross_replica_context", None)
    if (
        in_cross_replica_context is not None
        and distribute.has_strategy()
        and not in_cross_replica_context()
    ):
        raise TargetError(
            "a save or a restore inside of strategy.run() would run once for each replica",
            advice="Save and restore outside of strategy.run().",
        )
