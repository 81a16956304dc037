"""The private API of the fastest call into a session; a TensorFlow without it does not need it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import attrs


def direct_callable(
    session: Any,
    feeds: Sequence[str],
    fetches: Sequence[str],
    targets: Sequence[str] = (),
    *,
    in_caller: bool = True,
) -> Callable[..., Sequence[Any]] | None:
    """Return a function that computes tensors, with as little work around it as there can be.

    The caller has to take care of two things. Results may share memory with the graph, the feeds
    or other results. And the function accepts any array, whatever type and shape the feed has.

    Args:
        session: a tf.compat.v1.Session.
        feeds: names of tensors, in the order of the function's arguments.
        fetches: names of tensors, in the order of its results.
        targets: names of operations that it runs as well.
        in_caller: whether it computes in the thread that calls it; else operations that do not
            need each other run at once in the threads of the session.

    Returns:
        The function; None where this TensorFlow cannot make one, or where the session computes in
        another process.
    """
    from tensorflow.core.protobuf import config_pb2

    make = getattr(session, "_make_callable_from_options", None)
    if make is None or getattr(session, "_target", None):
        return None
    options = config_pb2.CallableOptions(feed=feeds, fetch=fetches, target=targets)
    options.run_options.inter_op_thread_pool = -1 if in_caller else 0
    try:
        function: Callable[..., Sequence[Any]] = make(options)
    except (AttributeError, TypeError):
        return None
    return function


@attrs.frozen
class _WeakSession:
    """The attributes of a session that a callable uses, without keeping the session alive."""

    reference: weakref.ref[Any]

    @property
    def _session(self) -> Any:
        session = self.reference()
        return None if session is None else session._session

    @property
    def _closed(self) -> bool:
        session = self.reference()
        return session is None or session._closed


_Names = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]

# The last callable of each session that reads, and the last that is fed; with the names of what
# they are fed, fetch and run.
_KEPT: dict[tuple[int, bool], tuple[weakref.ref[Any], _Names, Callable[..., Sequence[Any]]]] = {}


def kept_callable(
    session: Any, fetches: Sequence[str], feeds: Sequence[str] = (), targets: Sequence[str] = ()
) -> Callable[..., Sequence[Any]] | None:
    """Return `direct_callable(session, feeds, fetches, targets)`, and keep it for the next call.

    To make one takes longer than to read a small model with it. It is kept as long as the session
    lives and the names are the same, and it does not keep the session alive.

    Args:
        session: a tf.compat.v1.Session.
        fetches: names of tensors, in the order of the function's results.
        feeds: names of tensors, in the order of the function's arguments.
        targets: names of operations that it runs as well.

    Returns:
        The function; None where `direct_callable` returns None.
    """
    names, key = (tuple(feeds), tuple(fetches), tuple(targets)), (id(session), bool(feeds))
    kept = _KEPT.get(key)
    if kept is not None and kept[0]() is session and kept[1] == names:
        return kept[2]
    made = direct_callable(session, feeds, fetches, targets)
    if made is None or not hasattr(made, "_handle"):
        return made
    function: Any = made
    function._session = _WeakSession(weakref.ref(session))

    def forget(_: object) -> None:
        # The session has released all its callables; this one must not try to.
        function._handle = None
        if _KEPT.get(key, (None, None, None))[2] is function:
            del _KEPT[key]

    _KEPT[key] = weakref.ref(session, forget), names, function
    return made
