"""The private TensorFlow APIs of variables that a tf.distribute strategy keeps on several devices;
tested as `internals` is.

What is saved is what `tf.train.Checkpoint` saves: of a mirrored variable its first replica, since
all are the same, and of one that is synchronized when it is read what its replicas make together.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tfpersist.errors import SaveError, TargetError


def refuse_unknown(variable: Any, path: str) -> None:
    """Refuse a variable of a strategy whose replicas are kept in a way that is not known here.

    Raises:
        TargetError: it is one, such as those of TPUs.
    """
    import tensorflow as tf

    if isinstance(variable, tf.distribute.DistributedValues) and not _is_distributed(variable):
        raise TargetError(
            f"a {type(variable).__name__} is a variable of a tf.distribute strategy that is not"
            " known here",
            where=path,
            expected="a variable of a tf.distribute.MirroredStrategy, or of none",
            advice="Save a model that was built outside of the strategy's scope.",
        )


def primary(variable: Any) -> Any:
    """Give the first replica of a variable; any other variable as it is."""
    return variable._primary if _is_distributed(variable) else variable


def is_read_as_one(variable: Any) -> bool:
    """Whether the value of a variable is made of those of its replicas, which may differ."""
    return _is_distributed(variable) and _kinds()[type(variable)]


def read(variable: Any) -> Any:
    """Read what a checkpoint holds of a variable.

    Raises:
        SaveError: its replicas differ, and nothing says what they make together.
    """
    import tensorflow as tf

    if not is_read_as_one(variable):
        return primary(variable).read_value()
    if variable.aggregation == tf.VariableAggregation.NONE:
        raise SaveError(
            "each replica has a value of its own, and nothing says what they make together",
            where=f"variable {variable.name}",
            expected="a variable that is made with aggregation=",
            found="tf.VariableAggregation.NONE",
            advice="Make it with another tf.VariableAggregation, or leave it out with only().",
        )
    made = variable._get_cross_replica()
    return made.read_value() if isinstance(made, tf.Variable) else made


def shares(
    variable: Any, value: np.ndarray[Any, Any]
) -> Iterator[tuple[Any, np.ndarray[Any, Any]]]:
    """Say what is assigned if a variable is: each replica, and its share of the value."""
    if not _is_distributed(variable):
        yield variable, value
        return
    import tensorflow as tf

    if is_read_as_one(variable) and variable.aggregation == tf.VariableAggregation.SUM:
        count = variable.distribute_strategy.num_replicas_in_sync
        value = tf.cast(tf.constant(value) / count, variable.dtype).numpy()
    for replica in variable.values:
        yield replica, value


def scope_of(variables: Iterable[Any]) -> contextlib.AbstractContextManager[Any]:
    """Enter the scope of the strategy that keeps variables, where other ones are made for them."""
    for variable in variables:
        if _is_distributed(variable):
            scope: contextlib.AbstractContextManager[Any] = variable.distribute_strategy.scope()
            return scope
    return contextlib.nullcontext()


def _is_distributed(variable: Any) -> bool:
    return type(variable) in _kinds()


@functools.cache
def _kinds() -> dict[type, bool]:
    """Give the kinds of variables that are known here, and whether they are read as one."""
    from tensorflow.python.distribute import values

    return {values.MirroredVariable: False, values.SyncOnReadVariable: True}
