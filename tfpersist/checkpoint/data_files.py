"""Write the data files of a checkpoint: new ones, and hard links of those of an earlier one."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable, Sequence

import attrs
import numpy as np

from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.earlier import EarlierCheckpoint, open_earlier
from tfpersist.checkpoint.estimate import LEAST_PAID, estimate
from tfpersist.checkpoint.incremental import MOST_SHARDS, Changes, compare
from tfpersist.checkpoint.save_memory import LastSave, SaveMemory
from tfpersist.checkpoint.sidecar import Increment
from tfpersist.errors import StorageError, printable
from tfpersist.formats import bundle
from tfpersist.formats.bundle_index_writer import Places, TensorList, tensor_list
from tfpersist.formats.bundle_writer import Item, Items, write_shards
from tfpersist.storage import Publication, Sink, Storage
from tfpersist.storage.base import unlinkable

_TOO_LITTLE = "too little is as it was"


@attrs.frozen(eq=False)
class Written:
    """The data files that were written.

    Args:
        names: the names of the data files.
        index: the bytes of the index, which is not written yet.
        sizes: the size of each data file, in bytes.
        own: the size of the new ones together.
        save: what to remember of this save.
    """

    names: Sequence[str]
    index: bytes
    sizes: tuple[int, ...]
    own: int
    save: LastSave


@attrs.define(eq=False)
class MeasuredSink:
    """A sink that knows how much goes into it."""

    sink: Sink
    size: int = 0

    def reserve(self, size: int) -> None:
        self.size = size
        self.sink.reserve(size)

    def write(self, data: memoryview | bytes) -> None:
        self.sink.write(data)


@attrs.frozen(eq=False)
class DataFiles:
    """The data files that a save links and writes.

    Args:
        items: the tensors.
        tensors: the same tensors as a list.
        changes: which of them to write, and which are in the data files to link.
        earlier: the checkpoint whose data files are linked; None for none.
        reason: why no data file is linked; empty if some are.
        spend: whether to release each value once it is written.
    """

    items: Items
    tensors: TensorList
    changes: Changes
    earlier: EarlierCheckpoint | None = None
    reason: str = ""
    spend: bool = False

    @classmethod
    def in_full(cls, items: Sequence[Item], *, reason: str = "", spend: bool = False) -> DataFiles:
        """Return the data files of a save that writes all tensors.

        Raises:
            SaveError: two tensors have one name, a name is empty, or parts do not fit together.
        """
        columns = items if isinstance(items, Items) else Items.of(items)
        tensors = tensor_list(columns.names, columns.specs, columns.parts)
        changes = Changes(changed=np.arange(len(columns)))
        return cls(columns, tensors, changes, reason=reason, spend=spend)

    def write(
        self, publication: Publication, prefix: str, alignment: int, shard_size: int
    ) -> Written:
        """Link and write the data files.

        Args:
            publication: what the files become part of.
            prefix: the checkpoint.
            alignment: every tensor starts at a multiple of this many bytes.
            shard_size: the least size of a new data file in bytes, about; 0 for one of any size.

        Raises:
            SaveError: elements do not fit their spec.
            StorageError: a file cannot be linked or written.
        """
        changes, linked = self.changes, self.changes.linked
        holds = [] if self.earlier is None else [self.earlier.holds[shard] for shard in linked]
        shards = [] if self.earlier is None else [self.earlier.shards[shard] for shard in linked]
        names: list[str] = []
        new: list[MeasuredSink] = []

        def begin(count: int) -> Sequence[Sink]:
            own = len(linked) + count
            total = publication.attempt or own
            names.extend(bundle.shard_name(prefix, number, total) for number in range(own))
            for hold, name in zip(holds, names, strict=False):
                publication.link(hold, name)
            new.extend(MeasuredSink(publication.create(name)) for name in names[len(linked) :])
            return new

        numbers = np.append(changes.again, changes.changed)
        if linked and not len(numbers):
            begin(0)
            places, again = changes.places, []
        else:
            written, _ = write_shards(
                self.items,
                self.tensors.sizes,
                begin,
                numbers=numbers.tolist(),
                encoded=changes.encoded,
                alignment=alignment,
                shard_size=shard_size,
                apart=len(changes.again),
                most_shards=(MOST_SHARDS - len(linked)) // 2,
                spend=self.spend,
            )
            written = attrs.evolve(written, shards=written.shards + len(linked))
            places = Places.joined((changes.kept, changes.places), (numbers, written))
            again = np.unique(written.shards[: len(changes.again)]).tolist()
        own = [shard.size for shard in new]
        sizes = (*map(len, shards), *own)
        return Written(
            names,
            self.tensors.encode(places, publication.attempt or len(names)),
            sizes,
            sum(own),
            LastSave(self.tensors, places, sizes, changes.memory, [*range(len(linked)), *again]),
        )

    def noted(self, written: Written) -> Increment:
        """Return what the sidecar of an incremental save notes."""
        base = None if self.earlier is None else self.earlier.prefix
        return Increment(written.own, self.changes.shared, base, self.reason)


def publish_changes(
    directory: Directory,
    prefix: str,
    items: Sequence[Item],
    publish: Callable[[DataFiles], list[str]],
    *,
    memory: SaveMemory,
) -> list[str]:
    """Publish a checkpoint that links the data files of unchanged tensors.

    If no data file can be linked, or none is worth it, all tensors are written.

    Args:
        directory: a look at the directory, without files that a dead process left unfinished.
        prefix: the checkpoint.
        items: its tensors.
        publish: writes it, and returns the names of its files.
        memory: what the store remembers of its last save.

    Returns:
        The names of its files.

    Raises:
        SaveError: the tensors cannot be saved; nothing was written.
        StorageError: the checkpoint could not be written, and nothing is left of it.
    """
    storage = directory.storage
    whole = DataFiles.in_full(items)
    last, guess = memory.last, None
    if last is not None and storage.links:
        guess = estimate(last, whole.items, whole.tensors, next(memory.samples))
    if guess is not None and guess.sharing_paid is not None:
        memory.sharing.note(paid=guess.sharing_paid)
    is_due = memory.sharing.is_due()
    if guess is not None and guess.linked < (0 if is_due and guess.unchanged else LEAST_PAID):
        return publish(attrs.evolve(whole, reason=_TOO_LITTLE))
    with open_earlier(directory, prefix, memory) as earlier:
        if isinstance(earlier, EarlierCheckpoint):
            compared = compare(
                earlier,
                whole.items,
                whole.tensors,
                memory,
                sampled=guess is not None and guess.unchanged > 0,
                rewrites=is_due,
            )
            changes = compared.changes
            reason = "" if changes.linked else _TOO_LITTLE
            if changes.linked or len(changes.again):
                files = attrs.evolve(
                    whole,
                    items=compared.items,
                    tensors=compared.tensors,
                    changes=changes,
                    earlier=earlier,
                    reason=reason,
                )
                try:
                    return publish(files)
                except StorageError as error:
                    if not unlinkable(error) and error.errno != errno.ENOENT:
                        raise
                    reason = f"files cannot be linked: {error}"
                    if unlinkable(error):
                        _warn(storage, reason)
            else:
                encoded = attrs.evolve(whole.changes, encoded=changes.encoded)
                whole = attrs.evolve(whole, changes=encoded)
        else:
            reason = earlier
            if not storage.links:
                _warn(storage, reason)
    return publish(attrs.evolve(whole, reason=reason))


def _warn(storage: Storage, reason: str) -> None:
    text = f"{storage.location}: checkpoints are saved in full, not incrementally: {reason}"
    warnings.warn(printable(text), stacklevel=3)
