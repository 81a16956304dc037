"""Open the checkpoint that an incremental save starts from, and hold its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property

import attrs
import numpy as np

from tfpersist.checkpoint.contents import Bundle, open_contents
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.files import Files, split_step
from tfpersist.checkpoint.save_memory import LastSave, SaveMemory
from tfpersist.errors import CorruptionError, StorageError, UnsupportedError
from tfpersist.formats import bundle, crc32c
from tfpersist.formats.bundle_entry import BundleEntry
from tfpersist.formats.bundle_index_writer import Places, TensorList
from tfpersist.formats.byte_columns import Numbers
from tfpersist.formats.tensors import Slice, TensorSpec
from tfpersist.storage import Hold, Storage
from tfpersist.storage.base import Stamp


@attrs.frozen(eq=False, slots=False)
class EarlierCheckpoint:
    """The checkpoint that a new one is compared with. Its files are held.

    Args:
        prefix: its name.
        names: the name of each tensor; for a part of a partitioned variable, that of the whole.
        specs: the data type and the shape of each tensor.
        parts: the slice that each tensor is; None for a whole tensor.
        places: the places of the tensors in the data files.
        shards: the bytes of each data file.
        holds: the hold on each data file.
        stamps: the stamp of each data file.
        last: what the store remembers of it; None if this process did not save it last.
    """

    prefix: str
    names: Sequence[str]
    specs: Sequence[TensorSpec]
    parts: Sequence[Slice | None]
    places: Places
    shards: Sequence[memoryview]
    holds: Sequence[Hold]
    stamps: Sequence[Stamp]
    last: LastSave | None = None

    def numbers_of(self, tensors: TensorList) -> Numbers:
        """Return the numbers of these tensors in this checkpoint.

        The number is -1 if the tensor is missing or has another data type, shape or slice.
        """
        if self.last is not None and self.last.tensors is tensors:
            return np.arange(len(self.names))
        numbers = {
            (name, _cut(part)): number
            for number, (name, part) in enumerate(zip(self.names, self.parts, strict=True))
        }
        matches = [
            numbers.get((name, _cut(part)), -1)
            for name, part in zip(tensors.names, tensors.parts, strict=True)
        ]
        return np.array(
            [
                number if number >= 0 and self.specs[number] == spec else -1
                for number, spec in zip(matches, tensors.specs, strict=True)
            ],
            np.int64,
        )

    @cached_property
    def slices(self) -> Mapping[str, list[int]]:
        """The numbers of the slices of each partitioned variable, by its name."""
        slices: dict[str, list[int]] = {}
        for number, part in enumerate(self.parts):
            if _cut(part) is not None:
                slices.setdefault(self.names[number], []).append(number)
        return slices

    def stored(self, numbers: Numbers) -> list[memoryview]:
        """Return the bytes of these tensors in the data files."""
        places = self.places
        starts = places.offsets[numbers]
        extents = zip(
            places.shards[numbers].tolist(),
            starts.tolist(),
            (starts + places.sizes[numbers]).tolist(),
            strict=True,
        )
        return [self.shards[shard][start:end] for shard, start, end in extents]


def _cut(part: Slice | None) -> Slice | None:
    """Return the slice of a partitioned variable; None for a whole tensor."""
    return None if part is None or part.is_whole else part


@contextmanager
def open_earlier(
    directory: Directory, prefix: str, memory: SaveMemory
) -> Iterator[EarlierCheckpoint | str]:
    """Open and hold the newest checkpoint of the same name, of any step.

    Args:
        directory: a look at the directory.
        prefix: the checkpoint that is to be saved.
        memory: what the store remembers of its last save.

    Returns:
        The checkpoint; or the reason why there is none whose data files could be linked.
    """
    storage = directory.storage
    if not storage.links:
        yield "this kind of store has no hard links"
        return
    newest = _newest(directory, prefix)
    if newest is None:
        yield "there is no earlier checkpoint"
        return
    with ExitStack() as stack:
        earlier: EarlierCheckpoint | str
        try:
            earlier = _open(storage, newest, stack, memory)
        except (CorruptionError, UnsupportedError, StorageError) as error:
            earlier = f"{newest.prefix} cannot be used: {error}"
        yield earlier


def _newest(directory: Directory, prefix: str) -> Files | None:
    family, _ = split_step(prefix)
    for name in reversed(directory.complete):
        if split_step(name)[0] == family:
            files = directory.files(name)
            if files.index is not None:
                return files
    return None


def _open(
    storage: Storage, files: Files, stack: ExitStack, memory: SaveMemory
) -> EarlierCheckpoint | str:
    holds = []
    for name in (files.index, *files.shards):
        hold = None if name is None else storage.hold(name)
        if hold is None:
            return f"{files.prefix} is being removed"
        stack.callback(hold.release)
        holds.append(hold)
    index, *shards = holds
    last = memory.find(crc32c.of(index.read(files.index or "")))
    opened = None if last is None else _open_last(shards, files, last)
    if opened is None:
        opened = _open_other(storage, files, index)
    stamps = storage.stamps(files.shards)
    # A writer replaces the index last. So if it is the held one, the others belong to it.
    if not index.current() or len(stamps) < len(files.shards):
        return f"{files.prefix} is being replaced"
    if opened is None:
        return f"{files.prefix} is of another layout"
    ordered = [stamps[name] for name in files.shards]
    return EarlierCheckpoint(files.prefix, *opened, shards, ordered, last)


_Opened = tuple[
    Sequence[str], Sequence[TensorSpec], Sequence[Slice | None], Places, Sequence[memoryview]
]


def _open_last(holds: Sequence[Hold], files: Files, last: LastSave) -> _Opened | None:
    """Open the data files of the checkpoint that was saved last; None if one is of another size."""
    shards = [hold.read(name) for hold, name in zip(holds, files.shards, strict=True)]
    if tuple(map(len, shards)) != last.file_sizes:
        return None
    tensors = last.tensors
    return tensors.names, tensors.specs, tensors.parts, last.places, shards


def _open_other(storage: Storage, files: Files, hold: Hold) -> _Opened | None:
    """Open a checkpoint that this process did not save last; None if it has another layout."""
    contents = open_contents(storage, files, hold)
    if not isinstance(contents, Bundle) or contents.index.big_endian:
        return None
    if len(contents.shard_names) != len(files.shards):
        return None
    index = contents.index
    tensors: list[tuple[str, Slice | None, BundleEntry]] = []
    for name, entry in index.entries.items():
        for part in entry.slices:
            tensors.append((name, part, index.parts[bundle.part_key(part)]))
        if not entry.slices:
            tensors.append((name, None, entry))
    entries = [entry for _, _, entry in tensors]
    places = Places(
        np.array([entry.shard for entry in entries], np.int64),
        np.array([entry.offset for entry in entries], np.int64),
        np.array([entry.size for entry in entries], np.int64),
        np.array([entry.crc32c for entry in entries], np.uint32),
    )
    return (
        [name for name, _, _ in tensors],
        [entry.spec for entry in entries],
        [part for _, part, _ in tensors],
        places,
        [contents.shard(number)[0] for number in range(len(files.shards))],
    )
