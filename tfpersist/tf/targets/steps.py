"""Read the training step of a save."""

from __future__ import annotations

import operator
from typing import Any

from tfpersist.errors import TargetError
from tfpersist.tf.internals import trackables
from tfpersist.tf.targets.modes import eagerly
from tfpersist.tf.targets.target import Target


def step_of(step: Any, target: Target | None = None) -> int:
    """Return a training step as a number.

    Args:
        step: a number, an eager variable or tensor, or one of the graph of `target`.
        target: what is saved; None where `step` cannot be of a graph.

    Returns:
        The number.

    Raises:
        TargetError: the value is not a whole number, or negative.

    Example:
        >>> import numpy as np
        >>> from tfpersist.tf.targets.adapt import adapt
        >>> step_of(np.int64(7), adapt({"a": np.zeros(2)}))
        7
    """
    value: Any = None if isinstance(step, bool) else step
    if hasattr(step, "numpy") or hasattr(step, "graph"):
        value = _value_of(step, target)
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TargetError(
            "the step is not a whole number",
            expected="an int, or a variable or tensor that holds one",
            found=repr(step),
        ) from error
    if number < 0:
        raise TargetError("the step is negative", expected="0 or more", found=number)
    return number


def _value_of(step: Any, target: Target | None) -> Any:
    if hasattr(step, "numpy") and not trackables.is_symbolic(step):
        return eagerly(step.numpy)
    return None if target is None else target.value_of(step)


def counted_by(target: Target) -> int | None:
    """Return the training step that the graph of a session counts; None if it counts none.

    Raises:
        TargetError: the counter has no value yet.

    Example:
        >>> import numpy as np
        >>> from tfpersist.tf.targets.adapt import adapt
        >>> counted_by(adapt({"a": np.zeros(2)})) is None
        True
    """
    counter = target.global_step()
    return None if counter is None else step_of(counter, target)
