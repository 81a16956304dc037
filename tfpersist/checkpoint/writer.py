"""Write a checkpoint: data, meta graph, sidecar and index in one publication, then the state.

The index is the commit marker: it appears last, when everything that it speaks of is in place. What
a replaced checkpoint had more (shards, a meta graph) goes in the same step. The `checkpoint` state
file follows in a step of its own, since losing it loses nothing: the directory is the truth.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

import attrs

from tfpersist.checkpoint import files, sidecar
from tfpersist.checkpoint.data_files import Shards, publish_changes
from tfpersist.checkpoint.incremental import Seen
from tfpersist.errors import SaveError, StorageError
from tfpersist.formats import crc32c, state
from tfpersist.formats.bundle_writer import Item
from tfpersist.progress import Watched, progress
from tfpersist.storage import Storage

ALIGNMENT = 64
# From twice as many bytes on, files of about this size or more are written side by side.
_SHARD_SIZE = 32 << 20
# How often the state file is written again because others save at the same time.
_TRIES = 20


def write_checkpoint(
    storage: Storage,
    prefix: str,
    items: Sequence[Item],
    *,
    meta: bytes | None = None,
    step: int | None = None,
    metrics: Mapping[str, float] | None = None,
    state: bool = True,
    durable: bool = True,
    alignment: int = ALIGNMENT,
    incremental: bool = False,
    seen: Seen | None = None,
    spend: bool = False,
) -> files.Files:
    """Write a checkpoint, all of it or nothing.

    Args:
        storage: where to.
        prefix: its name, without a directory; a checkpoint of this name is replaced.
        items: the tensors, in the order of their bytes in the file.
        meta: the bytes of its `.meta`; None for none.
        step: the training step, for the sidecar.
        metrics: what was measured, for the sidecar.
        state: whether to name it the latest in the `checkpoint` state file.
        durable: wait until it would survive a power loss.
        alignment: every tensor starts at a multiple of this many bytes; 1 is what TensorFlow does.
        incremental: take over what has not changed since the checkpoint before.
        seen: what is known of memory that the tensors may lie in; with `incremental`.
        spend: let go of each value once it is written, unless it may have to be written again, as
            with `incremental`.

    Returns:
        Its files.

    Raises:
        SaveError: the name, the tensors or the metrics are no good; nothing was written.
        StorageError: it could not be written, and nothing is left of it; or it was written and the
            state file could not be, as the message then says.

    Example:
        >>> import numpy as np
        >>> from tfpersist.formats.tensors import payload_of
        >>> from tfpersist.storage import open_storage
        >>> storage = open_storage("memory://doc/write")
        >>> files = write_checkpoint(storage, "m-1", [Item("v", payload_of(np.zeros(3)))], step=1)
        >>> sorted(storage.names())
        ['checkpoint', 'm-1.data-00000-of-00001', 'm-1.index', 'm-1.tfpersist.json']
    """
    _check_prefix(prefix)
    measured = sidecar.measured(metrics)
    found = files.checkpoints(storage)
    known = files.aged(storage, found)
    others = {other: age for other, age in known.items() if other != prefix}
    created = order = time.time()
    newest = max((age.order for age in others.values()), default=0.0)
    if order <= newest < math.inf:
        # The newest stays the newest where the clock went back.
        order = math.nextafter(newest, math.inf)
    facts = sidecar.Sidecar(created, step, measured, order=order)

    def publish(shards: Shards) -> list[str]:
        with (
            progress(f"Saving {prefix}", lambda: _size(items)) as done,
            storage.publish(durable=durable) as publication,
        ):
            names, written = shards.write(
                Watched(publication, done), prefix, alignment, _SHARD_SIZE if storage.maps else 0
            )
            if meta is not None:
                publication.create(prefix + files.META).write(meta)
                names.append(prefix + files.META)
            noted = attrs.evolve(
                facts,
                index_crc32c=crc32c.of(written.index),
                meta_crc32c=None if meta is None else crc32c.of(meta),
                sizes=written.sizes,
                increment=shards.noted(written) if incremental else None,
            )
            publication.create(prefix + sidecar.SUFFIX).write(noted.encode())
            publication.create(prefix + files.INDEX).write(written.index)
            names += [prefix + sidecar.SUFFIX, prefix + files.INDEX]
            for name in sorted(files.belonging(prefix, storage.names()).difference(names)):
                publication.discard(name)
        if seen is not None:
            seen.note(noted.index_crc32c or 0, shards.plan.buffers if shards.plan else {})
        return names

    if incremental:
        earlier = {name: found[name] for name in known}
        names = publish_changes(storage, prefix, list(items), earlier, publish, seen=seen)
    else:
        names = publish(Shards(items, spend=spend))
    if state:
        dates = {other: age.created for other, age in others.items()}
        _update_state(storage, {**dates, prefix: created}, prefix, durable=durable)
    return files.v2_files(names)[prefix]


def write_state(storage: Storage, dates: Mapping[str, float], *, durable: bool = True) -> None:
    """Write the `checkpoint` state file, which `tf.train.latest_checkpoint` reads.

    Args:
        storage: the directory.
        dates: the checkpoints in it, oldest first, as `listing.dated` gives them.
        durable: wait until it would survive a power loss.

    Raises:
        StorageError: it could not be written; what it said before still stands.
    """
    if not dates:
        storage.remove([files.STATE_FILE])
        return
    content = encode_state(storage, dates)
    with storage.publish(durable=durable) as publication:
        publication.create(files.STATE_FILE).write(content)


def correct_state(storage: Storage, *, without: str | None = None, durable: bool = True) -> None:
    """Write the state file again if there is one, and it does not name what is there.

    Two processes may each write what they found before the other was done: so who has written it
    looks again, and the last to do so is right.

    Args:
        storage: the directory.
        without: a checkpoint that is not to be named any more.
        durable: wait until it would survive a power loss.

    Raises:
        StorageError: it could not be written; what it said before still stands.
    """
    for _ in range(_TRIES):
        recorded = files.read_state(storage)
        if recorded is None:
            return
        found = files.checkpoints(storage)
        found.pop(without or "", None)
        named = {path.rsplit("/", 1)[-1] for path in (*recorded.all, recorded.latest)}
        if named == found.keys():
            return
        write_state(storage, files.dated(storage, found), durable=durable)


def encode_state(storage: Storage, dates: Mapping[str, float]) -> bytes:
    """Give the bytes of the state file for these checkpoints, oldest first, at least one."""
    prefixes = tuple(dates)
    preserved = _last_preserved(storage)
    timestamps = tuple(dates.values())
    return state.format_state(state.StateFile(prefixes[-1], prefixes, timestamps, preserved))


def _last_preserved(storage: Storage) -> float:
    """What `tf.train.CheckpointManager` noted for itself; other state files are not parsed."""
    if files.STATE_FILE not in storage.names():
        return 0.0
    if b"last_preserved_timestamp" not in bytes(storage.read(files.STATE_FILE)):
        return 0.0
    old = files.read_state(storage)
    return 0.0 if old is None else old.last_preserved


def _update_state(
    storage: Storage, dates: Mapping[str, float], prefix: str, *, durable: bool
) -> None:
    try:
        found = files.checkpoints(storage)
        if found.keys() != dates.keys():
            dates = files.dated(storage, found)
        write_state(storage, dates, durable=durable)
        correct_state(storage, durable=durable)
    except StorageError as error:
        raise StorageError(
            f"the checkpoint {prefix!r} is saved and whole, but the state file is not up to date: "
            f"{error}",
            where=f"{storage.location}/{files.STATE_FILE}",
            advice="tfpersist finds the checkpoint all the same; TensorFlow finds it by its prefix",
        ) from error


def _size(items: Sequence[Item]) -> int:
    return sum(item.payload.spec.nbytes or 0 for item in items)


def _check_prefix(prefix: str) -> None:
    taken = prefix == files.STATE_FILE or prefix.startswith(".tfpersist-")
    if prefix in {"", ".", ".."} or "/" in prefix or "\0" in prefix or taken:
        raise SaveError(
            "a checkpoint cannot have this name",
            expected="a name without '/', such as 'model.ckpt'",
            found=repr(prefix),
        )
