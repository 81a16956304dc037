"""Call functions in eager mode or outside of a trace, whatever mode TensorFlow is in now."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def eagerly(work: Callable[[], _Result]) -> _Result:
    """Call `work` in eager mode, so that it can read and assign eager variables.

    Example:
        >>> eagerly(lambda: 7)
        7
    """
    import tensorflow as tf

    if tf.executing_eagerly():
        return work()
    # Each thread has a default graph of its own, so a new thread is in eager mode.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def untraced(work: Callable[[], _Result]) -> _Result:
    """Call `work` outside of the tf.function that this thread is tracing, if it is.

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
    """Return whether this thread is tracing a tf.function."""
    # A signal may arrive while TensorFlow is only half imported.
    tf: Any = sys.modules.get("tensorflow")
    if not hasattr(tf, "inside_function"):
        return False
    # An init_scope inside of a traced function executes eagerly and is not traced.
    return bool(tf.inside_function() and not tf.executing_eagerly())
