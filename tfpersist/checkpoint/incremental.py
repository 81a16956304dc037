"""Write again only what has changed since the checkpoint before.

Tensors with the same bytes as in the previous checkpoint stay where they are: the data files that
hold them become data files of the new checkpoint, too, as hard links. Those that changed go into
data files of its own, and the index of the new checkpoint speaks of all of them. So each
checkpoint has all its files, TensorFlow reads it, and any other may be removed.

Whether a tensor changed is told by comparing all its bytes with those of the very file that is
linked; equal checksums prove nothing. One that was found unchanged, and lies in memory that
TensorFlow never changes while others share it, stays shared from then on: if it still lies there at
the next save, it cannot have changed and is not compared again. Its file may have, so damage is
looked for while the sound values are here: the bytes in the file are compared with their checksum
when they are first taken over, whenever the file was written to, and every eighth time anyway.

A linked file keeps the space of what is out of date in it. So one of which less than half is still
in use is not linked, its tensors are written again; nor are there ever more than 16 data files: the
tensors of those with the least in them are written again, too. Those of them that did not change
go into a data file of their own, apart from those that did, so that it can be linked next time.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs
import numpy as np

from tfpersist.checkpoint.contents import Bundle, open_contents
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.files import Files, split_step
from tfpersist.errors import CorruptionError, StorageError, UnsupportedError
from tfpersist.formats import bundle, bundle_entry, crc32c, dtypes, slices, string_tensor
from tfpersist.formats.bundle_entry import BundleEntry
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import TensorSpec
from tfpersist.storage import Hold, Storage

LEAST_IN_USE = 0.5
MOST_SHARDS = 16

_CHUNK = 1 << 18
_LARGE = 1 << 16
# A checksum of all that is shared, at each save, would take longer than all the rest of it.
_TURNS = 8


@attrs.frozen(eq=False)
class Known:
    """Memory that holds what a checkpoint holds.

    Args:
        array: the memory, shared.
        file: age and size of the data file when that was last compared with its checksum; None
            where the data file is new.
    """

    array: np.ndarray[Any, Any]
    file: tuple[float, int] | None


@attrs.frozen(eq=False)
class Seen:
    """Memory that is known to hold what a checkpoint holds, for as long as it is shared.

    Args:
        borrowed: the keys of tensors in memory that the caller may write to.
        facts: the memory of tensors, by key; that by the checksum of the checkpoint's index.
        turns: counts the saves.
    """

    borrowed: frozenset[str] = frozenset()
    _facts: dict[int, Mapping[str, Known]] = attrs.field(factory=dict)
    turns: Iterator[int] = attrs.field(factory=itertools.count)

    def of(self, index_crc: int) -> Mapping[str, Known]:
        """What is known of a checkpoint."""
        return self._facts.get(index_crc, {})

    def note(self, index_crc: int, buffers: Mapping[str, Known]) -> None:
        """Remember this of one checkpoint, and nothing of any other."""
        self._facts.clear()
        self._facts[index_crc] = buffers

    def takes(self, item: Item, array: np.ndarray[Any, Any]) -> bool:
        """Whether the memory of a tensor is shared with TensorFlow, and large enough to matter."""
        shared = not (array.flags.owndata or array.flags.writeable or array.dtype.hasobject)
        return shared and array.nbytes >= _LARGE and item.key not in self.borrowed


@attrs.frozen(eq=False)
class Base:
    """The checkpoint that a new one is compared with; its files are held.

    Args:
        name: what it is called.
        contents: its index and its mapped data files.
        holds: its data files, by number.
        index_crc: the checksum of its index.
    """

    name: str
    contents: Bundle
    holds: tuple[Hold, ...]
    index_crc: int = -1

    def file(self, shard: int) -> tuple[Hold, int]:
        """A data file: what holds it, and its size."""
        return self.holds[shard], len(self.contents.shard(shard)[0])


@attrs.frozen(eq=False)
class Plan:
    """What a save has to write, and what it takes over.

    Args:
        changed: the tensors to write.
        again: those to write though they did not change, into a data file of their own.
        linked: the data files to take over, by their numbers in the base.
        rows: what the new index says of the tensors in them, by key.
        shared: how many bytes those tensors are.
        buffers: the memory of those that stay shared.
    """

    changed: Sequence[Item]
    again: Sequence[Item] = ()
    linked: tuple[int, ...] = ()
    rows: Mapping[bytes, bytes] = attrs.field(factory=dict)
    shared: int = 0
    buffers: Mapping[str, Known] = attrs.field(factory=dict)


@contextmanager
def opened(directory: Directory, prefix: str) -> Iterator[Base | str]:
    """Open and hold the newest checkpoint of the same name, of any step.

    Args:
        directory: a look at the directory.
        prefix: the checkpoint that is to be saved.

    Returns:
        It; or why there is none that files could be taken over from.
    """
    storage = directory.storage
    if not storage.links:
        yield "this kind of store has no hard links"
        return
    family, _ = split_step(prefix)
    newest = next(
        filter(
            None,
            (
                directory.files(name)
                for name in reversed(directory.complete)
                if split_step(name)[0] == family and directory.files(name).index
            ),
        ),
        None,
    )
    if newest is None:
        yield "there is no earlier checkpoint"
        return
    with ExitStack() as stack:
        base: Base | str
        try:
            base = _open(storage, newest, stack)
        except (CorruptionError, UnsupportedError, StorageError) as error:
            base = f"{newest.prefix} cannot be used: {error}"
        yield base


def _open(storage: Storage, files: Files, stack: ExitStack) -> Base | str:
    holds = []
    for name in (files.index, *files.shards):
        hold = None if name is None else storage.hold(name)
        if hold is None:
            return f"{files.prefix} is being removed"
        stack.callback(hold.release)
        holds.append(hold)
    contents = open_contents(storage, files)
    # What was mapped is what is held if the names mean the same before and after.
    if not all(hold.current() for hold in holds):
        return f"{files.prefix} is being replaced"
    if not isinstance(contents, Bundle) or contents.index.big_endian:
        return f"{files.prefix} is of another layout"
    if len(contents.shard_names) != len(files.shards):
        return f"{files.prefix} is of another layout"
    crc = crc32c.of(np.frombuffer(storage.read(files.index or ""), np.uint8))
    return Base(files.prefix, contents, tuple(holds[1:]), crc)


@attrs.frozen(eq=False)
class _Unit:
    """A tensor, or all parts of a partitioned variable, and where the base has it."""

    items: list[Item]
    entries: list[BundleEntry]
    whole: BundleEntry | None = None


def compare(base: Base, items: Sequence[Item], seen: Seen | None = None) -> Plan:
    """Find what has not changed since the base was saved.

    Args:
        base: the earlier checkpoint.
        items: the tensors of the new one.
        seen: what is known of the base.

    Returns:
        What is to be written, each part in the order given, and what is taken over.
    """
    if _named_twice(items):
        # The writer refuses them, and can only do so if it sees all.
        return Plan(items)
    seen = seen or Seen()
    search = _Search(base.contents, seen, seen.of(base.index_crc), next(seen.turns))
    same = list(search.unchanged(items))
    worth = _worth_linking(base.contents, same)
    kept = [unit for unit in same if all(entry.shard in worth for entry in unit.entries)]
    linked = sorted({entry.shard for unit in kept for entry in unit.entries})
    numbers = {shard: number for number, shard in enumerate(linked)}
    known, taken = _members(same), _members(kept)
    again = known - taken
    keys = {unit.items[0].key for unit in kept}
    return Plan(
        [item for item in items if id(item) not in known],
        [item for item in items if id(item) in again],
        tuple(linked),
        dict(_rows(kept, numbers)),
        sum(entry.size for unit in kept for entry in unit.entries),
        {
            key: known if key in keys else attrs.evolve(known, file=None)
            for key, known in search.buffers.items()
        },
    )


def _members(units: Sequence[_Unit]) -> set[int]:
    return {id(item) for unit in units for item in unit.items}


def _named_twice(items: Sequence[Item]) -> bool:
    wholes = [item.key for item in items if not _is_part(item)]
    parts = [(item.key, item.part) for item in items if _is_part(item)]
    names = {*wholes, *parts}
    return len(names) != len(items) or not {key for key, _ in parts}.isdisjoint(wholes)


def _is_part(item: Item) -> bool:
    return item.part is not None and item.part.length != item.part.full_shape


@attrs.frozen(eq=False)
class _Search:
    """Finds what is in a checkpoint already, and the memory that is to stay shared."""

    contents: Bundle
    seen: Seen
    known: Mapping[str, Known]
    turn: int
    buffers: dict[str, Known] = attrs.field(factory=dict)
    files: dict[int, tuple[float, int]] = attrs.field(factory=dict)

    def unchanged(self, items: Sequence[Item]) -> Iterator[_Unit]:
        index = self.contents.index
        partitioned: dict[str, list[Item]] = {}
        for item in items:
            entry = index.entries.get(item.key)
            if entry is None:
                continue
            if _is_part(item):
                partitioned.setdefault(item.key, []).append(item)
            elif not entry.slices and self.same(entry, item):
                yield _Unit([item], [entry])
        for key, parts in partitioned.items():
            whole = index.entries[key]
            taken = [item.part for item in parts if item.part]
            if set(taken) == set(whole.slices):
                entries = [index.parts[bundle.part_key(part)] for part in taken]
                if all(self.same(entry, item) for entry, item in zip(entries, parts, strict=True)):
                    yield _Unit(parts, entries, whole)

    def same(self, entry: BundleEntry, item: Item) -> bool:
        spec = item.payload.spec
        if entry.spec != spec or not entry.size:
            return False
        array = np.asarray(item.payload.load())
        known = None if _is_part(item) else self.known.get(item.key)
        same_memory = known is not None and _is_one_memory(known.array, array)
        file = self.file(entry.shard)
        if known is None or not same_memory or known.file != file or self.has_turn(item.key):
            data, _ = self.contents.shard(entry.shard)
            stored = np.frombuffer(data, np.uint8, entry.size, entry.offset)
            crc = crc32c.of(stored) if same_memory else _compared(array, spec, stored)
            if crc is None or crc32c.masked(crc) != entry.crc32c:
                return False
        if not _is_part(item) and self.seen.takes(item, array):
            self.buffers[item.key] = Known(array, file)
        return True

    def file(self, shard: int) -> tuple[float, int]:
        """Age and size of a data file, which a hard link has in common with it."""
        if shard not in self.files:
            storage, name = self.contents.storage, self.contents.shard_names[shard]
            self.files[shard] = storage.modified(name), storage.size(name)
        return self.files[shard]

    def has_turn(self, key: str) -> bool:
        return zlib.crc32(key.encode(errors="surrogateescape")) % _TURNS == self.turn % _TURNS


def _is_one_memory(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """Whether two arrays, both alive, are views on the same bytes, in the same order."""
    return (
        one.ctypes.data == other.ctypes.data
        and one.strides == other.strides
        and one.shape == other.shape
        and one.dtype == other.dtype
        and not other.flags.writeable
    )


def _compared(
    array: np.ndarray[Any, Any], spec: TensorSpec, stored: np.ndarray[Any, Any]
) -> int | None:
    """The checksum of an array if it has just these bytes; else None."""
    if spec.dtype == "string":
        try:
            encoded, crc = string_tensor.encode(array)
        except UnsupportedError:
            return None
        return crc if np.array_equal(np.frombuffer(encoded, np.uint8), stored) else None
    if array.dtype != dtypes.BY_NAME[spec.dtype].numpy or array.shape != spec.shape:
        return None
    return _equal(np.ascontiguousarray(array).reshape(-1).view(np.uint8), stored)


def _equal(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> int | None:
    """Compare all bytes, eight at a time; the first piece that differs ends it."""
    if one.size != other.size:
        return None
    crc = 0
    even = one.size - one.size % 8
    for start in range(0, even, _CHUNK):
        end = min(start + _CHUNK, even)
        if not np.array_equal(one[start:end].view(np.uint64), other[start:end].view(np.uint64)):
            return None
        # They are in the processor's cache now.
        crc = crc32c.of(other[start:end], start=crc)
    if not np.array_equal(one[even:], other[even:]):
        return None
    return crc32c.of(other[even:], start=crc)


def _worth_linking(contents: Bundle, same: Sequence[_Unit]) -> list[int]:
    used: dict[int, int] = {}
    for unit in same:
        for entry in unit.entries:
            used[entry.shard] = used.get(entry.shard, 0) + entry.size
    sizes = {shard: len(contents.shard(shard)[0]) for shard in used}
    worth = [shard for shard in used if used[shard] >= LEAST_IN_USE * sizes[shard]]
    return sorted(worth, key=lambda shard: -used[shard])[: MOST_SHARDS - 2]


def _rows(same: Sequence[_Unit], numbers: Mapping[int, int]) -> Iterator[tuple[bytes, bytes]]:
    heads: dict[TensorSpec, bytes] = {}
    for unit in same:
        for item, entry in zip(unit.items, unit.entries, strict=True):
            key = bundle_entry.raw(item.key)
            if unit.whole is not None and item.part is not None:
                key = slices.part_key(key, zip(item.part.start, item.part.length, strict=True))
            head = heads.get(entry.spec)
            if head is None:
                head = heads[entry.spec] = bundle_entry.encode_spec(entry.spec)
            yield (
                key,
                head
                + bundle_entry.encode_place(
                    entry.offset, entry.size, entry.crc32c, shard=numbers[entry.shard]
                ),
            )
        if unit.whole is not None:
            yield (
                bundle_entry.raw(unit.whole.key),
                bundle_entry.encode_spec(unit.whole.spec)
                + bundle_entry.encode_slices(list(unit.whole.slices)),
            )
