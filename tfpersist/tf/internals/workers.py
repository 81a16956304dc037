"""The private API by which the workers of a MultiWorkerMirroredStrategy agree without collectives.

A collective of one worker pairs with whatever collective the others run next, and with equal shapes
the result is a wrong number. TensorFlow's coordination service has a store of keys and values
beside the collectives. There each worker leaves a text and waits for those of the others.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterable
from typing import Any

import attrs

from tfpersist.errors import TargetError
from tfpersist.tf.internals import replicas

# How long a worker waits for the others where they have nothing to do but to come, in seconds.
PATIENCE = 300.0
# The pause after which Ctrl-C is noticed.
_PAUSE_MS = 500

_MEETINGS = itertools.count()


@attrs.frozen
class Workers:
    """The workers that hold replicas of the same variables, and the number of this one among them.

    Args:
        number: the number of this worker; that of the chief is 0.
        of: the number of workers.
    """

    number: int
    of: int

    def meet(self, text: str) -> list[str]:
        """Wait until all workers have come to the same meeting.

        Args:
            text: what this worker tells the others.

        Returns:
            What all have said, by their numbers.

        Raises:
            TargetError: others have not come.
        """
        number = next(_MEETINGS)
        name = f"meeting/{number}"
        self.leave(name, text)
        came = False
        try:
            texts = self.collect(name, "come to this save or restore")
            came = True
        finally:
            if not came:
                # Whoever comes later must not think that this worker is there.
                self.forget(f"{name}/{self.number}")
        if number and not self.number:
            # All have come to this meeting, so they have left the one before.
            self.forget(f"meeting/{number - 1}")
        return texts

    def pass_by(self, text: str) -> None:
        """Leave a text at a meeting, and do not wait for the others."""
        self.leave(f"meeting/{next(_MEETINGS)}", text)

    def leave(self, name: str, text: str) -> None:
        """Leave a text under a name, once."""
        from tensorflow.python.eager import context

        context.context().set_config_key_value(f"tfpersist/{name}/{self.number}", text)

    def forget(self, name: str) -> None:
        """Remove a text, or all texts under a name."""
        from tensorflow.python.eager import context

        context.context().delete_config_key_value(f"tfpersist/{name}")

    def collect(self, name: str, doing: str, more: float = 0.0) -> list[str]:
        """Wait for the texts that all workers leave under a name.

        Args:
            name: the name.
            doing: what a worker does before it leaves one, for the error.
            more: how much longer than `PATIENCE` to wait, in seconds.

        Raises:
            TargetError: one has not left a text in this time.
        """
        return [self.text_of(worker, name, doing, more) for worker in range(self.of)]

    def text_of(self, worker: int, name: str, doing: str, more: float = 0.0) -> str:
        """Wait for the text that one worker leaves under a name; see `collect`."""
        import tensorflow as tf
        from tensorflow.python.eager import context

        current: Any = context.context()
        key, patience = f"tfpersist/{name}/{worker}", PATIENCE + more
        end = time.monotonic() + patience
        while True:
            try:
                return str(current.get_config_key_value(key, timeout_in_ms=_PAUSE_MS))
            except tf.errors.DeadlineExceededError as error:
                if time.monotonic() < end:
                    continue
                raise TargetError(
                    f"worker {worker} did not {doing} within {patience:.0f} s; nothing was saved or"
                    " assigned",
                    expected=f"the same call on each of {self.of} workers of the strategy",
                    advice="Call save() and restore() on all workers, not only on the chief, with"
                    " the same directory and step. If that worker has ended, start all again.",
                ) from error


def workers_of(variables: Iterable[Any]) -> Workers | None:
    """Return the workers that hold some variables; None if this process holds them alone.

    Args:
        variables: variables, and anything else.

    Raises:
        TargetError: other workers hold replicas of them, and cannot be asked.
    """
    for variable in variables:
        count = replicas.workers_of(variable)
        if count > 1:
            if not are_possible():
                raise TargetError(
                    "other workers hold replicas of this variable, and cannot be asked",
                    where=f"variable {variable.name}",
                    expected="a MultiWorkerMirroredStrategy that was made in eager mode",
                    advice="Save it with tf.train.Checkpoint.",
                )
            number = variable.distribute_strategy.extended._id_in_cluster
            return Workers(int(number), count)
    return None


def are_possible() -> bool:
    """Return whether this process is one of several that TensorFlow coordinates."""
    context = getattr(sys.modules.get("tensorflow.python.eager.context"), "_context", None)
    return getattr(context, "coordination_service", None) is not None
