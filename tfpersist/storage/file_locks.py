"""Lock files and directories of this machine with flock(2), where the file system has locks."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

NO_LOCKS = {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class _Locked(threading.local):
    """The directories that this thread has locked; to lock one twice would wait for itself."""

    def __init__(self) -> None:
        self.locations: set[str] = set()


_LOCKED = _Locked()


def flock(descriptor: int, operation: int) -> bool:
    """Lock a file; return False if it is locked already or the system has no locks."""
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


@contextmanager
def locked_directory(location: str) -> Iterator[None]:
    """Lock a directory against other writers; do nothing if it is absent or cannot be locked.

    A thread that has the lock may lock the directory again.
    """
    if location in _LOCKED.locations:
        yield
        return
    try:
        descriptor = os.open(location, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    locked = False
    try:
        locked = flock(descriptor, fcntl.LOCK_EX)
        _LOCKED.locations.add(location)
        yield
    finally:
        _LOCKED.locations.discard(location)
        # A process that was forked meanwhile shares the lock: to close the file is not enough.
        with suppress(OSError):
            if locked:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        with suppress(OSError):
            os.close(descriptor)
