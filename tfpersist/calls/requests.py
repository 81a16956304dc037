"""Normalize fetches and feeds."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from tfpersist.errors import FeedError, value_text


def structured(fetches: Any, compute: Callable[[Sequence[Any]], Sequence[Any]]) -> Any:
    """Compute tensors, and return them in the form in which they are asked for.

    Args:
        fetches: one tensor, a list of tensors, or a dict {any label: tensor}.
        compute: returns the values of a list of tensors.

    Returns:
        One value, a list or a dict of values.

    Example:
        >>> structured({"a": "x", "b": "y"}, lambda names: [name.upper() for name in names])
        {'a': 'X', 'b': 'Y'}
    """
    if isinstance(fetches, Mapping):
        return dict(zip(fetches, compute(list(fetches.values())), strict=True))
    if isinstance(fetches, (list, tuple)):
        return compute(list(fetches))
    return compute([fetches])[0]


def feeds_of(feeds: Mapping[Any, Any] | None) -> Mapping[Any, Any]:
    """Return the feeds.

    Args:
        feeds: the argument of a user.

    Raises:
        FeedError: it is not a dict.

    Example:
        >>> feeds_of(None), feeds_of({"x": 1})
        ({}, {'x': 1})
    """
    if feeds is None:
        return {}
    if isinstance(feeds, Mapping):
        return feeds
    raise FeedError(
        "the feeds must be a dict",
        expected="{tensor name: value}",
        found=value_text(feeds),
        advice="Pass each value under the name of its tensor, as in {'x:0': ...}.",
    )


def refuse_fed_twice(name: str, label: object, fed: Container[str]) -> None:
    """Raise if a tensor is fed a second time.

    Args:
        name: the name of the tensor.
        label: what the user calls it.
        fed: the names of the tensors that are fed so far.

    Raises:
        FeedError: it is one of these.

    Example:
        >>> refuse_fed_twice("x:0", "x", {"x:0"})
        Traceback (most recent call last):
        tfpersist.errors.FeedError: x:0: this tensor is fed twice; got it again as 'x'. Pass each \
tensor under one name.
    """
    if name in fed:
        raise FeedError(
            "this tensor is fed twice",
            where=name,
            found=f"it again as {label!r}",
            advice="Pass each tensor under one name.",
        )


def missing_feeds(missing: Sequence[tuple[str, str]]) -> FeedError:
    """Return the error for placeholders that fetches need and that are not fed.

    Args:
        missing: name and spec of each.

    Example:
        >>> print(missing_feeds([("x:0", "float32[2]")]))
        x:0: the fetches need this placeholder, and it is not fed; expected float32[2]. Pass \
feeds={'x:0': ...}.
    """
    return FeedError(
        "the fetches need this placeholder, and it is not fed"
        if len(missing) == 1
        else "the fetches need all these placeholders, and they are not fed",
        where=", ".join(name for name, _ in missing),
        expected=", ".join(spec for _, spec in missing),
        advice=f"Pass feeds={{{missing[0][0]!r}: ...}}.",
    )
