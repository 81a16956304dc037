"""Write bytes to a temporary file, for programs that take the path of a file only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tfpersist.errors import StorageError


@contextmanager
def path_of(data: bytes, suffix: str = "") -> Iterator[str]:
    """Return a path at which this process can read some bytes, until the end of the `with` block.

    On Linux the file is in memory only, so this needs no directory that can be written to.

    Args:
        data: the bytes.
        suffix: the end of the name of the file, where it has a name.

    Raises:
        StorageError: the file cannot be written.

    Example:
        >>> with path_of(b"abc") as path, open(path, "rb") as file:
        ...     file.read()
        b'abc'
        >>> os.path.exists(path)
        False
    """
    with ExitStack() as stack:
        try:
            path = _in_memory(data, stack) or _on_disk(data, suffix, stack)
        except OSError as error:
            raise StorageError(
                f"a temporary file cannot be written: {error.strerror}",
                where=str(error.filename or tempfile.gettempdir()),
                advice="Set TMPDIR to a directory with free space.",
            ) from error
        yield path


def _in_memory(data: bytes, stack: ExitStack) -> str | None:
    """Return the path of a file in memory; None where there are none."""
    if not hasattr(os, "memfd_create"):
        return None
    memory = os.memfd_create("tfpersist")
    stack.callback(os.close, memory)
    path = f"/proc/self/fd/{memory}"
    with open(memory, "wb", closefd=False) as file:
        file.write(data)
    return path if os.path.exists(path) else None


def _on_disk(data: bytes, suffix: str, stack: ExitStack) -> str:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tfpersist-"))
    path = os.path.join(folder, f"tfpersist{suffix}")
    with open(path, "wb") as file:
        file.write(data)
    return path
