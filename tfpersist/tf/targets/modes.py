"""Call functions in eager mode or outside of a trace, whatever mode TensorFlow is in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def eagerly(work: Callable[[], _Result]) -> _Result:
    """Call `work` where eager variables can be read and assigned, whatever graph is the default.

    Example:
        >>> eagerly(lambda: 7)
        7
    """
    import tensorflow as tf

    if tf.executing_eagerly():
        return work()
    # A default graph is one of this thread's only.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def untraced(work: Callable[[], _Result]) -> _Result:
    """Call `work` outside of the tf.function that is being traced, if one is.

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
    """Whether a tf.function is being traced, and this is a part of it."""
    # A signal may come while TensorFlow is only half imported.
    tf: Any = sys.modules.get("tensorflow")
    if not hasattr(tf, "inside_function"):
        return False
    # Of a function that is being traced, an init_scope is not a part.
    return bool(tf.inside_function() and not tf.executing_eagerly())
