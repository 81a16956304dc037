"""Keep a checkpoint from being pruned: lock its index until it is released or the process ends.

The operating system keeps the lock (flock). If a process dies, its locks end, and no file stays
behind. A restore locks the checkpoint that it reads in the same way.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import attrs

from tfpersist.checkpoint.files import Files
from tfpersist.checkpoint.locate import Located
from tfpersist.errors import CheckpointNotFoundError, StorageError, UnsupportedError
from tfpersist.storage import Hold, Storage

# A pruning or a save locks a checkpoint only while it renames a few files.
_PATIENCE = 5.0
_PAUSE = 0.01


@attrs.define(eq=False)
class Pin:
    """A checkpoint that no pruning removes until it is released or this process ends.

    Args:
        prefix: the checkpoint.

    Example:
        >>> import numpy as np, tfpersist as tfp
        >>> checkpoint = tfp.ModelStore("memory://doc/pinned").save({"v1": np.float32([1, 2])})
        >>> with checkpoint.pin() as pin:
        ...     print(pin.prefix)
        memory://doc/pinned/model.ckpt
    """

    prefix: str
    _hold: Hold = attrs.field(repr=False)

    def release(self) -> None:
        """Let the checkpoint be pruned again. Calling it twice is allowed.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> checkpoint = tfp.ModelStore("memory://doc/pinned").save({"v1": np.float32([1, 2])})
            >>> pin = checkpoint.pin()
            >>> pin.release()
        """
        self._hold.release()

    def __enter__(self) -> Pin:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def marker(files: Files) -> str:
    """Return the file that a save writes last and a removal removes first."""
    return files.shards[0] if files.index is None else files.index


@contextmanager
def held(storage: Storage, files: Files) -> Iterator[Hold | None]:
    """Keep a checkpoint from being removed while it is read, if the storage has locks.

    Returns:
        The hold on its marker; None if another process removes the checkpoint now.

    Raises:
        CheckpointNotFoundError: it was removed before, or meanwhile if the storage has no locks.
    """
    hold = None
    try:
        # None if another process removes the checkpoint now. There is no use in waiting for it.
        hold = storage.hold(marker(files))
        yield hold
    except StorageError as error:
        if error.errno != errno.ENOENT or marker(files) in storage.names():
            raise
        raise _gone(Located(storage, files)) from error
    finally:
        if hold is not None:
            hold.release()


def _gone(located: Located) -> CheckpointNotFoundError:
    return CheckpointNotFoundError(
        "this checkpoint is gone",
        where=located.path,
        advice="It was pruned or removed. ModelStore.checkpoints() lists what is there.",
    )


def pin(located: Located) -> Pin:
    """Pin a checkpoint; see `Checkpoint.pin`."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            held = located.storage.hold(marker(located.files))
        except StorageError as error:
            if error.errno != errno.ENOENT:
                raise
            raise _gone(located) from error
        if held is not None and held.effective:
            return Pin(located.path, held)
        if held is not None:
            held.release()
            raise UnsupportedError(
                "a checkpoint cannot be pinned in this storage: it has no locks that end with a "
                "process",
                where=located.storage.location,
                advice="Use Keep(where=...), which keeps checkpoints in any storage.",
            )
        if time.monotonic() > until:
            raise StorageError(
                "this checkpoint is being written or removed by another process",
                where=located.path,
                advice="Try again, or pin another checkpoint.",
            )
        time.sleep(_PAUSE)
