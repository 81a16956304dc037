"""Find the rows of a large tensor that have not changed, so that only the others are written.

TensorFlow's format holds a partitioned variable as slices, which may lie in several data files. So
a table of which a few rows changed becomes slices of rows: those that changed are written, and
those between them stay in the data files of earlier checkpoints. Each checkpoint still lists the
whole table, and TensorFlow reads it as a partitioned variable.

Every slice takes time to read, most of all in TensorFlow (about 0.1 ms). So a table has at most one
slice for each 512 KiB, and at most 256. If the rows that changed are more scattered, the shortest
runs of unchanged rows between them are written too. If that writes more than half of the table, all
of it is written, in one piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.formats import crc32c
from tfpersist.formats.byte_columns import Numbers
from tfpersist.formats.slices import is_of_rows
from tfpersist.formats.tensors import Array, Slice, TensorSpec

# Smaller tables are written in one piece.
LEAST_TABLE = 4 << 20
_LEAST_PIECE = 512 << 10
_MOST_PIECES = 256
# Rows are compared in pieces of about this size, which stay in the processor's cache.
_TOGETHER = 1 << 19
# With more runs than these, too few of them would be left between the rows that are written.
_MOST_RUNS = 4 * _MOST_PIECES
# If more than half of these rows changed, the others are not looked for.
_SAMPLE = 64


@attrs.frozen(eq=False)
class Runs:
    """Rows of a table that follow one another, changed ones and unchanged ones in turn.

    Args:
        starts: the first row of each run, and the number of all rows.
        shards: the data file of the earlier checkpoint that has the rows; -1 for rows to write.
        offsets: where they start in that file.
        crcs: the plain checksum of their bytes; 0 for rows to write.
    """

    starts: Numbers
    shards: Numbers
    offsets: Numbers
    crcs: Numbers

    @property
    def counts(self) -> Numbers:
        """The number of rows of each run."""
        return np.diff(self.starts)

    def without(self, written: np.ndarray[Any, np.dtype[np.bool_]]) -> Runs:
        """Return the runs if some of the unchanged ones are written too."""
        shards = np.where(written, -1, self.shards)
        # Rows to write that follow one another become one run.
        begins = np.append(True, (shards[1:] >= 0) | (shards[:-1] >= 0))
        return Runs(
            np.append(self.starts[:-1][begins], self.starts[-1]),
            shards[begins],
            self.offsets[begins],
            self.crcs[begins],
        )

    def bounded(self, row_size: int) -> Runs:
        """Return the runs if so many short ones are written that few enough are left.

        Args:
            row_size: the number of bytes of a row.
        """
        most = min(_MOST_PIECES, int(self.starts[-1]) * row_size // _LEAST_PIECE)
        runs = self
        while len(runs.shards) > most and (runs.shards >= 0).any():
            kept = np.flatnonzero(runs.shards >= 0)
            # To write a run between two others makes one of three.
            count = -(-(len(runs.shards) - most) // 2)
            written = np.zeros(len(runs.shards), np.bool_)
            written[kept[np.argsort(runs.counts[kept], kind="stable")[:count]]] = True
            runs = runs.without(written)
        return runs

    def is_worth_it(self) -> bool:
        """Return whether at least half of the rows are kept, in an earlier data file."""
        kept = self.counts[self.shards >= 0].sum()
        return bool(2 * kept >= self.starts[-1])


@attrs.frozen(eq=False)
class Pieces:
    """The slices of one table in an earlier checkpoint, in the order of their rows.

    Args:
        starts: the first row of each, and the number of all rows.
        shards: the data file of each.
        offsets: where it starts in that file.
    """

    starts: Numbers
    shards: Numbers
    offsets: Numbers


def pieces_of(
    parts: Sequence[Slice | None], spec: TensorSpec, shards: Numbers, offsets: Numbers
) -> Pieces | None:
    """Return the slices of a table in order; None if they are not all its rows, each once.

    Args:
        parts: the slices; None for the whole table.
        spec: the data type and the shape of the table.
        shards: the data file of each.
        offsets: where each starts in that file.
    """
    rows = next(iter(spec.known_shape), 0)
    if rows < 2 or any(
        part and (part.full_shape != spec.shape or not is_of_rows(part)) for part in parts
    ):
        return None
    starts = np.array([part.start[0] if part else 0 for part in parts], np.int64)
    ends = starts + [part.length[0] if part else rows for part in parts]
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], ends[order]
    if starts[0] or ends[-1] != rows or (starts[1:] != ends[:-1]).any():
        return None
    return Pieces(np.append(starts, rows), shards[order], offsets[order])


def find(array: Array, pieces: Pieces, files: Sequence[memoryview]) -> Runs | None:
    """Compare a table with an earlier checkpoint, row by row.

    Args:
        array: the table.
        pieces: its slices in the earlier checkpoint.
        files: the bytes of the data files.

    Returns:
        The runs of its rows, few enough; None if too little of it is unchanged.
    """
    mine = np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)
    rows, row_size = mine.shape
    theirs = [
        np.ndarray((stop - start, row_size), np.uint8, files[shard], offset)
        for start, stop, shard, offset in zip(
            pieces.starts[:-1].tolist(),
            pieces.starts[1:].tolist(),
            pieces.shards.tolist(),
            pieces.offsets.tolist(),
            strict=True,
        )
    ]
    sample = np.unique(np.linspace(0, rows - 1, _SAMPLE).astype(np.int64))
    piece = np.searchsorted(pieces.starts, sample, side="right") - 1
    equal = [
        np.array_equal(mine[row], theirs[at][row - pieces.starts[at]])
        for row, at in zip(sample, piece, strict=True)
    ]
    if 2 * sum(equal) < len(sample):
        return None
    scan = _Scan(mine)
    for number, stored in enumerate(theirs):
        scan.compare(
            int(pieces.starts[number]),
            stored,
            int(pieces.shards[number]),
            int(pieces.offsets[number]),
        )
        if len(scan.starts) > _MOST_RUNS:
            return None
    runs = scan.runs().bounded(row_size)
    return runs if runs.is_worth_it() else None


@attrs.define(eq=False)
class _Scan:
    """The runs of rows that were found so far.

    Args:
        mine: the table, as bytes.
        starts: the first row of each run.
        shards: see `Runs`.
        offsets: see `Runs`.
        crcs: see `Runs`.
    """

    mine: Array
    starts: list[int] = attrs.field(factory=list)
    shards: list[int] = attrs.field(factory=list)
    offsets: list[int] = attrs.field(factory=list)
    crcs: list[int] = attrs.field(factory=list)

    def runs(self) -> Runs:
        """Return them all."""
        starts = np.array([*self.starts, len(self.mine)], np.int64)
        columns = (np.array(column, np.int64) for column in (self.shards, self.offsets, self.crcs))
        return Runs(starts, *columns)

    def compare(self, first: int, stored: Array, shard: int, offset: int) -> None:
        """Compare rows with those of one slice; stop if there are too many runs.

        Args:
            first: the first row of the slice.
            stored: its bytes, in rows.
            shard: the data file that it is in.
            offset: where it starts in that file.
        """
        row_size = self.mine.shape[1]
        step = max(_TOGETHER // row_size, 1)
        word = next(size for size in (8, 4, 2, 1) if row_size % size == 0)
        is_new = True
        for at in range(0, len(stored), step):
            theirs = stored[at : at + step].view(f"u{word}")
            mine = self.mine[first + at :][: len(theirs)].view(f"u{word}")
            ends = [len(theirs)]
            is_changed = False
            if not np.array_equal(mine, theirs):
                changed = (mine != theirs).any(axis=1)
                ends = [*(np.flatnonzero(changed[1:] != changed[:-1]) + 1).tolist(), *ends]
                is_changed = bool(changed[0])
            start = 0
            for end in ends:
                if is_changed:
                    self.add(first + at + start, -1, 0, None, is_new=False)
                else:
                    # These bytes are in the processor's cache now.
                    rows = self.mine[first + at + start : first + at + end]
                    begin = offset + (at + start) * row_size
                    self.add(first + at + start, shard, begin, rows, is_new=is_new)
                    is_new = False
                is_changed, start = not is_changed, end
            if len(self.starts) > _MOST_RUNS:
                return

    def add(self, start: int, shard: int, offset: int, rows: Array | None, *, is_new: bool) -> None:
        """Add rows to the last run, or begin another one."""
        if is_new or not self.starts or self.shards[-1] != shard:
            self.starts.append(start)
            self.shards.append(shard)
            self.offsets.append(offset)
            self.crcs.append(0)
        if rows is not None:
            self.crcs[-1] = crc32c.of(rows.reshape(-1), start=self.crcs[-1])
