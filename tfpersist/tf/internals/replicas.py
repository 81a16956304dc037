"""The private APIs of variables that a tf.distribute strategy keeps on several devices.

A save writes what `tf.train.Checkpoint` writes: for a mirrored variable its first replica, since
all replicas are equal, and for one that is synchronized on read the aggregate of its replicas.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from tfpersist.errors import SaveError, TargetError
from tfpersist.tf.internals import dtensors

_TOGETHER: ContextVar[bool] = ContextVar("whether all workers read", default=False)


def refuse_unknown(variable: Any, path: str) -> None:
    """Refuse a variable of a strategy of an unknown type, such as one on TPUs.

    Args:
        variable: any variable.
        path: its path, for the error.

    Raises:
        TargetError: the type of the variable is not known.
    """
    import tensorflow as tf

    dtensors.refuse_several_clients(variable, path)
    if isinstance(variable, tf.distribute.DistributedValues) and not _is_distributed(variable):
        raise TargetError(
            "variables of this tf.distribute strategy cannot be saved or restored",
            where=path,
            expected="a variable of a tf.distribute.MirroredStrategy or of no strategy",
            found=f"a {type(variable).__name__}",
            advice="Save a model that was built outside of the strategy's scope.",
        )


def primary(variable: Any) -> Any:
    """Return the first replica of a variable; a variable without replicas as it is."""
    return variable._primary if _is_distributed(variable) else variable


def is_read_as_one(variable: Any) -> bool:
    """Return whether no device holds the value of a variable, but all of them together."""
    if _is_distributed(variable):
        return _types()[type(variable)]
    return dtensors.is_dtensor(variable)


def read(variable: Any) -> Any:
    """Return the value of a variable that a checkpoint holds, as an eager tensor.

    Raises:
        SaveError: its replicas may differ, and it has no aggregation.
        TargetError: its replicas may differ, and some are in other processes.
    """
    import tensorflow as tf

    if dtensors.is_dtensor(variable):
        return dtensors.read(variable)
    if not is_read_as_one(variable):
        return primary(variable).read_value()
    if variable.aggregation == tf.VariableAggregation.NONE:
        raise SaveError(
            "each replica has its own value, and the variable has no aggregation",
            where=f"variable {variable.name}",
            expected="a variable that was made with aggregation=",
            found="tf.VariableAggregation.NONE",
            advice="Make it with another tf.VariableAggregation, or leave it out with only().",
        )
    if workers_of(variable) > 1 and not _TOGETHER.get():
        # A worker that reads alone pairs its collective with one of the training of the others.
        raise TargetError(
            "all workers together hold the value of this variable, and one of them cannot read it",
            where=f"variable {variable.name}",
            expected="a variable that is not synchronized on read, or one worker",
            found=f"VariableSynchronization.ON_READ and {workers_of(variable)} workers",
            advice="Save it with ModelStore(directory).save(), which all workers call.",
        )
    aggregate = variable._get_cross_replica()
    return aggregate.read_value() if isinstance(aggregate, tf.Variable) else aggregate


def shares(
    variable: Any, value: np.ndarray[Any, Any]
) -> Iterator[tuple[Any, np.ndarray[Any, Any]]]:
    """Yield each replica of a variable with its share of a value; else the variable itself.

    Args:
        variable: any variable.
        value: the value that it is to hold.
    """
    if not _is_distributed(variable):
        yield variable, value
        return
    import tensorflow as tf

    if _types()[type(variable)] and variable.aggregation == tf.VariableAggregation.SUM:
        count = variable.distribute_strategy.num_replicas_in_sync
        value = tf.cast(tf.constant(value) / count, variable.dtype).numpy()
    for replica in variable.values:
        yield replica, value


@contextlib.contextmanager
def read_together() -> Iterator[None]:
    """Allow to read variables that all workers hold: all of them read the same ones in order."""
    token = _TOGETHER.set(True)
    try:
        yield
    finally:
        _TOGETHER.reset(token)


def workers_of(variable: Any) -> int:
    """Return how many processes hold replicas of a variable."""
    if not _is_distributed(variable):
        return 1
    return int(getattr(variable.distribute_strategy.extended, "_num_workers", 1))


def scope_of(variables: Iterable[Any]) -> contextlib.AbstractContextManager[Any]:
    """Return the scope of the strategy of some variables, to make more variables in."""
    for variable in variables:
        if _is_distributed(variable):
            scope: contextlib.AbstractContextManager[Any] = variable.distribute_strategy.scope()
            return scope
    return contextlib.nullcontext()


def _is_distributed(variable: Any) -> bool:
    return type(variable) in _types()


@functools.cache
def _types() -> dict[type, bool]:
    """Return the known types of variables with replicas, and whether replicas may differ."""
    from tensorflow.python.distribute import values

    return {values.MirroredVariable: False, values.SyncOnReadVariable: True}
