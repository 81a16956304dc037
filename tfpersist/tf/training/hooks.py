"""A hook for tf.compat.v1.train.MonitoredTrainingSession that saves into a store, and resumes.

It reads the graph's global step, and adds no op to the graph.
"""

from __future__ import annotations

import functools
import time
from datetime import timedelta
from typing import Any

from tfpersist.arguments import seconds
from tfpersist.errors import SaveError, TargetError
from tfpersist.tf.training.training_store import TrainingStore

_SECONDS = 600.0


def hook(
    store: TrainingStore,
    every_steps: int | None,
    every_secs: float | str | timedelta | None,
    *,
    resume: bool,
) -> Any:
    """Make the hook; `ModelStore.hook` says what it does.

    Raises:
        SaveError: the arguments make no sense.
    """
    if every_steps is not None and (
        isinstance(every_steps, bool) or not hasattr(every_steps, "__index__") or every_steps < 1
    ):
        raise SaveError(
            "every_steps says how often to save",
            expected="a whole number, more than 0",
            found=repr(every_steps),
        )
    between = None if every_secs is None else seconds(every_secs)
    if every_secs is not None and between is None:
        raise SaveError(
            "every_secs says how often to save",
            expected='more than 0: a number of seconds, a timedelta, or a time such as "1h"',
            found=repr(every_secs),
        )
    if every_steps is None and between is None:
        between = _SECONDS
    return _kind()(store, every_steps, between, resume)


@functools.cache
def _kind() -> type[Any]:
    from tensorflow.compat import v1

    class StoreHook(v1.train.SessionRunHook):  # type: ignore[misc]
        """Saves the session that is being trained, and restores it when it begins."""

        def __init__(
            self,
            store: TrainingStore,
            every_steps: int | None,
            every_secs: float | None,
            resume: bool,
        ) -> None:
            self.store = store
            self.every_steps = every_steps
            self.every_secs = every_secs
            self.resume = resume
            self.global_step: Any = None
            self.saved: int | None = None
            self.last_step = 0
            self.known = 0
            self.grows = 0
            self.last_time = 0.0

        def begin(self) -> None:
            self.global_step = v1.train.get_global_step()
            if self.global_step is None:
                raise TargetError(
                    "the graph counts no steps",
                    advice="Create the counter with"
                    " tf.compat.v1.train.get_or_create_global_step(), and pass it to minimize().",
                )

        def after_create_session(self, session: Any, coord: Any) -> None:
            """Restore the newest checkpoint, if training has not come further than that."""
            step = int(session.run(self.global_step))
            newest = self.store.latest() if self.resume else None
            if newest is not None and (newest.step is None or newest.step >= step):
                self.store.restore(session)
                step = int(session.run(self.global_step))
                self.saved = step
            self.last_step, self.last_time = step, time.monotonic()
            self.known, self.grows = step, 0

        def before_run(self, run_context: Any) -> Any:
            return v1.train.SessionRunArgs(self.global_step)

        def after_run(self, run_context: Any, run_values: Any) -> None:
            # The step was read before or after it was counted up: so look again where it matters.
            read = int(run_values.results)
            self._learn(read)
            if not self.grows or self._due(read + self.grows):
                step = int(run_context.session.run(self.global_step))
                self._learn(step)
                if self._due(step):
                    self._save(run_context.session, step)

        def end(self, session: Any) -> None:
            step = int(session.run(self.global_step))
            if step != self.saved:
                self._save(session, step)
            self.store.wait()

        def _learn(self, step: int) -> None:
            """Note by how much a run counts the step up, which need not be one."""
            if step > self.known:
                self.known, self.grows = step, step - self.known

        def _due(self, step: int) -> bool:
            by_steps = self.every_steps is not None and step - self.last_step >= self.every_steps
            passed = time.monotonic() - self.last_time
            by_time = self.every_secs is not None and passed >= self.every_secs
            return step != self.saved and (by_steps or by_time)

        def _save(self, session: Any, step: int) -> None:
            self.store.save(session, step)
            self.saved = self.last_step = step
            self.last_time = time.monotonic()

    return StoreHook
