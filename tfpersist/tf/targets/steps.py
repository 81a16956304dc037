"""Read the training step that a checkpoint is named after."""

from __future__ import annotations

import operator
from typing import Any

from tfpersist.errors import TargetError
from tfpersist.tf.internals import trackables
from tfpersist.tf.targets.modes import eagerly
from tfpersist.tf.targets.target import Target


def step_of(step: Any, target: Target | None = None) -> int:
    """Read a training step.

    Args:
        step: a number, an eager variable or tensor, or one of the graph of `target`.
        target: what is saved; None where no graph is at hand.

    Returns:
        The number.

    Raises:
        TargetError: it is none.

    Example:
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
            "the step is no whole number",
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
    """Read the step that the graph of a session counts; None where there is none.

    Raises:
        TargetError: it has no value.

    Example:
        >>> from tfpersist.tf.targets.adapt import adapt
        >>> counted_by(adapt({"a": np.zeros(2)})) is None
        True
    """
    counted = target.global_step()
    return None if counted is None else step_of(counted, target)
