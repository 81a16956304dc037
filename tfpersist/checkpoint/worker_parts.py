"""Write one checkpoint by several workers: each writes its part, and one of them the index.

Each worker writes a data file whose name holds the number of the attempt, and beside it a hidden
file, its part: an index of this data file alone. When the parts of all workers are there, one
worker merges them into the index of the checkpoint, which is the commit. Before that no file of an
earlier checkpoint is touched.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs
import numpy as np

from tfpersist.checkpoint import sidecar
from tfpersist.checkpoint.data_files import MeasuredSink
from tfpersist.checkpoint.directory import Age, Directory
from tfpersist.checkpoint.facts import facts_in
from tfpersist.checkpoint.files import INDEX, PART
from tfpersist.checkpoint.leftovers import leftovers
from tfpersist.checkpoint.sidecar import Sidecar
from tfpersist.errors import ConflictError, CorruptionError, SaveError
from tfpersist.formats import bundle
from tfpersist.formats.bundle_entry import BundleEntry
from tfpersist.formats.bundle_index_writer import Places, tensor_list
from tfpersist.formats.bundle_writer import Item, Items, write_shards
from tfpersist.formats.sstable_writer import with_note
from tfpersist.formats.tensors import Slice
from tfpersist.matching.plans.resume import Resume
from tfpersist.progress import Watched, progress
from tfpersist.storage import Storage
from tfpersist.storage.base import ATTEMPTS

# The pauses between two looks for parts that are not there yet, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0


@attrs.frozen
class JointSave:
    """A checkpoint that several workers write together.

    Args:
        prefix: the checkpoint.
        of: the number of workers.
        attempt: what tells this attempt from every other one.
    """

    prefix: str
    of: int
    attempt: str

    @property
    def digest(self) -> str:
        """The piece that the names of all parts of this attempt have in common."""
        text = json.dumps([self.prefix, self.attempt])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def number(self) -> int:
        """The number in the names of its data files.

        Example:
            >>> JointSave("m-1", 2, "a").number
            14095
        """
        return ATTEMPTS[int(self.digest, 16) % len(ATTEMPTS)]

    def part(self, worker: int) -> str:
        """Return the name of the part of a worker.

        Example:
            >>> JointSave("m-1", 2, "a").part(1)
            '.tfpersist-part-ed69aaf0afac8e4f-1-of-2'
        """
        return f".tfpersist-part-{self.digest}-{worker}-of-{self.of}"

    def data(self, worker: int) -> str:
        """Return the name of the data file of a worker."""
        return bundle.shard_name(self.prefix, worker, self.number)


def write_part(
    storage: Storage,
    save: JointSave,
    worker: int,
    items: Sequence[Item],
    *,
    durable: bool = True,
    layers: Mapping[int, str] | None = None,
    resume: Resume | None = None,
) -> None:
    """Write the part of one worker; it belongs to no checkpoint yet.

    Args:
        storage: the directory.
        save: the checkpoint.
        worker: the number of the worker, from 0 on.
        items: its tensors.
        durable: wait until it would survive a power loss.
        layers: see `sidecar.Sidecar`.
        resume: see `sidecar.Sidecar`.

    Raises:
        SaveError: the tensors cannot be saved; nothing was written.
        ConflictError: a part of this worker is there already.
        StorageError: it could not be written; nothing is left of it.
    """
    columns = items if isinstance(items, Items) else Items.of(items)
    tensors = tensor_list(columns.names, columns.specs, columns.parts)
    name, data = save.part(worker), save.data(worker)
    if storage.stamps([name, data]):
        raise _twice(storage, save, worker)
    size = sum(spec.nbytes or 0 for spec in columns.specs)
    try:
        with (
            progress(f"Saving {save.prefix}", lambda: size) as done,
            storage.publish(
                durable=durable, only_if=lambda: not storage.stamps([name]), attempt=save.number
            ) as publication,
        ):
            publication.expect(name)
            sink = MeasuredSink(Watched(publication, done).create(data))
            places, _ = write_shards(columns, tensors.sizes, lambda count: [sink])
            places = attrs.evolve(places, shards=places.shards + worker)
            about = json.dumps({"prefix": save.prefix, "attempt": save.attempt})
            noted = Sidecar(
                time.time(),
                sizes=(sink.size,),
                layers=layers or {},
                resume=resume,
                metadata=about,
                attempt=save.number,
            )
            index = tensors.encode(places, save.number)
            publication.create(name).write(with_note(index, sidecar.NOTE, noted.encode()))
    except ConflictError as error:
        raise _twice(storage, save, worker) from error
    if not publication.committed:
        raise _twice(storage, save, worker)


def _twice(storage: Storage, save: JointSave, worker: int) -> ConflictError:
    return ConflictError(
        f"worker {worker} has saved its part in attempt {save.attempt!r} already",
        where=f"{storage.location}/{save.prefix}",
        advice="Number the workers from 0 on, and give each try of a save a name of its own",
    )


@attrs.frozen(eq=False)
class _Part:
    """The part of one worker.

    Args:
        worker: the worker.
        index: the index of its data file.
        facts: what it notes.
    """

    worker: int
    index: bundle.BundleIndex
    facts: Sidecar

    @property
    def tensors(self) -> Iterable[tuple[str, BundleEntry, Slice | None]]:
        """The tensors: name, entry, and the slice that each is."""
        for key, entry in self.index.entries.items():
            if not entry.slices:
                yield key, entry, None
            for place in entry.slices:
                yield key, self.index.parts[bundle.part_key(place)], place


def commit_parts(
    storage: Storage,
    save: JointSave,
    *,
    step: int | None = None,
    metrics: Mapping[str, float] | None = None,
    metadata: str = "",
    durable: bool = True,
    timeout: float = 0.0,
) -> Directory:
    """Make a checkpoint of the parts of all workers; the state file is not touched.

    Args:
        storage: the directory.
        save: the checkpoint.
        step: the training step, for the sidecar.
        metrics: what was measured, for the sidecar.
        metadata: what the user noted, as JSON text, for the sidecar.
        durable: wait until it would survive a power loss.
        timeout: how long to wait for parts, in seconds.

    Returns:
        The directory with the checkpoint in it.

    Raises:
        SaveError: parts are missing, or two workers have saved one tensor.
        CorruptionError: a part is damaged.
        ConflictError: another process has saved the checkpoint meanwhile.
        StorageError: the index could not be written.
    """
    _wait_for(storage, save, timeout)
    parts = [_read_part(storage, save, worker) for worker in range(save.of)]
    _check_files(storage, save, parts)
    look = Directory.look(storage).recovered()
    created = time.time()
    age = Age(created, look.after(created, without=save.prefix))
    facts = Sidecar(
        created,
        step,
        sidecar.as_floats(metrics),
        sizes=tuple(part.facts.sizes[0] for part in parts),
        order=age.order,
        layers=next((part.facts.layers for part in parts if part.facts.layers), {}),
        resume=next((part.facts.resume for part in parts if part.facts.resume), None),
        metadata=metadata,
        attempt=save.number,
    )
    index = with_note(_merged(storage, save, parts), sidecar.NOTE, facts.encode())
    names = [*map(save.data, range(save.of)), save.prefix + INDEX]
    with storage.publish(durable=durable, since=look.version) as publication:
        publication.expect(save.prefix + INDEX)
        publication.create(save.prefix + INDEX).write(index)
        for name in sorted(look.listing.belonging(save.prefix).difference(names)):
            publication.discard(name)
        for name in (*map(save.part, range(save.of)), *leftovers(look)):
            publication.discard(name)
    return look.saved(save.prefix, names, age, publication.version)


def _wait_for(storage: Storage, save: JointSave, timeout: float) -> None:
    """Wait until the parts of all workers are there.

    Raises:
        SaveError: some are not.
    """
    names = {save.part(worker): worker for worker in range(save.of)}
    end, pause = time.monotonic() + timeout, _FIRST_PAUSE
    while missing := [names[name] for name in names.keys() - storage.stamps(names).keys()]:
        left = end - time.monotonic()
        if left <= 0:
            raise _missing(storage, save, sorted(missing))
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _missing(storage: Storage, save: JointSave, workers: Sequence[int]) -> SaveError:
    shown = ", ".join(map(str, workers[:10])) + (", ..." if len(workers) > 10 else "")
    others = [
        f"worker {match['worker']} of {match['of']}: {_about(storage, name)}"
        for name in sorted(storage.names())
        if (match := PART.fullmatch(name))
        and (match["digest"] != save.digest or int(match["of"]) != save.of)
    ]
    return SaveError(
        f"the parts of these workers are missing: {shown}; nothing was saved",
        where=f"{storage.location}/{save.prefix}",
        expected=f"a part of each of {save.of} workers in attempt {save.attempt!r}",
        found=f"parts of other saves: {'; '.join(others[:10])}" if others else None,
        advice="Save the part of each worker first. The earlier checkpoints are as they were.",
    )


def _about(storage: Storage, name: str) -> str:
    """Return the checkpoint and the attempt that a part belongs to."""
    try:
        facts = facts_in(storage.read(name), name)
        about = json.loads(facts.metadata) if facts is not None else {}
        return f"{about['prefix']!r} in attempt {about['attempt']!r}"
    except (CorruptionError, OSError, ValueError, KeyError):
        return "a damaged part"


def _read_part(storage: Storage, save: JointSave, worker: int) -> _Part:
    file = f"{storage.location}/{save.part(worker)}"
    data = storage.read(save.part(worker))
    index, facts = bundle.read_index(data, file), facts_in(data, file)
    if facts is None or len(facts.sizes) != 1 or index.num_shards != save.number:
        raise CorruptionError(
            f"the part of worker {worker} is not of this save",
            file=file,
            expected=f"the attempt with number {save.number}",
            found=index.num_shards,
            advice="Save the parts of all workers again, in a new attempt.",
        )
    return _Part(worker, index, facts)


def _check_files(storage: Storage, save: JointSave, parts: Sequence[_Part]) -> None:
    stamps = storage.stamps(map(save.data, range(save.of)))
    for part in parts:
        name, expected = save.data(part.worker), part.facts.sizes[0]
        size = stamps[name][1] if name in stamps else None
        if size != expected:
            raise CorruptionError(
                f"the data file of worker {part.worker} is not what that worker has written",
                file=f"{storage.location}/{name}",
                expected=f"{expected} bytes",
                found="no such file" if size is None else f"{size} bytes",
                advice="Save the parts of all workers again, in a new attempt.",
            )


def _merged(storage: Storage, save: JointSave, parts: Sequence[_Part]) -> bytes:
    """Return the index of all data files.

    Raises:
        SaveError: two workers have saved one tensor.
    """
    owners: dict[str, int] = {}
    names, specs, slices, entries = [], [], [], []
    for part in parts:
        for name, entry, place in part.tensors:
            owner = owners.setdefault(name, part.worker)
            if owner != part.worker:
                raise SaveError(
                    f"workers {owner} and {part.worker} have both saved this tensor; nothing was"
                    " committed",
                    where=f"{storage.location}/{save.prefix}, tensor {name!r}",
                    expected="each tensor from one worker",
                    advice="Save it on one of them, and leave it out of what the other saves.",
                )
            names.append(name)
            specs.append(entry.spec)
            slices.append(place)
            entries.append(entry)

    def column(of: Callable[[BundleEntry], int], dtype: type) -> np.ndarray:
        return np.fromiter(map(of, entries), dtype, len(entries))

    places = Places(
        column(lambda entry: entry.shard, np.int64),
        column(lambda entry: entry.offset, np.int64),
        column(lambda entry: entry.size, np.int64),
        column(lambda entry: entry.crc32c, np.uint32),
    )
    return tensor_list(names, specs, slices).encode(places, save.number)
