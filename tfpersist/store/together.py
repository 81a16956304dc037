"""Save and restore on all workers of a strategy: each saves a share, and all agree before.

1. The workers meet. Each tells the others what it is about to save; if that is not the same, all
   of them raise an error, and nothing has been read.
2. Each takes the values of all variables, in one order. A variable that is synchronized on read is
   read by a collective, which now pairs with that of the same variable on the others.
3. Each writes its share of the tensors as a part (`checkpoint/worker_parts`), and leaves word.
4. The chief commits the parts and leaves word. If one worker has failed, all of them raise an
   error, and the checkpoint before is the newest.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.files import INDEX
from tfpersist.checkpoint.locate import Located
from tfpersist.checkpoint.worker_parts import JointSave, write_part
from tfpersist.errors import RestoreError, SaveError, TargetError, TFPersistError
from tfpersist.formats import crc32c
from tfpersist.formats.bundle_writer import Items, load
from tfpersist.storage import Storage
from tfpersist.tf.targets.target import Captured

if TYPE_CHECKING:
    from tfpersist.tf.internals.workers import Workers

T = TypeVar("T")

# Replicas of variables up to this size are compared, the smallest first: counters of steps.
_MOST_COMPARED, _LARGEST_COMPARED = 100, 4096


# The attempt of the last save into each directory, whose texts are still there.
_LAST: dict[str, str] = {}


def agreed(workers: Workers, facts: Mapping[str, str]) -> str:
    """Wait for the other workers, and compare what all are about to do.

    Args:
        workers: the workers.
        facts: what this one is about to do; it must be the same on all.

    Returns:
        A text that all workers get and no other call returns.

    Raises:
        TargetError: others do something else, or do not come.
    """
    texts = workers.meet(json.dumps({**facts, "token": secrets.token_hex(8)}))
    said = [json.loads(text) for text in texts]
    for name in dict.fromkeys(name for one in said for name in one if name != "token"):
        values = [one.get(name) for one in said]
        if len(set(values)) > 1:
            listed = "; ".join(f"worker {at}: {value}" for at, value in enumerate(values))
            raise TargetError(
                f"the workers do not agree on the {name}; nothing was saved or assigned",
                expected="the same calls of save() and restore() on all workers, in one order",
                found=listed,
                advice="Use the same directory, step and model on all workers.",
            )
    token: str = said[0]["token"]
    return token


def digest_of(lines: Sequence[str]) -> str:
    """Return a short text that differs where these lines differ."""
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:16]


def shares(items: Items, replicated: frozenset[str], of: int) -> list[list[int]]:
    """Divide tensors among workers: what all hold by size, and all else to the chief.

    Args:
        items: the tensors.
        replicated: the keys of those that all workers hold.
        of: the number of workers.

    Returns:
        The numbers of the tensors of each worker, in order.

    Example:
        >>> from tfpersist.formats.bundle_writer import Item
        >>> from tfpersist.formats.tensors import payload_of
        >>> sizes = {"own": 8, "a": 3, "b": 2, "c": 2, "d": 1}
        >>> items = Items.of(Item(key, payload_of(np.zeros(n))) for key, n in sizes.items())
        >>> shares(items, frozenset("abcd"), 2)
        [[0], [1, 2, 3, 4]]
    """
    sizes = [spec.nbytes or 0 for spec in items.specs]
    owned: list[list[int]] = [[] for _ in range(of)]
    filled = [0] * of
    numbers = sorted(range(len(items)), key=lambda n: (items.names[n] in replicated, -sizes[n]))
    for number in numbers:
        is_own = items.names[number] not in replicated
        worker = 0 if is_own else min(range(of), key=filled.__getitem__)
        owned[worker].append(number)
        filled[worker] += sizes[number]
    return [sorted(share) for share in owned]


def fingerprints(items: Items, replicated: frozenset[str]) -> dict[str, int]:
    """Return the checksums of small tensors of which all workers hold replicas."""
    small = [
        number
        for number, (name, spec) in enumerate(zip(items.names, items.specs, strict=True))
        if name in replicated and spec.nbytes is not None and spec.nbytes <= _LARGEST_COMPARED
    ]
    small.sort(key=lambda number: (items.specs[number].nbytes, items.names[number]))
    return {
        items.names[n]: crc32c.of_bytes(np.ascontiguousarray(load(items, n)).tobytes())
        for n in small[:_MOST_COMPARED]
    }


def writing(
    workers: Workers,
    save: JointSave,
    capture: Callable[[], tuple[Captured, Items]],
    *,
    replicated: frozenset[str],
    storage: Storage,
    commit: Callable[[], Directory],
    durable: bool,
) -> Callable[[], Located]:
    """Take the values of this worker, and return a function that writes its share and commits.

    Args:
        workers: the workers, which have agreed.
        save: the checkpoint.
        capture: takes the values.
        replicated: the keys of the tensors that all workers hold.
        storage: the directory.
        commit: makes a checkpoint of all parts; the chief calls it.
        durable: wait until parts would survive a power loss.

    Raises:
        Exception: the capture has failed; the other workers get a SaveError.
    """
    parts, done = f"parts/{save.attempt}", f"done/{save.attempt}"
    try:
        captured, items = capture()
    except BaseException as error:
        workers.leave(parts, json.dumps({"error": _text(error)}))
        raise

    def write() -> Located:
        began = time.monotonic()
        try:
            seen = fingerprints(items, replicated)
            own = [items[n] for n in shares(items, replicated, workers.of)[workers.number]]
            write_part(
                storage,
                save,
                workers.number,
                own,
                durable=durable,
                layers=captured.layers if workers.number == 0 else None,
            )
        except BaseException as error:
            workers.leave(parts, json.dumps({"error": _text(error)}))
            raise
        finally:
            items.clear()
        workers.leave(parts, json.dumps({"replicas": seen}))
        # The shares of the others are about as large.
        more = 10 * (time.monotonic() - began)
        said = [json.loads(text) for text in workers.collect(parts, "save its part", more)]
        _check(said, save.prefix)
        if workers.number:
            _check_commit(workers, done, more, save.prefix)
            return Located(storage, Directory.look(storage).files(save.prefix))
        try:
            located = Located(storage, commit().files(save.prefix))
        except BaseException as error:
            workers.leave(done, json.dumps({"error": _text(error)}))
            raise
        workers.leave(done, "{}")
        # All workers are past the save before this one.
        if before := _LAST.pop(storage.location, ""):
            workers.forget(f"parts/{before}")
            workers.forget(f"done/{before}")
        _LAST[storage.location] = save.attempt
        return located

    return write


def agreed_on(
    workers: Workers, load: Callable[[], T], checkpoint_of: Callable[[T], Checkpoint]
) -> T:
    """Load what a restore assigns, and compare it with what the other workers are to assign.

    Args:
        workers: the workers.
        load: loads the values, and returns them if they can be assigned.
        checkpoint_of: returns the checkpoint that values came from.

    Returns:
        The values.

    Raises:
        RestoreError: another worker cannot restore, or would restore another checkpoint.
        Exception: `load` has failed; the other workers get a RestoreError.
    """
    try:
        loaded = load()
        checkpoint = checkpoint_of(loaded)
        mine = {"checkpoint": checkpoint.prefix, "content": _content(checkpoint)}
    except BaseException as error:
        workers.pass_by(json.dumps({"call": "restore", "error": _text(error)}))
        raise
    said = [json.loads(text) for text in workers.meet(json.dumps({"call": "restore", **mine}))]
    for worker, one in enumerate(said):
        if one.get("call") != "restore":
            raise TargetError(
                f"worker {worker} saves while this one restores; nothing was assigned",
                expected="the same calls of save() and restore() on all workers, in one order",
                advice="Call both on each worker, not only on the chief.",
            )
        if "error" in one:
            raise RestoreError(
                f"worker {worker} cannot restore; nothing was assigned: {one['error']}",
                where=checkpoint.prefix,
                advice="Call restore() again on all workers when that worker can.",
            )
    if len({one["content"] for one in said}) > 1:
        raise RestoreError(
            "the workers are about to restore different checkpoints; nothing was assigned",
            where=checkpoint.prefix,
            expected="one checkpoint on all workers",
            found="; ".join(f"worker {at}: {one['checkpoint']}" for at, one in enumerate(said)),
            advice="Use a directory that all workers reach, or choose one with at(step).",
        )
    return loaded


def _content(checkpoint: Checkpoint) -> str:
    """Return what tells a checkpoint from others: the digest of its index, else of its specs."""
    index = checkpoint.name + INDEX
    if checkpoint.storage.stamps([index]):
        return hashlib.sha256(checkpoint.storage.read(index)).hexdigest()
    return digest_of([f"{key} {spec}" for key, spec in checkpoint.specs.items()])


def _check(said: Sequence[Mapping[str, Any]], prefix: str) -> None:
    for worker, one in enumerate(said):
        if "error" in one:
            raise SaveError(
                f"worker {worker} could not save its part, so nothing was saved: {one['error']}",
                where=prefix,
                advice="Call save() again on all workers when that worker can.",
            )
    for key, crc in said[0]["replicas"].items():
        others = [at for at, one in enumerate(said) if one["replicas"].get(key) != crc]
        if others:
            raise SaveError(
                "workers hold different values of one variable, so they are not at one step;"
                " nothing was saved",
                where=f"{prefix}, tensor {key!r}",
                expected="the value of worker 0",
                found=f"another one on worker {', '.join(map(str, others))}",
                advice="Call save() after the same step on all workers.",
            )


def _check_commit(workers: Workers, done: str, more: float, prefix: str) -> None:
    """Wait until the chief says that it has committed the checkpoint."""
    try:
        outcome = json.loads(workers.text_of(0, done, "commit the checkpoint", more))
        error, cause = outcome.get("error", ""), None
    except TargetError as silent:
        error, cause = "it does not answer", silent
    if error:
        raise SaveError(
            f"worker 0 could not finish the checkpoint: {error}",
            where=prefix,
            advice="It is whole or absent: checkpoints() lists it if worker 0 had committed it.",
        ) from cause


def _text(error: BaseException) -> str:
    return str(error) if isinstance(error, TFPersistError) else f"{type(error).__name__}: {error}"
