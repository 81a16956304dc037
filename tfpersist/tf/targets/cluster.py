"""Find the workers among which a strategy has divided the variables of a target."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from tfpersist.errors import TargetError
from tfpersist.matching.plans.entry import Entry
from tfpersist.tf.targets.adapt import adapt
from tfpersist.tf.targets.target import Target

if TYPE_CHECKING:
    from tfpersist.tf.internals.workers import Workers


def workers_of(target: Target) -> Workers | None:
    """Return the workers that hold replicas of the variables of a target.

    Args:
        target: what is saved or restored.

    Returns:
        The workers; None if this process holds the variables alone.

    Raises:
        TargetError: others hold replicas of them, and cannot be asked.
    """
    if "tensorflow" not in sys.modules:
        return None
    from tfpersist.tf.internals import workers

    if not workers.are_possible():
        return None
    return workers.workers_of(_variables(target.entries()))


def refuse_alone(target: object) -> None:
    """Refuse what one worker alone cannot save, since the others do not know of its save.

    Args:
        target: what a user wants to save when a signal comes.

    Raises:
        TargetError: other workers hold replicas of its variables.
    """
    if "tensorflow" not in sys.modules:
        return
    from tfpersist.tf.internals import workers

    if workers.are_possible() and (others := workers_of(adapt(target))) is not None:
        raise TargetError(
            "a signal comes to one worker at any step, and all workers save at the same one",
            expected="variables that one process holds",
            found=f"variables of {others.of} workers",
            advice="Note the signal, let the workers agree on a step, as"
            " tf.distribute.experimental.PreemptionCheckpointHandler does, and call save() there.",
        )


def replicated(entries: Sequence[Entry]) -> frozenset[str]:
    """Return the keys of the entries of which every worker holds a replica."""
    from tfpersist.tf.internals import replicas

    pairs = zip(entries, _variables(entries), strict=True)
    return frozenset(entry.key for entry, one in pairs if replicas.workers_of(one) > 1)


def all_reading() -> AbstractContextManager[None]:
    """Allow the reads of variables that only all workers together can read."""
    if "tensorflow" not in sys.modules:
        return nullcontext()
    from tfpersist.tf.internals import replicas

    return replicas.read_together()


def _variables(entries: Iterable[Entry]) -> Iterator[Any]:
    """Yield the variable of each entry, or whatever else the entry is of."""
    import tensorflow as tf

    for entry in entries:
        thing: Any = entry.ref if entry.handle is None else entry.handle
        inner = thing if isinstance(thing, tf.Variable) else getattr(thing, "value", thing)
        yield inner
