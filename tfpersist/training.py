"""What a store does around a training loop: saves in the background and at the loop's events."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import attrs

from tfpersist.errors import SaveError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of

if TYPE_CHECKING:
    from tfpersist.background import Worker
    from tfpersist.tf.target import Captured

_Store = TypeVar("_Store", bound="Training")


@attrs.frozen(eq=False, slots=False)
class Training:
    """The part of a store that knows of training loops.

    Args:
        in_flight: how many saves may be under way in the background; 0 where every save is over
            when it returns.
    """

    in_flight: int = attrs.field(default=0, kw_only=True)

    def background(self: _Store, in_flight: int = 1) -> _Store:
        """Save in the background: `save` takes the values as they are and returns at once.

        What it returns is the checkpoint, and whoever looks into it waits; `wait(timeout)` does
        only that, and `done` tells. When `in_flight` saves are under way, the next waits for the
        first of them. An error is raised by the next call of any kind, which then does nothing
        else, and by `close()`. Restoring and listing wait first. All background saves into one
        directory end in the order of their calls. At its end the process waits for them for up to
        `tfpersist.background.EXIT_PATIENCE` seconds.

        The values of TensorFlow's variables are shared, not copied, until training changes them:
        a save costs no time for them, and up to one model of memory while it is under way.

        Args:
            in_flight: how many saves may be under way at once.

        Returns:
            A store that saves in the background.

        Raises:
            SaveError: `in_flight` is less than 1.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> with tfp.ModelStore("memory://doc/background").background() as store:
            ...     for step in range(3):
            ...         _ = store.save({"v": np.int32(step)}, step=step)
            >>> store.latest().step
            2
        """
        if in_flight < 1:
            raise SaveError(
                "a background store needs room for a save", expected="1 or more", found=in_flight
            )
        return attrs.evolve(self, in_flight=int(in_flight))

    def wait(self) -> None:
        """Wait for the saves that are under way.

        Raises:
            TFPersistError: one of them has failed.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.ModelStore("memory://doc/wait").background().wait()
        """
        if self.in_flight:
            self._worker.wait()
            self._worker.raise_failure()

    def close(self) -> None:
        """Wait as `wait` does; a `with` block ends so. The store can be used again afterwards.

        Raises:
            TFPersistError: a save has failed.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.ModelStore("memory://doc/close").close()
        """
        self.wait()

    def __enter__(self: _Store) -> _Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif self.in_flight:
            self._worker.wait()

    if TYPE_CHECKING:

        @property
        def _worker(self) -> Worker: ...


def lasting(captured: Captured) -> list[Item]:
    """Fetch all values now, and copy those that lie in the caller's own memory.

    Args:
        captured: what a save writes.

    Returns:
        Items that stay what they are now.
    """
    held = []
    for item in captured.items:
        value = item.payload.load()
        kept = value.copy() if item.key in captured.borrowed else value
        held.append(attrs.evolve(item, payload=payload_of(kept, item.payload.spec.dtype)))
    return held
