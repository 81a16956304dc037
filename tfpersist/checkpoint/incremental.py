"""Write again only what has changed since the checkpoint before.

Tensors with the same bytes as in the previous checkpoint stay where they are. The data files that
hold them become data files of the new checkpoint too, as hard links. The tensors that changed go
into data files of its own, and the index of the new checkpoint lists all of them. So each
checkpoint has all its files, TensorFlow reads it, and any other checkpoint may be removed.

A tensor is unchanged if all its bytes are those of the file that is linked. Equal checksums do not
prove this, but different checksums prove a change. One comparison is left out: TensorFlow does not
write to memory that it shares. If a tensor was unchanged and lies in the same shared memory at the
next save, it is unchanged again. Its file may be damaged meanwhile. So the bytes in the file are
compared with their checksum if the file was written to, and at every eighth save.

If everything changed, a comparison only costs time. So if there are more than 128 tensors below
64 KiB, a random sample of 128 of them is compared first. If the whole sample changed, the other
small tensors are written without a comparison. A save never holds a wrong value because of this,
but it may write tensors that did not change: on average less than 0.3 % of the bytes of the small
tensors. Tensors of 64 KiB and more are always compared.

If only some rows of a large table changed, the others stay where they are: `rows` says how.

A linked file also holds old values, which take space. So if less than half of a file is still in
use, it is not linked, and its unchanged tensors are written again, into a data file of their own
that can be linked next time. A checkpoint has at most 16 data files: of more, those with the least
bytes in use are written again too.

If other tensors change each time, little of what one save has shared is unchanged at the next one.
Where a sample shows that, the next saves write all tensors: up to 15, or until most of the bytes
could be linked.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs
import numpy as np

from tfpersist.checkpoint.cut_tables import cut
from tfpersist.checkpoint.earlier import EarlierCheckpoint
from tfpersist.checkpoint.estimate import SAMPLE
from tfpersist.checkpoint.rows import LEAST_TABLE, Pieces, Runs, find, pieces_of
from tfpersist.checkpoint.save_memory import SaveMemory, SharedMemory, Sharing
from tfpersist.formats import crc32c
from tfpersist.formats.bundle_index_writer import Places, TensorList
from tfpersist.formats.bundle_writer import SMALL, Encoded, Items, encode_elements, load, load_many
from tfpersist.formats.byte_columns import Numbers
from tfpersist.formats.tensors import Array, Slice

LEAST_IN_USE = 0.5
MOST_SHARDS = 16

_CHUNK = 1 << 18
# Most tensors that change differ in their first bytes.
_FIRST = 64
# Small tensors are compared in batches of about this many bytes, which fit in the cache.
_TOGETHER = 1 << 18
# The checksums of all shared memory at each save would take longer than the rest of the save.
_TURNS = 8


def _no_numbers() -> Numbers:
    return np.zeros(0, np.int64)


@attrs.frozen(eq=False)
class Changes:
    """The tensors that a save writes, and those that stay in linked data files.

    Args:
        changed: the numbers of the tensors that changed.
        again: the numbers of unchanged tensors that are written again, into data files of their
            own.
        kept: the numbers of the unchanged tensors in linked data files.
        linked: the numbers that the linked data files have in the earlier checkpoint.
        places: the places of the kept tensors in the new checkpoint, where the linked data files
            come first.
        encoded: the bytes and checksums of string tensors, by number.
        memory: the shared memory that holds unchanged tensors, by the name of the tensor.
    """

    changed: Numbers
    again: Numbers = attrs.field(factory=_no_numbers)
    kept: Numbers = attrs.field(factory=_no_numbers)
    linked: Sequence[int] = ()
    places: Places = attrs.field(factory=Places.none)
    encoded: Mapping[int, Encoded] = MappingProxyType({})
    memory: Mapping[str, SharedMemory] = MappingProxyType({})

    @property
    def shared(self) -> int:
        """The number of bytes of the kept tensors."""
        return int(self.places.sizes.sum())


@attrs.frozen(eq=False)
class Compared:
    """The tensors of a save, some of them cut into slices of rows, and what becomes of them.

    Args:
        items: the tensors.
        tensors: the same tensors as a list.
        changes: which of them to write, and which are in the data files to link.
    """

    items: Items
    tensors: TensorList
    changes: Changes


def compare(
    earlier: EarlierCheckpoint,
    items: Items,
    tensors: TensorList,
    memory: SaveMemory,
    *,
    sampled: bool = False,
    rewrites: bool = True,
) -> Compared:
    """Find what has not changed since an earlier checkpoint was saved.

    Args:
        earlier: the earlier checkpoint.
        items: the tensors of the new one.
        tensors: the same tensors as a list.
        memory: what the store remembers of its last save.
        sampled: whether a sample has shown that some small tensors are unchanged.
        rewrites: whether unchanged tensors that cannot be linked get data files of their own.

    Raises:
        SaveError: elements do not fit their spec.
    """
    search = _Search.over(earlier, items, tensors, memory, sampled=sampled)
    same, at, places = search.same, search.at, earlier.places
    # Either all parts of a partitioned variable are kept, or all are written.
    variables = _partitioned(tensors.names, tensors.parts)
    for numbers in variables.values():
        same[numbers] = same[numbers].all()
    tables, worth, whole = _worth_cutting(earlier, search)
    kept = same.copy()
    kept[same] = np.isin(places.shards[at[same]], worth)
    for numbers in variables.values():
        kept[numbers] = kept[numbers].all()
    again = same & ~kept
    again[whole] = True
    if not rewrites:
        again[:] = False
    done = cut(items, tensors, tables)
    at_kept = at[kept]
    shards = np.concatenate([places.shards[at_kept], done.places.shards])
    linked, shards = np.unique(shards, return_inverse=True)
    numbers_kept = np.concatenate([done.numbers[kept], done.kept])
    of_kept = [places.offsets[at_kept], places.sizes[at_kept], places.crcs[at_kept]]
    others = [done.places.offsets, done.places.sizes, done.places.crcs]
    left = ~kept & ~again
    left[[*tables]] = False
    changes = Changes(
        np.sort(np.concatenate([done.numbers[left], done.written])),
        done.numbers[again],
        numbers_kept,
        linked.tolist(),
        Places(shards, *map(np.concatenate, zip(of_kept, others, strict=True))),
        {int(done.numbers[number]): known for number, known in search.encoded.items()},
        {
            tensors.names[number]: known if kept[number] else attrs.evolve(known, file=None)
            for number, known in search.memory.items()
        },
    )
    return Compared(done.items, done.tensors, changes)


def _worth_cutting(
    earlier: EarlierCheckpoint, search: _Search
) -> tuple[dict[int, tuple[Array, Runs]], Numbers, list[int]]:
    """Return which tables are cut, now that a data file may be worth a link or not.

    Returns:
        The elements and the runs of tables that are cut, by number; the data files that are worth
        a link; and the numbers of unchanged tables that are written again.
    """
    places, at = earlier.places, search.at[search.same]
    tables = dict(search.tables)
    whole: list[int] = []
    while True:
        runs = [runs for _, runs in tables.values()]
        kept = [one.shards >= 0 for one in runs]
        shards = [places.shards[at], *(one.shards[k] for one, k in zip(runs, kept, strict=True))]
        sizes = [
            places.sizes[at],
            *(
                one.counts[k] * (array.nbytes // len(array))
                for (array, one), k in zip(tables.values(), kept, strict=True)
            ),
        ]
        worth = _worth_linking(earlier, np.concatenate(shards), np.concatenate(sizes))
        cut_tables = {}
        for number, (array, one) in tables.items():
            left = one.without((one.shards >= 0) & ~np.isin(one.shards, worth))
            if left.is_worth_it():
                cut_tables[number] = array, left
            elif (one.shards >= 0).all():
                whole.append(number)
        if len(cut_tables) == len(tables):
            return cut_tables, worth, whole
        tables = {number: tables[number] for number in cut_tables}


def _partitioned(names: Sequence[str], parts: Sequence[Slice | None]) -> dict[str, list[int]]:
    """Return the numbers of the parts of each partitioned variable."""
    variables: dict[str, list[int]] = {}
    for number, part in enumerate(parts):
        if part is not None and not part.is_whole:
            variables.setdefault(names[number], []).append(number)
    return variables


def _worth_linking(earlier: EarlierCheckpoint, shards: Numbers, sizes: Numbers) -> Numbers:
    """Return the numbers of the data files of which unchanged bytes fill at least half.

    Args:
        earlier: the checkpoint that they are of.
        shards: the data file of each unchanged tensor.
        sizes: the number of bytes of each.
    """
    file_sizes = np.array([len(shard) for shard in earlier.shards], np.int64)
    used = np.zeros_like(file_sizes)
    np.add.at(used, shards, sizes)
    worth = np.flatnonzero((used > 0) & (used >= LEAST_IN_USE * file_sizes))
    fullest: Numbers = worth[np.argsort(-used[worth], kind="stable")]
    # There may be two new ones: for the tensors that changed, and for those written again.
    return fullest[: MOST_SHARDS - 2]


@attrs.define(eq=False)
class _Search:
    """Finds the tensors that have not changed since an earlier checkpoint.

    Args:
        earlier: the earlier checkpoint.
        items: the tensors of the new one.
        tensors: the same tensors as a list.
        at: the number that each has in the earlier checkpoint; -1 for none.
        saves: what the store remembers between its saves.
        turn: the number of this save.
        same: whether each tensor is unchanged; False until it was compared.
        encoded: the bytes and checksums of string tensors, by number.
        memory: the shared memory of unchanged tensors, by number.
        tables: the elements of large tensors and the runs of their rows, of those that changed in
            part, or that are in slices; by number.
    """

    earlier: EarlierCheckpoint
    items: Items
    tensors: TensorList
    at: Numbers
    saves: SaveMemory
    turn: int
    same: np.ndarray[Any, np.dtype[np.bool_]]
    encoded: dict[int, Encoded] = attrs.field(factory=dict)
    memory: dict[int, SharedMemory] = attrs.field(factory=dict)
    tables: dict[int, tuple[Array, Runs]] = attrs.field(factory=dict)

    @classmethod
    def over(
        cls,
        earlier: EarlierCheckpoint,
        items: Items,
        tensors: TensorList,
        saves: SaveMemory,
        *,
        sampled: bool,
    ) -> _Search:
        """Search for all tensors."""
        at = earlier.numbers_of(tensors)
        nothing = np.zeros(len(at), np.bool_)
        search = cls(earlier, items, tensors, at, saves, next(saves.turns), nothing)
        known = np.flatnonzero(at >= 0)
        sizes = earlier.places.sizes[at[known]]
        strings = tensors.sizes[known] < 0
        for number in known[strings & (sizes > 0)].tolist():
            search.compare_strings(number)
        for number in known[~strings & (sizes >= SMALL)].tolist():
            search.compare_large(number)
        for number in np.flatnonzero((at < 0) & (tensors.sizes >= LEAST_TABLE)).tolist():
            search.compare_slices(number)
        small = ~strings & (sizes > 0) & (sizes < SMALL)
        search.compare_all_small(known[small], sizes[small].cumsum(), sampled=sampled)
        return search

    def compare_strings(self, number: int) -> None:
        """Compare a string tensor."""
        content, crc = self.encoded[number] = encode_elements(self.items, number)
        self.same[number] = self.crc_is(number, crc) and content == bytes(self.stored(number))

    def compare_all_small(self, numbers: Numbers, ends: Numbers, *, sampled: bool) -> None:
        """Compare small tensors; if they are many, a sample of them first.

        Args:
            numbers: the tensors.
            ends: the number of bytes up to the end of each.
            sampled: whether a sample was compared already.
        """
        if len(numbers) > SAMPLE and not sampled:
            # If the share f of the bytes is unchanged, the sample has none of them with the
            # probability (1 - f)**128. So on average at most f * (1 - f)**128 is missed, which is
            # less than 0.3 % for each f.
            draws = np.random.default_rng(self.turn).integers(ends[-1], size=SAMPLE)
            sample = np.unique(np.searchsorted(ends, draws, side="right"))
            self.compare_small(numbers[sample])
            if not self.same[numbers[sample]].any():
                return
            numbers, ends = np.delete(numbers, sample), np.delete(ends, sample)
        batches = np.unique(ends // _TOGETHER, return_index=True)[1]
        for batch in np.split(numbers, batches[1:]):
            self.compare_small(batch)

    def compare_small(self, numbers: Numbers) -> None:
        """Compare small tensors: first their checksums, then all bytes of those with equal ones."""
        arrays, at = load_many(self.items, numbers.tolist()), self.at[numbers]
        same = crc32c.all_masked(crc32c.of_each(arrays)) == self.earlier.places.crcs[at]
        equal = np.flatnonzero(same).tolist()
        mine: list[Any] = [arrays[place] for place in equal]
        theirs = self.earlier.stored(at[equal])
        if b"".join(mine) != b"".join(theirs):
            same[equal] = [
                one.tobytes() == bytes(other) for one, other in zip(mine, theirs, strict=True)
            ]
        self.same[numbers] = same

    def compare_large(self, number: int) -> None:
        """Compare a large tensor, unless it lies in memory that nobody can have written to."""
        array = load(self.items, number)
        name, part = self.items.names[number], self.items.parts[number]
        whole = part is None or part.is_whole
        last = self.earlier.last
        known = last.memory.get(name) if whole and last is not None else None
        same_memory = known is not None and _is_one_memory(known.array, array)
        file = self.earlier.stamps[self.earlier.places.shards[self.at[number]]]
        if known is None or not same_memory or known.file != file or self.has_turn(name):
            stored = np.frombuffer(self.stored(number), np.uint8)
            crc = crc32c.of(stored) if same_memory else self.crc_if_equal(number, array, stored)
            if crc is None or not self.crc_is(number, crc):
                return
        self.same[number] = True
        if whole and self.saves.may_share(name, array):
            self.memory[number] = SharedMemory(array, file)

    def crc_if_equal(self, number: int, array: Array, stored: Array) -> int | None:
        """Return the checksum of a tensor if all its bytes are those stored; None if not."""
        pieces = self.pieces(number, [int(self.at[number])])
        if pieces is None:
            return _equal(array, stored)
        runs = self.compare_rows(number, array, pieces)
        if runs is not None and len(runs.shards) == 1:
            return int(runs.crcs[0])
        return None

    def compare_slices(self, number: int) -> None:
        """Compare a large tensor that the earlier checkpoint has in slices."""
        there = self.earlier.slices.get(self.items.names[number], [])
        part = self.items.parts[number]
        pieces = self.pieces(number, there) if part is None or part.is_whole else None
        if pieces is not None:
            self.compare_rows(number, load(self.items, number), pieces)

    def pieces(self, number: int, there: list[int]) -> Pieces | None:
        """Return the slices of a table in the earlier checkpoint.

        Args:
            number: the number of the table.
            there: the numbers of its slices in the earlier checkpoint.

        Returns:
            The slices; None if it is no large table, if these are not its rows, or if its rows have
            changed too much at the last saves.
        """
        name, spec, places = self.items.names[number], self.items.specs[number], self.earlier.places
        types = {self.earlier.specs[one].dtype for one in there}
        if self.tensors.sizes[number] < LEAST_TABLE or types != {spec.dtype}:
            return None
        parts = [self.earlier.parts[one] for one in there]
        pieces = pieces_of(parts, spec, places.shards[there], places.offsets[there])
        is_due = self.saves.cutting.setdefault(name, Sharing()).is_due()
        return pieces if is_due else None

    def compare_rows(self, number: int, array: Array, pieces: Pieces) -> Runs | None:
        """Compare the rows of a table; return the runs, or None if too little is unchanged."""
        runs = find(array, pieces, self.earlier.shards)
        self.saves.cutting[self.items.names[number]].note(paid=runs is not None)
        if runs is not None and len(runs.shards) > 1:
            self.tables[number] = array, runs
        return runs

    def stored(self, number: int) -> memoryview:
        """Return the bytes that the earlier checkpoint holds of a tensor."""
        return self.earlier.stored(self.at[[number]])[0]

    def crc_is(self, number: int, crc: int) -> bool:
        """Return whether the earlier checkpoint has this checksum for a tensor."""
        return crc32c.masked(crc) == int(self.earlier.places.crcs[self.at[number]])

    def has_turn(self, name: str) -> bool:
        """Return whether this save compares the bytes in the file with their checksum."""
        return zlib.crc32(name.encode(errors="surrogateescape")) % _TURNS == self.turn % _TURNS


def _is_one_memory(one: Array, other: Array) -> bool:
    """Return whether two arrays, both alive, are views of the same bytes, in the same order."""
    return (
        one.ctypes.data == other.ctypes.data
        and one.strides == other.strides
        and one.shape == other.shape
        and one.dtype == other.dtype
        and not other.flags.writeable
    )


def _equal(array: Array, stored: Array) -> int | None:
    """Compare all bytes, eight at a time, up to the first piece that differs.

    Returns:
        The checksum of the stored bytes; None if they differ.
    """
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    if flat.size != stored.size or flat[:_FIRST].tobytes() != stored[:_FIRST].tobytes():
        return None
    crc = 0
    even = flat.size - flat.size % 8
    for start in range(0, even, _CHUNK):
        end = min(start + _CHUNK, even)
        if not np.array_equal(flat[start:end].view(np.uint64), stored[start:end].view(np.uint64)):
            return None
        # The bytes are in the processor's cache now.
        crc = crc32c.of(stored[start:end], start=crc)
    if flat[even:].tobytes() != stored[even:].tobytes():
        return None
    return crc32c.of(stored[even:], start=crc)
