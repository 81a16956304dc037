"""A session under training, with what a checkpoint carries of it."""

from __future__ import annotations

from typing import Any

import attrs

from tfpersist.matching.plans.resume import Fact, Resume
from tfpersist.tf.internals import random_state
from tfpersist.tf.targets.resumable import Resumable
from tfpersist.tf.training import resume_state

_DATA = "the order of the data"


@attrs.define(eq=False)
class SessionState(Resumable):
    """A session that a hook saves.

    Args:
        session: the session.
        saves_data: whether the position of its data is saved with its variables.
        strict: whether a save raises an error if something is not covered.
        stateful: an op on whose state the data depend; empty if there is none.
    """

    session: Any
    saves_data: bool
    strict: bool
    stateful: str = ""

    @property
    def subject(self) -> Any:
        """The session."""
        return self.session

    def as_target(self) -> Any:
        """Return the session."""
        return self.session

    def noted(self) -> Resume:
        """Return what a save made now carries."""
        found = Resume(tuple(self._facts()), resume_state.environment())
        return resume_state.checked(found, strict=self.strict)

    def resumed(self, saved: Resume | None) -> Resume:
        """Return what a restore has put back."""
        return resume_state.resumed(saved, was_found=saved is not None)

    def _facts(self) -> list[Fact]:
        if self.saves_data and self.stateful:
            why = f"{self.stateful} is stateful, and the position does not have its state"
            advice = "Draw with tf.random.stateless_*, and make data without Python functions."
            found = [Fact("not covered", _DATA, "the iterator in data=", why, advice)]
        elif self.saves_data:
            found = [Fact("covered", _DATA, "the iterator in data=")]
        else:
            why = "a hook without data= adds no op to the graph, and none of it writes the position"
            advice = "Pass data=iterator to hook(), or read the batches that are done once more."
            found = [Fact("not covered", _DATA, "", why, advice)]
        ops = [
            op for op in self.session.graph.get_operations() if random_state.is_stateful(op.type)
        ]
        # Those that only make the first values of variables are run once.
        ops = [op for op in ops if "/Initializer/" not in op.name]
        if ops:
            where = ", ".join(f"{op.type} {op.name}" for op in ops[:5])
            where += f" and {len(ops) - 5} more" if len(ops) > 5 else ""
            why = "nobody can read or set the counter that such an op draws from"
            advice = "Draw with tf.random.stateless_uniform, and seeds from the global step."
            found.append(Fact("not covered", "random ops of the graph", where, why, advice))
        return found
