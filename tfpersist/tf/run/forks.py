"""Refuse to compute in a process that was forked after TensorFlow had started its threads.

A child process has none of its parent's threads, and TensorFlow would wait for them forever. This
concerns new sessions of the child too, since all sessions of a process share the threads; and it
concerns calls that compute in the calling thread, as soon as an operation is large. A session that
other code opened before the fork is not noticed here.
"""

from __future__ import annotations

import os

from tfpersist.errors import RunError
from tfpersist.tf.internals.eager import has_context

# Whether TensorFlow's threads run in this process, and whether they were lost in a fork.
_threads: dict[str, bool] = {"here": False, "lost": False}


def begin() -> None:
    """Note that TensorFlow starts its threads now.

    Raises:
        RunError: TensorFlow had started them before this process was forked.
    """
    refuse()
    _threads["here"] = True


def refuse() -> None:
    """Refuse to compute in a forked process without TensorFlow's threads.

    Raises:
        RunError: TensorFlow had started them before this process was forked.
    """
    if _threads["lost"]:
        raise forked()


def forked() -> RunError:
    """Return the error for using TensorFlow in a forked child of a process that used it."""
    return RunError(
        "TensorFlow has run before this process was forked, and its threads are gone",
        advice="Fork before anything runs, or start processes by 'spawn' or 'forkserver'.",
    )


def _after_in_child() -> None:
    _threads["lost"] = _threads["lost"] or _threads["here"] or has_context()
    _threads["here"] = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
