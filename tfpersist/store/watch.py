"""Wait for checkpoints that another process saves, as an evaluation does beside a training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.locate import Located
from tfpersist.checkpoint.pins import held, marker
from tfpersist.errors import CheckpointNotFoundError
from tfpersist.storage import Storage
from tfpersist.storage.base import Stamp
from tfpersist.store.which import Which


def watch(
    storage: Storage, which: Which, *, timeout: float | None, poll: float, newest: bool
) -> Iterator[Checkpoint]:
    """Yield checkpoints as they appear; see `ModelStore.watch`.

    Args:
        storage: the directory.
        which: the choice of checkpoints.
        timeout: end after this many seconds without a new one; None to wait for ever.
        poll: seconds between two looks at the directory.
        newest: whether to leave out all but the newest where several have appeared.
    """
    seen: dict[str, Stamp] = {}
    since = time.monotonic()
    while True:
        look = Directory.look(storage)
        waiting = [
            Located(storage, look.files(prefix))
            for prefix in which.complete(look)
            if _stamp(Located(storage, look.files(prefix))) not in (None, seen.get(prefix))
        ]
        news = False
        for located in waiting:
            with _kept(located) as stamp:
                # It may be gone by now, or another one may have its name since the look.
                if stamp is None or seen.get(located.files.prefix) == stamp:
                    continue
                seen[located.files.prefix] = stamp
                news = True
                if newest and located is not waiting[-1]:
                    continue
                yield Checkpoint(located)
            since = time.monotonic()
        if news:
            continue
        left = None if timeout is None else since + timeout - time.monotonic()
        if left is not None and left <= 0:
            return
        time.sleep(poll if left is None else min(poll, left))


@contextmanager
def _kept(located: Located) -> Iterator[Stamp | None]:
    """Keep a checkpoint from being pruned, where the storage can; yield its stamp, or None."""
    try:
        with held(located.storage, located.files) as hold:
            # Without a hold, another process removes it now.
            yield None if hold is None else _stamp(located)
    except CheckpointNotFoundError:
        yield None


def _stamp(located: Located) -> Stamp | None:
    """Return what tells a checkpoint from another one of its name; None if it is gone."""
    # The file that a save writes last tells two checkpoints of one name apart.
    name = marker(located.files)
    return located.storage.stamps([name]).get(name)
