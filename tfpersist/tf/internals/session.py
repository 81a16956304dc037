"""The private API of the fastest call into a session; a TensorFlow without it does not need it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def direct_callable(
    session: Any, feeds: Sequence[str], fetches: Sequence[str]
) -> Callable[..., Sequence[Any]] | None:
    """Return a function that computes in the thread that calls it.

    The caller has to take care of two things. Results may share memory with the graph, the feeds
    or other results. And the function accepts any array, whatever type and shape the feed has.

    Args:
        session: a tf.compat.v1.Session.
        feeds: names of tensors, in the order of the function's arguments.
        fetches: names of tensors, in the order of its results.

    Returns:
        The function; None where this TensorFlow cannot make one, or where the session computes in
        another process.
    """
    from tensorflow.core.protobuf import config_pb2

    make = getattr(session, "_make_callable_from_options", None)
    if make is None or getattr(session, "_target", None):
        return None
    options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
    options.run_options.inter_op_thread_pool = -1
    try:
        function: Callable[..., Sequence[Any]] = make(options)
    except (AttributeError, TypeError):
        return None
    return function
