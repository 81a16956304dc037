"""Open directories of files. Only this package writes to disks and remote stores."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Mapping
from types import NoneType
from typing import Any, cast

from tfpersist.errors import ArgumentError, StorageError, value_text
from tfpersist.storage.base import Hold, Publication, Sink, Storage, is_possible

__all__ = [
    "Hold",
    "Publication",
    "Sink",
    "Storage",
    "absolute",
    "open_storage",
    "placed",
    "text_of",
]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::[A-Za-z0-9+.-]+)*://")


def is_url(location: str) -> bool:
    """Return whether `location` is a URL, and not a path of this machine.

    Example:
        >>> is_url("s3://bucket/runs"), is_url("runs/a:b")
        (True, False)
    """
    return _URL.match(location) is not None


def text_of(location: object, expected: str = "a path or a URL") -> str:
    """Return a path as str.

    Args:
        location: the argument of a user.
        expected: what it should be, for the error.

    Raises:
        ArgumentError: it is not a path.

    Example:
        >>> text_of(pathlib.Path("runs/mnist")), text_of(b"runs")
        ('runs/mnist', 'runs')
    """
    if isinstance(location, (str, bytes, os.PathLike)):
        text = os.fsdecode(os.fspath(location))
        if text and is_possible(text):
            return text
        if text:
            raise ArgumentError("no file can have this path", expected=expected, found=ascii(text))
    raise ArgumentError(
        "the path is empty" if isinstance(location, (str, bytes)) else "this is not a path",
        expected=expected,
        found=value_text(location),
    )


def placed(
    location: Any, options: object = None, *, mapped: bool | None = None
) -> tuple[Any, object]:
    """Return a location as a path or a URL, and what its file system is opened with.

    Args:
        location: the argument of a user: a path, a URL, or a path of fsspec (`UPath`), which knows
            its file system.
        options: `storage_options` of a user: {name: value} for the file system of fsspec, or that
            file system; None for none.
        mapped: whether files of this machine are mapped; None to decide it by where they lie.

    Returns:
        The location, a URL if there are options; and the options, or else `mapped`.

    Raises:
        ArgumentError: `options` is something else, or the location is a directory of this machine.

    Example:
        >>> placed("s3://bucket/run", {"anon": True})
        ('s3://bucket/run', {'anon': True})
    """
    if hasattr(location, "fs") and hasattr(location, "path") and is_url(str(location)):
        location, options = str(location), location.fs if options is None else options
    if not isinstance(mapped, (bool, NoneType)):
        raise ArgumentError(
            "mapped must say whether files are mapped",
            where="mapped",
            expected="True, False or None",
            found=value_text(mapped),
        )
    if options is None:
        return location, mapped
    text = text_of(location)
    if isinstance(options, Mapping):
        if options and (not is_url(text) or text.startswith("memory://")):
            raise ArgumentError(
                "storage_options are for URLs that fsspec opens",
                where=text,
                expected='a URL such as "s3://bucket/run"',
                found="a directory of this machine or process",
            )
        return location, dict(options) or mapped
    if not hasattr(options, "cat_ranges"):
        raise ArgumentError(
            "these are no options of a file system",
            where="storage_options",
            expected='a dict such as {"anon": True}, or a file system of fsspec',
            found=value_text(options),
        )
    return text if is_url(text) else str(cast("Any", options).unstrip_protocol(text)), options


def absolute(location: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return a location that stays the same when the working directory changes.

    Args:
        location: a path or a URL, as for `open_storage`.

    Returns:
        An absolute path, as a pathlib.Path if `location` is one; a URL as it is.

    Raises:
        ArgumentError: it is not a path.

    Example:
        >>> absolute("/runs/../mnist"), absolute("s3://bucket/runs")
        ('/mnist', 's3://bucket/runs')
    """
    text = text_of(location, 'a directory, such as "runs/mnist", or "." for the present one')
    if is_url(text):
        return location
    path = os.path.abspath(text)
    return type(location)(path) if isinstance(location, pathlib.Path) else path


def open_storage(location: str | os.PathLike[str], options: object = None) -> Storage:
    """Open a directory; it may be absent until something is published.

    Args:
        location: a path; memory://name, which lives in this process; or any other URL that fsspec
            understands (extra `remote`).
        options: what `placed` returned with it.

    Returns:
        The storage.

    Raises:
        ArgumentError: it is not a path.
        UnsupportedError: this kind of URL needs a package that is not installed, or is unknown.
        StorageError: a directory in memory has no name.

    Example:
        >>> open_storage("memory://runs/mnist/").location
        'memory://runs/mnist'
    """
    text = text_of(location)
    mapped = options if isinstance(options, bool) else None
    is_plain = options is mapped
    if text.startswith("memory://") and is_plain:
        from tfpersist.storage.memory import MemoryStorage

        name = text.removeprefix("memory://").strip("/")
        if not name:
            raise StorageError(
                "this directory in memory has no name", where=text, expected="memory://name"
            )
        return MemoryStorage(name)
    if not is_plain or (is_url(text) and not text.startswith("file://")):
        from tfpersist.storage.remote import open_remote

        return open_remote(text, None if is_plain else options)
    from tfpersist.storage.local import open_local

    return open_local(text.removeprefix("file://"), mapped=mapped)
