"""What can be saved and restored, seen as variables under keys."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import attrs
import numpy as np

from tfpersist.errors import TargetError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.plan import Entry

_Result = TypeVar("_Result")


@attrs.frozen
class Captured:
    """What one save writes.

    Args:
        items: the tensors; their payloads stay valid until the save is over.
        meta: the encoded MetaGraphDef for the `.meta` file; None where there is no graph.
        object_graph: the encoded TrackableObjectGraph; None for a checkpoint by names. The store
            writes it as the tensor `_CHECKPOINTABLE_OBJECT_GRAPH`, so it is not among the items.
        borrowed: the keys of items that lie in memory that the caller may write to. All others stay
            as they are, since TensorFlow copies a value that is shared before it changes it.
    """

    items: Sequence[Item]
    meta: bytes | None = None
    object_graph: bytes | None = None
    borrowed: frozenset[str] = frozenset()


class Target(Protocol):
    """Something whose variables a checkpoint can hold."""

    def entries(self, object_graph: Message | None = None) -> Sequence[Entry]:
        """List the variables.

        Args:
            object_graph: the TrackableObjectGraph of the checkpoint about to be restored, None for
                a save or a checkpoint by names. Keys are given as that checkpoint calls them.
        """

    def entries_by_name(self, specs: Mapping[str, TensorSpec]) -> Sequence[Entry]:
        """List the variables, keyed as a checkpoint by names calls them.

        Args:
            specs: what that checkpoint holds.
        """

    def capture(self, entries: Sequence[Entry]) -> Captured:
        """Take the values of these entries, to be written under the `key` that each now has.

        Args:
            entries: a selection of this target's entries; `name`, `ref`, `handle` and `part` are as
                `entries()` gave them, `key` (and `part.full_name`) may have been renamed.

        Raises:
            SaveError: some have no value yet; all of them are named.
        """

    def read(self, entries: Sequence[Entry]) -> Sequence[np.ndarray[Any, Any]]:
        """Give the values that entries hold now, in their order; nobody may change them.

        Raises:
            SaveError: some have no value yet, or none that can be read; all of them are named.
        """

    def assign(self, values: Sequence[tuple[Entry, np.ndarray[Any, Any]]]) -> None:
        """Give these entries their values; an entry with a `part` is given that part alone.

        Data types and shapes have been compared with the entries' specs before.
        """

    def averages_of(
        self, averages: object, entries: Sequence[Entry]
    ) -> Mapping[str, Sequence[str]]:
        """Tell where a checkpoint may keep the moving averages of variables.

        Args:
            averages: what the user gave to `averages()`: an ExponentialMovingAverage, an optimizer
                with `use_ema`, or the last part of the shadow variables' names.
            entries: the entries of this target, keyed as the checkpoint at hand calls them.

        Returns:
            By key of an entry, the keys where its average may stand, the likeliest first; entries
            that cannot have one are left out.

        Raises:
            SelectionError: this target has no averages of that kind.
        """


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
    from tfpersist.tf.internals import trackables

    if hasattr(step, "numpy") and not trackables.is_symbolic(step):
        return eagerly(step.numpy)
    read = getattr(target, "value_of", None)
    return read(step) if read is not None else None


def counted_by(target: Target) -> int | None:
    """Read the step that the graph of a session counts; None where there is none.

    Raises:
        TargetError: it has no value.

    Example:
        >>> from tfpersist.tf.targets.adapt import adapt
        >>> counted_by(adapt({"a": np.zeros(2)})) is None
        True
    """
    read = getattr(target, "global_step", None)
    counted = read() if read is not None else None
    return None if counted is None else step_of(counted, target)


def eagerly(work: Callable[[], _Result]) -> _Result:
    """Call `work` where eager variables can be read and assigned, whatever graph is the default.

    Example:
        >>> eagerly(lambda: 7)
        7
    """
    import tensorflow as tf

    if tf.executing_eagerly():
        return work()
    # A default graph is one of this thread's only.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def untraced(work: Callable[[], _Result]) -> _Result:
    """Call `work` outside of the tf.function that is being traced, if one is.

    Example:
        >>> untraced(lambda: 7)
        7
    """
    if not is_tracing():
        return work()
    import tensorflow as tf

    with tf.init_scope():
        return work()


def is_tracing() -> bool:
    """Whether a tf.function is being traced, and this is a part of it."""
    # A signal may come while TensorFlow is only half imported.
    tf: Any = sys.modules.get("tensorflow")
    if not hasattr(tf, "inside_function"):
        return False
    # Of a function that is being traced, an init_scope is not a part.
    return bool(tf.inside_function() and not tf.executing_eagerly())
