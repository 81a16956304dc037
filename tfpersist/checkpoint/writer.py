"""Write a checkpoint: data, meta graph, sidecar and index in one publication, then the state.

The index is the commit marker: it appears last, when everything that it speaks of is in place. What
a replaced checkpoint had more (shards, a meta graph) goes in the same step. The `checkpoint` state
file follows in a step of its own, since losing it loses nothing: the directory is the truth.

In an object store, files appear as they are written. There the data files and the meta graph have
names of their attempt, the sidecar is a note in the index, and the copy of the meta graph that
TensorFlow reads follows the index.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import attrs

from tfpersist.checkpoint import sidecar
from tfpersist.checkpoint.data_files import DataFiles, publish_changes
from tfpersist.checkpoint.directory import Age, Directory
from tfpersist.checkpoint.files import INDEX, META, SIDECAR, STATE_FILE, Files, own_meta
from tfpersist.checkpoint.save_memory import SaveMemory
from tfpersist.errors import SaveError, StorageError
from tfpersist.formats import crc32c
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.sstable_writer import with_note
from tfpersist.matching.plans.resume import Resume
from tfpersist.progress import Watched, progress
from tfpersist.storage import Hold, Storage

ALIGNMENT = 64
# From twice as many bytes on, files of about this size or more are written side by side.
_SHARD_SIZE = 32 << 20


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
    memory: SaveMemory | None = None,
    spend: bool = False,
) -> Files:
    """Write a checkpoint, all of it or nothing, and name it the latest in the state file.

    Args:
        storage: the directory.
        prefix: its name, without a directory; a checkpoint of this name is replaced.
        items: the tensors, in the order of their bytes in the file.
        meta: the bytes of its `.meta`; None for none.
        step: the training step, for the sidecar.
        metrics: what was measured, for the sidecar.
        state: whether to name it the latest in the `checkpoint` state file.
        durable: wait until it would survive a power loss.
        alignment: every tensor starts at a multiple of this many bytes; 1 is what TensorFlow does.
        incremental: take over what has not changed since the checkpoint before.
        memory: what is remembered from save to save; with `incremental`.
        spend: let go of each value once it is written, unless it may have to be written again, as
            with `incremental`.

    Returns:
        Its files.

    Raises:
        SaveError: the name, the tensors or the metrics cannot be saved; nothing was written.
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
    look = publish_checkpoint(
        Directory.look(storage, to_write=True),
        prefix,
        items,
        meta=meta,
        step=step,
        metrics=metrics,
        durable=durable,
        alignment=alignment,
        incremental=incremental,
        memory=memory,
        spend=spend,
    )
    if state:
        note_latest(look, prefix, durable=durable)
    return look.files(prefix)


def publish_checkpoint(
    look: Directory,
    prefix: str,
    items: Sequence[Item],
    *,
    meta: bytes | None = None,
    step: int | None = None,
    metrics: Mapping[str, float] | None = None,
    durable: bool = True,
    alignment: int = ALIGNMENT,
    incremental: bool = False,
    memory: SaveMemory | None = None,
    spend: bool = False,
    layers: Mapping[int, str] | None = None,
    resume: Resume | None = None,
    metadata: str = "",
) -> Directory:
    """Write a checkpoint, all of it or nothing; the state file is not touched.

    Args:
        look: a look at the directory; all else as `write_checkpoint` takes it.
        layers: the names of layers that are in no full name, for the sidecar.
        resume: what it carries of a training, for the sidecar.
        metadata: what the user noted, as JSON text, for the sidecar.

    Returns:
        The directory with the checkpoint in it.

    Raises:
        SaveError: the name, the tensors or the metrics cannot be saved; nothing was written.
        ConflictError: another process has saved it meanwhile.
        StorageError: it could not be written, and nothing is left of it.
    """
    _check_prefix(prefix)
    numbers = sidecar.as_floats(metrics)
    storage = look.storage
    if incremental:
        # Files that are linked must have the names they go by.
        look = look.recovered()
    created = time.time()
    age = Age(created, look.after(created, without=prefix))
    facts = sidecar.Sidecar(
        created,
        step,
        numbers,
        order=age.order,
        layers=layers or {},
        resume=resume,
        metadata=metadata,
    )

    versions: list[object | None] = []

    def publish(files: DataFiles) -> list[str]:
        with (
            progress(f"Saving {prefix}", lambda: _size(items)) as done,
            storage.publish(durable=durable, since=look.version) as publication,
        ):
            publication.expect(prefix + INDEX)
            written = files.write(Watched(publication, done), prefix, alignment, _SHARD_SIZE)
            names, attempt, index = [*written.names], publication.attempt, written.index
            if meta is not None:
                names.append(own_meta(prefix, attempt) if attempt else prefix + META)
                publication.create(names[-1]).write(meta)
            noted = attrs.evolve(
                facts,
                index_crc32c=None if attempt else crc32c.of(index),
                meta_crc32c=None if meta is None else crc32c.of(meta),
                sizes=written.sizes,
                increment=files.noted(written) if incremental else None,
                attempt=attempt,
            )
            if attempt:
                index = with_note(index, sidecar.NOTE, noted.encode())
            else:
                publication.create(prefix + SIDECAR).write(noted.encode())
                names.append(prefix + SIDECAR)
            publication.create(prefix + INDEX).write(index)
            names.append(prefix + INDEX)
            for name in sorted(look.listing.belonging(prefix).difference(names)):
                publication.discard(name)
        if attempt and meta is not None:
            with storage.publish(durable=durable) as copy:
                copy.create(prefix + META).write(meta)
            names.append(prefix + META)
        versions.append(publication.version)
        if memory is not None and noted.index_crc32c is not None:
            memory.note(noted.index_crc32c, written.save)
        return names

    if incremental:
        names = publish_changes(look, prefix, items, publish, memory=memory or SaveMemory())
    else:
        names = publish(DataFiles.in_full(items, spend=spend))
    return look.saved(prefix, names, age, versions[-1])


def note_latest(
    look: Directory,
    prefix: str,
    *,
    removed: Mapping[str, Hold] = MappingProxyType({}),
    durable: bool = True,
) -> Directory:
    """Name a checkpoint that was just saved the latest in the state file.

    Args:
        look: the directory with the checkpoint in it.
        prefix: the checkpoint.
        removed: older checkpoints that are removed in the same step, with what holds them.
        durable: wait until that would survive a power loss.

    Returns:
        The directory after it.

    Raises:
        StorageError: it could not be written, as the message says.
    """
    try:
        return look.note(removed=removed, durable=durable)
    except StorageError as error:
        raise StorageError(
            f"the checkpoint {prefix!r} is saved and complete, but the state file is not up to"
            f" date: {error}",
            where=f"{look.storage.location}/{STATE_FILE}",
            advice="tfpersist finds the checkpoint; TensorFlow finds it only by its prefix",
        ) from error


def _size(items: Sequence[Item]) -> int:
    return sum(item.payload.spec.nbytes or 0 for item in items)


def _check_prefix(prefix: str) -> None:
    reserved = prefix == STATE_FILE or prefix.startswith(".tfpersist-")
    if prefix in {"", ".", ".."} or "/" in prefix or "\0" in prefix or reserved:
        raise SaveError(
            "a checkpoint cannot have this name",
            expected="a name without '/', such as 'model.ckpt'",
            found=repr(prefix),
        )
