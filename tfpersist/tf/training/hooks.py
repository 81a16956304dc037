"""Save into a store while a tf.compat.v1.train.MonitoredTrainingSession runs, and resume.

The hook reads the graph's global step. It adds no operation to the graph, except those that
saveable objects need (`saveables`), such as the iterator in `data=`.
"""

from __future__ import annotations

import functools
import time
from datetime import timedelta
from typing import Any

import attrs

from tfpersist.arguments import seconds
from tfpersist.errors import SaveError, TargetError, value_text
from tfpersist.matching.plans.report import RestoreReport
from tfpersist.tf.internals import data_functions, saveables
from tfpersist.tf.training.session_state import SessionState
from tfpersist.tf.training.training_store import TrainingStore

_SECONDS = 600.0


def hook(
    store: TrainingStore,
    every_steps: int | None,
    every_secs: float | str | timedelta | None,
    *,
    resume: bool,
    data: Any = None,
    strict: bool = False,
) -> Any:
    """Return the hook; see `ModelStore.hook`.

    Args:
        store: the store to save into.
        every_steps: save after this many steps.
        every_secs: save after this time: seconds, a timedelta, or a text such as "1h".
        resume: whether to restore the newest checkpoint first.
        data: the initializable iterator whose position is saved too; None for none.
        strict: whether the first save raises an error if something is not covered.

    Raises:
        SaveError: an argument is wrong.
    """
    if every_steps is not None and (
        isinstance(every_steps, bool) or not hasattr(every_steps, "__index__") or every_steps < 1
    ):
        raise SaveError(
            "`every_steps` must say how often to save",
            expected="a whole number, 1 or more",
            found=repr(every_steps),
        )
    between = None if every_secs is None else seconds(every_secs)
    if every_secs is not None and between is None:
        raise SaveError(
            "`every_secs` must say how often to save",
            expected='a number of seconds, a timedelta, or a text such as "1h", more than 0',
            found=repr(every_secs),
        )
    if every_steps is None and between is None:
        between = _SECONDS
    if data is not None and not hasattr(data, "initializer"):
        raise SaveError(
            "`data` must be an iterator of the graph",
            expected="one of tf.compat.v1.data.make_initializable_iterator",
            found=value_text(data),
        )
    return _hook_class()(store, _Asked(every_steps, between, resume, data, strict))


@attrs.frozen
class _Asked:
    """The options of a hook; see `hook`."""

    every_steps: int | None
    every_secs: float | None
    resume: bool
    data: Any
    strict: bool


@functools.cache
def _hook_class() -> type[Any]:
    import tensorflow as tf
    from tensorflow.compat import v1

    class StoreHook(v1.train.SessionRunHook):
        """Saves the session while it trains, and restores it when it begins."""

        def __init__(self, store: TrainingStore, asked: _Asked) -> None:
            self.store = store
            self.every_steps = asked.every_steps
            self.every_secs = asked.every_secs
            self.asked = asked
            self.report: RestoreReport | None = None
            self.global_step: Any = None
            self.saved_step: int | None = None
            self.stateful = ""
            self.last_step = 0
            self.noted_step = 0
            self.increment = 0
            self.last_time = 0.0

        def begin(self) -> None:
            if self.asked.data is not None:
                saveable = tf.data.experimental.make_saveable_from_iterator(
                    self.asked.data, external_state_policy="fail"
                )
                v1.add_to_collection(v1.GraphKeys.SAVEABLE_OBJECTS, saveable)
                self.stateful = data_functions.stateful_op_in_graph(self.asked.data)
            saveables.prepare(v1.get_default_graph())
            self.global_step = v1.train.get_global_step()
            if self.global_step is None:
                raise TargetError(
                    "the graph does not count its steps",
                    advice="Create the counter with"
                    " tf.compat.v1.train.get_or_create_global_step(), and pass it to minimize().",
                )

        def after_create_session(self, session: Any, coord: Any) -> None:
            """Restore the newest checkpoint, unless the session is at a later step."""
            step = int(session.run(self.global_step))
            newest = self.store.latest() if self.asked.resume else None
            if newest is not None and (newest.step is None or newest.step >= step):
                if self.asked.data is not None:
                    session.run(self.asked.data.initializer)
                self.report = self.store.restore(self._state(session))
                step = int(session.run(self.global_step))
                self.saved_step = step
            self.last_step, self.last_time = step, time.monotonic()
            self.noted_step, self.increment = step, 0

        def before_run(self, run_context: Any) -> Any:
            return v1.train.SessionRunArgs(self.global_step)

        def after_run(self, run_context: Any, run_values: Any) -> None:
            # The run has read the step before or after it was incremented. So read it again if a
            # save may be due.
            read = int(run_values.results)
            self._note_step(read)
            if not self.increment or self._is_due(read + self.increment):
                step = int(run_context.session.run(self.global_step))
                self._note_step(step)
                if self._is_due(step):
                    self._save(run_context.session, step)

        def end(self, session: Any) -> None:
            step = int(session.run(self.global_step))
            if step != self.saved_step:
                self._save(session, step)
            self.store.wait()

        def _state(self, session: Any) -> SessionState:
            has_data = self.asked.data is not None
            return SessionState(session, has_data, self.asked.strict, self.stateful)

        def _note_step(self, step: int) -> None:
            """Note a step, and by how much a run has incremented it, which may be more than one."""
            if step > self.noted_step:
                self.noted_step, self.increment = step, step - self.noted_step

        def _is_due(self, step: int) -> bool:
            by_steps = self.every_steps is not None and step - self.last_step >= self.every_steps
            elapsed = time.monotonic() - self.last_time
            by_time = self.every_secs is not None and elapsed >= self.every_secs
            return step != self.saved_step and (by_steps or by_time)

        def _save(self, session: Any, step: int) -> None:
            self.store.save(self._state(session), step)
            self.saved_step = self.last_step = step
            self.last_time = time.monotonic()

    return StoreHook
