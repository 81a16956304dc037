"""Whether this process was forked off one in which TensorFlow had begun to compute.

A child has none of its parent's threads, and TensorFlow waits for them for ever: in a session of
the child's own too, and in the calling thread as soon as an operation is large, for all sessions of
a process share the threads that compute. Sessions that others opened before the fork go unnoticed.
"""

from __future__ import annotations

import os

from tfpersist.errors import RunError
from tfpersist.tf.internals.eager import has_context

# Where TensorFlow's threads are: here, in the parent, or nowhere yet.
_threads: dict[str, bool] = {"here": False, "lost": False}


def begin() -> None:
    """Take note that TensorFlow starts its threads.

    Raises:
        RunError: it cannot.
    """
    refuse()
    _threads["here"] = True


def refuse() -> None:
    """Refuse to compute where that would wait for ever.

    Raises:
        RunError: TensorFlow had begun before this process was forked.
    """
    if _threads["lost"]:
        raise forked()


def forked() -> RunError:
    """Give the error for the use of TensorFlow in a child of the process that used it."""
    return RunError(
        "TensorFlow has run before this process was forked, and its threads are gone",
        advice="Fork before anything runs, or start processes by 'spawn' or 'forkserver'.",
    )


def _after_in_child() -> None:
    _threads["lost"] = _threads["lost"] or _threads["here"] or has_context()
    _threads["here"] = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
