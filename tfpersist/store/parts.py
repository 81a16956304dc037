"""Save by several workers: each its part, and one of them commits."""

from __future__ import annotations

from typing import Any

import attrs

from tfpersist.arguments import count_of, text_of
from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.worker_parts import JointSave, commit_parts, write_part
from tfpersist.errors import ArgumentError, value_text
from tfpersist.gc_pause import gc_paused
from tfpersist.store.save import Destination, Facts, capture, finished
from tfpersist.tf.targets.adapt import adapt

MOST_WORKERS = 9_999


@attrs.frozen
class StorePart:
    """The part of one worker in a save by several; `ModelStore.part` makes it.

    Args:
        worker: the number of the worker, from 0 on.
        of: the number of workers.
        attempt: what tells this attempt from every other one.

    Example:
        >>> import tfpersist as tfp
        >>> tfp.ModelStore("memory://doc/part").part(0, of=2, attempt="job 7").worker
        0
    """

    worker: int
    of: int
    attempt: str
    _destination: Destination = attrs.field(repr=False)

    def save(self, target: object, step: Any = None) -> None:
        """Save the part of this worker; `ModelStore.commit` makes a checkpoint of all parts.

        Args:
            target: what this worker holds, as `ModelStore.save` accepts it. No two workers may
                save a tensor under the same key.
            step: the training step, as in `ModelStore.save`.

        Raises:
            TargetError: the target cannot be saved.
            SaveError: variables have no value yet, or a name cannot be saved.
            ConflictError: a part of this worker is there already.
            StorageError: the part could not be written; nothing is left of it.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/part_save")
            >>> for worker in range(2):
            ...     rows = {f"rows/{worker}": np.full(2, worker)}
            ...     store.part(worker, of=2, attempt="job 7").save(rows, step=5)
            >>> store.latest() is None, sorted(store.commit(5, of=2, attempt="job 7"))
            (True, ['rows/0', 'rows/1'])
        """
        destination = self._destination
        with gc_paused():
            adapted = adapt(target)
            facts = Facts.of(destination.name, step, None, None, adapted)
            captured, items = capture(target, adapted, destination.selection, lasting=False)
        try:
            write_part(
                destination.storage,
                JointSave(facts.prefix, self.of, self.attempt),
                self.worker,
                items,
                durable=destination.durable,
                layers=captured.layers,
                resume=captured.resume,
            )
        finally:
            # An error's traceback would keep the values for as long as it lives itself.
            items.clear()


def part_of(worker: object, of: object, attempt: object, destination: Destination) -> StorePart:
    """Return the part of a worker.

    Raises:
        ArgumentError: an argument makes no sense.
    """
    workers = _workers(of)
    number = count_of(worker, least=0)
    if number is None or number >= workers:
        raise ArgumentError(
            "worker must be the number of this worker",
            where="worker",
            expected=f"a whole number from 0 to {workers - 1}",
            found=value_text(worker),
        )
    return StorePart(number, workers, _attempt(attempt), destination)


def commit(
    facts: Facts, of: object, attempt: object, destination: Destination, timeout: float
) -> Checkpoint:
    """Make a checkpoint of the parts of all workers; see `ModelStore.commit`."""
    directory = commit_parts(
        destination.storage,
        JointSave(facts.prefix, _workers(of), _attempt(attempt)),
        step=facts.step,
        metrics=facts.metrics,
        metadata=facts.metadata,
        durable=destination.durable,
        timeout=timeout,
    )
    return Checkpoint(finished(directory, facts.prefix, destination))


def _workers(of: object) -> int:
    """Return a number of workers.

    Raises:
        ArgumentError: it is none.
    """
    workers = count_of(of)
    if workers is None or workers > MOST_WORKERS:
        raise ArgumentError(
            "of must be the number of workers",
            where="of",
            expected=f"a whole number from 1 to {MOST_WORKERS}",
            found=value_text(of),
        )
    return workers


def _attempt(attempt: object) -> str:
    what = "attempt, which all workers share with no other try of this save,"
    return text_of(attempt, "attempt", what, "a text such as the number of the job")
