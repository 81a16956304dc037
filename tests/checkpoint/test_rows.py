"""Find the rows that have not changed."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.checkpoint import rows
from tfpersist.checkpoint.rows import Pieces, Runs, find, pieces_of
from tfpersist.formats import crc32c
from tfpersist.formats.tensors import Slice, TensorSpec

KEPT, WRITTEN = 0, -1


def pieces(count, cuts, row_size):
    """Slices in two files, with gaps between them."""
    starts = [0, *sorted(cuts), count]
    ends, offsets = [3, 5], []
    for number, (start, stop) in enumerate(itertools.pairwise(starts)):
        file = number // 2 % 2
        offsets.append(ends[file])
        ends[file] += (stop - start) * row_size + 3
    files = np.arange(len(offsets)) // 2 % 2
    return Pieces(np.array(starts), files, np.array(offsets)), ends


def stored(array, at, ends):
    """Two files with the slices of a table."""
    files = [bytearray(end) for end in ends]
    for start, stop, file, offset in zip(
        at.starts, at.starts[1:], at.shards, at.offsets, strict=False
    ):
        content = array[start:stop].tobytes()
        files[file][offset : offset + len(content)] = content
    return [memoryview(bytes(file)) for file in files]


@pytest.fixture
def small(monkeypatch):
    """A table of a few bytes may be cut, and is compared in steps of a few rows."""
    monkeypatch.setattr(rows, "_LEAST_PIECE", 1)
    monkeypatch.setattr(rows, "_TOGETHER", 20)
    return monkeypatch


@given(
    st.integers(2, 60),
    st.sets(st.integers(1, 59), max_size=4),
    st.sets(st.integers(0, 59), max_size=20),
    st.sampled_from([("u1", ()), ("u1", (3,)), ("f4", (1,)), ("f8", (2, 1)), ("i2", (3,))]),
)
def test_each_row_is_kept_where_it_is_or_written(count, cuts, changed, kind):
    dtype, inner = kind
    before = np.arange(count * max(int(np.prod(inner)), 1)).astype(dtype).reshape(count, *inner)
    row_size = before[0].nbytes
    at, ends = pieces(count, {cut for cut in cuts if cut < count}, row_size)
    files = stored(before, at, ends)
    now = before.copy()
    for row in changed:
        if row < count:
            now[row] = 101
    is_changed = [now[row].tobytes() != before[row].tobytes() for row in range(count)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rows, "_LEAST_PIECE", 1)
        patched.setattr(rows, "_TOGETHER", 20)
        runs = find(now, at, files)
    if 2 * sum(is_changed) > count:
        assert runs is None
        return
    assert runs.starts[0] == 0
    assert runs.starts[-1] == count
    assert (runs.counts > 0).all()
    written = runs.shards == WRITTEN
    assert not (written[1:] & written[:-1]).any()
    for start, stop, file, offset, crc in zip(
        runs.starts, runs.starts[1:], runs.shards, runs.offsets, runs.crcs, strict=False
    ):
        content = now[start:stop].tobytes()
        if file == WRITTEN:
            assert all(is_changed[start:stop])
        else:
            assert files[file][offset : offset + len(content)] == content
            assert crc == crc32c.of(content)


def runs_of(*counts, first=WRITTEN):
    """Runs of so many rows, that are written and kept in turn."""
    shards = [first if number % 2 == 0 else WRITTEN - first for number in range(len(counts))]
    nothing = np.zeros(len(counts), np.int64)
    return Runs(np.append(0, np.cumsum(counts)), np.array(shards), nothing, nothing)


def test_the_shortest_runs_between_rows_that_changed_are_written_too(small):
    small.setattr(rows, "_MOST_PIECES", 5)
    runs = runs_of(1, 9, 1, 2, 1, 3, 1, 30, 1).bounded(1)
    assert runs.counts.tolist() == [1, 9, 8, 30, 1]
    assert runs.shards.tolist() == [WRITTEN, KEPT, WRITTEN, KEPT, WRITTEN]
    assert runs.is_worth_it()
    assert runs_of(1, 2, 1, 5, first=KEPT).bounded(1).counts.tolist() == [1, 2, 1, 5]


def test_a_small_table_has_few_slices(monkeypatch):
    monkeypatch.setattr(rows, "_LEAST_PIECE", 10)
    assert len(runs_of(*[1] * 9).bounded(5).shards) <= 4
    assert len(runs_of(*[1] * 9).bounded(1).shards) == 1


def test_at_least_half_is_kept():
    assert runs_of(5, 5).is_worth_it()
    assert not runs_of(6, 5).is_worth_it()


def test_rows_that_are_too_scattered_are_not_looked_for(small):
    before = np.zeros((9 * rows._MOST_RUNS, 2), np.float32)
    at, ends = pieces(len(before), (), 8)
    now = before.copy()
    now[::9] = 1
    assert find(now, at, stored(before, at, ends)) is None
    now[:] = 0
    now[90] = 1
    assert find(now, at, stored(before, at, ends)).counts.tolist() == [90, 1, len(now) - 91]


def test_only_a_few_rows_are_compared_if_most_of_them_changed(small):
    before = np.zeros((1000, 2), np.float32)
    at, ends = pieces(len(before), (), 8)
    now = before.copy()
    now[np.linspace(0, 999, 64).astype(int)] = 1
    assert find(now, at, stored(before, at, ends)) is None
    small.setattr(rows, "_SAMPLE", 63)
    assert find(now, at, stored(before, at, ends)) is not None


SPEC = TensorSpec("float32", (10, 4))


def part(start, length, *, full=(10, 4), columns=(0, 4)):
    return Slice("v", full, (start, columns[0]), (length, columns[1]))


def test_slices_come_in_the_order_of_their_rows():
    at = pieces_of([part(6, 4), part(0, 6)], SPEC, np.array([2, 1]), np.array([10, 20]))
    assert at.starts.tolist() == [0, 6, 10]
    assert (at.shards.tolist(), at.offsets.tolist()) == ([1, 2], [20, 10])
    whole = pieces_of([None], SPEC, np.array([3]), np.array([64]))
    assert (whole.starts.tolist(), whole.shards.tolist()) == ([0, 10], [3])


@pytest.mark.parametrize(
    ("parts", "spec"),
    [
        ([part(0, 6), part(5, 5)], SPEC),
        ([part(0, 6), part(7, 3)], SPEC),
        ([part(1, 9)], SPEC),
        ([part(0, 9)], SPEC),
        ([part(0, 10, columns=(0, 2)), part(0, 10, columns=(2, 2))], SPEC),
        ([part(0, 10, full=(11, 4)), part(10, 1, full=(11, 4))], SPEC),
        ([None], TensorSpec("float32", ())),
        ([None], TensorSpec("float32", (1, 4))),
    ],
    ids=["overlap", "hole", "no first", "no last", "columns", "other shape", "scalar", "one row"],
)
def test_what_is_not_all_rows_once_is_refused(parts, spec):
    numbers = np.arange(len(parts))
    assert pieces_of(parts, spec, numbers, numbers) is None
