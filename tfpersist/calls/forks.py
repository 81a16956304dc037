"""Refuse to compute in a process that was forked after an engine had started its threads.

A child process has none of its parent's threads, and the engine would wait for them forever.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import attrs

from tfpersist.errors import RunError


@attrs.define(eq=False)
class Threads:
    """A check that the threads of an engine run in this process and were not lost in a fork.

    Args:
        engine: the name of the engine, for errors.
        started_elsewhere: returns whether other code has started the threads.
    """

    engine: str
    started_elsewhere: Callable[[], bool] = bool
    _here: bool = attrs.field(default=False, init=False)
    _lost: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_in_child)

    def begin(self) -> None:
        """Note that the engine starts its threads now.

        Raises:
            RunError: it had started them before this process was forked.
        """
        self.refuse()
        self._here = True

    def refuse(self) -> None:
        """Refuse to compute in a forked process without the engine's threads.

        Raises:
            RunError: the engine had started them before this process was forked.
        """
        if self._lost:
            raise self.forked()

    def forked(self) -> RunError:
        """Return the error for using an engine in a forked child of a process that used it."""
        return RunError(
            f"{self.engine} has run before this process was forked, and its threads are gone",
            advice="Fork before anything runs, or start processes by 'spawn' or 'forkserver'.",
        )

    def _after_in_child(self) -> None:
        self._lost = self._lost or self._here or self.started_elsewhere()
        self._here = False
