"""Save in the background: take the values at the call, and let a thread write them later.

All saves into one directory go through one queue of this process, so that they end in the order of
their calls. When the interpreter exits it waits for them, though not for ever; a save that is cut
off leaves the checkpoint before it as the newest.
"""

from __future__ import annotations

import atexit
import math
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.locate import Located, locate
from tfpersist.errors import SaveError
from tfpersist.progress import awaited

if TYPE_CHECKING:
    from tfpersist.storage import Storage

# How long an interpreter that exits waits for all saves together, in seconds.
EXIT_PATIENCE = 60.0


@attrs.define(eq=False)
class Job:
    """One save.

    Args:
        prefix: the checkpoint that it writes.
        work: what is left to be done, with the values; None when it was done.
        located: the checkpoint, when it is written.
        error: why it failed.
    """

    prefix: str
    work: Callable[[], Located] | None
    located: Located | None = None
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.work is None


@attrs.define(eq=False)
class Worker:
    """The saves into one directory that are not done, and the thread that does them in order.

    The thread lives only while there is something to do.
    """

    _changed: threading.Condition = attrs.field(factory=threading.Condition, init=False)
    _jobs: deque[Job] = attrs.field(factory=deque, init=False)
    _capturing: int = attrs.field(default=0, init=False)
    _failed: deque[Job] = attrs.field(factory=deque, init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)

    def begin(self, prefix: str, capture: Callable[[], Callable[[], Located]], limit: int) -> Job:
        """Take the values of a save, and let the thread write them.

        Args:
            prefix: the checkpoint.
            capture: captures the values, and returns a function that writes them; called when fewer
            than `in_flight` saves run.
            limit: how many saves may hold values at once.

        Returns:
            The save.

        Raises:
            Exception: what made an earlier save fail, or the capture; nothing was begun.
        """
        self.raise_failure()
        _await_at_exit()
        with awaited(lambda: self._thread) as look, self._changed:
            while self._capturing + len(self._jobs) >= limit:
                self._changed.wait(look())
            self._capturing += 1
        try:
            self.raise_failure()
            job = Job(prefix, capture())
        except BaseException:
            with self._changed:
                self._capturing -= 1
                self._changed.notify_all()
            raise
        with self._changed:
            self._capturing -= 1
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tfpersist", daemon=True)
                self._thread.start()
        return job

    def wait(self, job: Job | None = None, timeout: float | None = None) -> bool:
        """Wait for a save, or for all that were begun; True when done."""
        if threading.current_thread() is self._thread:
            return True
        end = None if timeout is None else time.monotonic() + timeout
        with awaited(lambda: self._thread) as look, self._changed:
            while not job.done if job else self._jobs:
                left = math.inf if end is None else end - time.monotonic()
                if left <= 0:
                    return False
                pause = look()
                self._changed.wait(pause if end is None else min(left, pause or left))
        return True

    def raise_failure(self) -> None:
        """Raise the error of the earliest save that failed, unless it was reported already."""
        if threading.current_thread() is self._thread:
            return
        with self._changed:
            job = self._failed.popleft() if self._failed else None
        if job is not None and job.error is not None:
            raise job.error

    def reported(self, job: Job) -> None:
        """Note that the error of a save has reached the user."""
        with self._changed:
            if job in self._failed:
                self._failed.remove(job)

    def failures(self) -> list[Job]:
        """Return the saves whose failure was not reported yet, and count them as reported."""
        with self._changed:
            failed = list(self._failed)
            self._failed.clear()
        return failed

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._jobs:
                    self._thread = None
                    return
                job = self._jobs[0]
            try:
                if job.work is not None:
                    job.located = job.work()
            except BaseException as error:
                # Its frames hold the values, which may be as large as the model.
                traceback.clear_frames(error.__traceback__)
                job.error = error
            with self._changed:
                job.work = None
                self._jobs.popleft()
                if job.error is not None:
                    self._failed.append(job)
                self._changed.notify_all()

    def forked(self) -> None:
        """Start without jobs in a forked process: the thread and its jobs are the parent's."""
        for job in self._jobs:
            job.error = SaveError(
                f"the save of {job.prefix!r} belongs to the process that was forked",
                advice="Wait for it there, or fork when no save is under way.",
            )
            job.work = None
        # The lock may be held by a thread that does not run here.
        self._changed, self._thread, self._capturing = threading.Condition(), None, 0
        self._jobs, self._failed = deque(), deque()


class PendingCheckpoint(Checkpoint):
    """A checkpoint that is being written. Reading it waits until it is written.

    Example:
        >>> import numpy as np, tfpersist as tfp
        >>> with tfp.ModelStore("memory://doc/pending").background() as store:
        ...     checkpoint = store.save({"v": np.float32([1, 2])}, step=3)
        ...     checkpoint.step, checkpoint.wait(), checkpoint["v"]
        (3, True, array([1., 2.], dtype=float32))
    """

    def __init__(
        self, storage: Storage, name: str, step: int | None, job: Job, worker: Worker
    ) -> None:
        self._target = storage
        self._name = name
        self._step = step
        self._job = job
        self._worker = worker

    @property
    def _located(self) -> Located:
        self.wait()
        return self._job.located or locate(self._name, self._target)

    @property
    def storage(self) -> Storage:
        """The directory it will lie in."""
        return self._target

    @property
    def name(self) -> str:
        """The last part of its prefix, such as "model.ckpt-1000"."""
        return self._name

    @property
    def prefix(self) -> str:
        """Directory and name, as `tf.train.load_checkpoint` takes it once it is written."""
        return f"{self._target.location}/{self._name}"

    @property
    def step(self) -> int | None:
        """The training step."""
        return self._step

    @property
    def done(self) -> bool:
        """True if the save has been written or has failed."""
        return self._job.done

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is written.

        Args:
            timeout: seconds; None for as long as it takes.

        Returns:
            Whether it is written; False when the time is over.

        Raises:
            SaveError: the captured values cannot be saved.
            StorageError: it could not be written; nothing is left of it.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/pending").background()
            >>> store.save({"v": np.zeros(2)}, step=4).wait()
            True
        """
        done = self._worker.wait(self._job, timeout)
        if self._job.error is not None:
            self._worker.reported(self._job)
            raise self._job.error
        return done

    def __repr__(self) -> str:
        if not self.done:
            return f"<PendingCheckpoint {self.prefix!r}: being written>"
        if self._job.error is not None:
            return f"<PendingCheckpoint {self.prefix!r}: {self._job.error}>"
        return super().__repr__()


# By directory; they are few, and what failed in them must not be forgotten.
_WORKERS: dict[str, Worker] = {}
_LOCK = threading.Lock()
_AWAITED = False


def worker_at(location: str) -> Worker:
    """Return the one queue of this process for a directory.

    Example:
        >>> worker_at("memory://doc/worker") is worker_at("memory://doc/worker")
        True
    """
    with _LOCK:
        return _WORKERS.setdefault(location, Worker())


def _await_at_exit() -> None:
    """Make this process wait for its saves when it ends."""
    global _AWAITED  # noqa: PLW0603
    if not _AWAITED:
        _AWAITED = True
        atexit.register(_wait_at_exit)
        processes = sys.modules.get("multiprocessing.process")
        if processes is not None and processes.parent_process() is not None:
            # One that multiprocessing has forked ends without atexit.
            from multiprocessing.util import Finalize

            Finalize(None, _wait_at_exit, exitpriority=0)


def _wait_at_exit() -> None:
    end = time.monotonic() + EXIT_PATIENCE
    for location, worker in list(_WORKERS.items()):
        if not worker.wait(timeout=max(0.0, end - time.monotonic())):
            print(
                f"tfpersist: {location}: saves are still under way after {EXIT_PATIENCE:g} seconds;"
                " the newest checkpoint is the one before them",
                file=sys.stderr,
            )
        for job in worker.failures():
            print(f"tfpersist: the save of {job.prefix!r} failed: {job.error}", file=sys.stderr)


def _forget_parent() -> None:
    global _LOCK, _AWAITED
    _LOCK, _AWAITED = threading.Lock(), False
    for worker in _WORKERS.values():
        worker.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
