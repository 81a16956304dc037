"""The private part of TensorFlow's session that calls it fastest; tested on both ends of the
supported range, and done without where a TensorFlow does not have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def direct_callable(
    session: Any, feeds: Sequence[str], fetches: Sequence[str]
) -> Callable[..., Sequence[Any]] | None:
    """Make a function that computes in the thread that calls it.

    Its results may lie in memory that the graph, the feeds or other results use as well, and it
    takes any array for what the feed is: both are for the caller to see to.

    Args:
        session: a tf.compat.v1.Session.
        feeds: names of tensors, in the order of the function's arguments.
        fetches: names of tensors, in the order of its results.

    Returns:
        The function; None where this TensorFlow has no such thing, or another process computes.
    """
    from tensorflow.core.protobuf import config_pb2

    make = getattr(session, "_make_callable_from_options", None)
    if make is None or getattr(session, "_target", None):
        return None
    options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
    options.run_options.inter_op_thread_pool = -1
    try:
        made: Callable[..., Sequence[Any]] = make(options)
    except (AttributeError, TypeError):
        return None
    return made
