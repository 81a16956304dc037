"""Cut tables into slices of rows."""

import numpy as np

from tfpersist.checkpoint.cut_tables import cut
from tfpersist.checkpoint.rows import Runs
from tfpersist.formats import crc32c
from tfpersist.formats.bundle_index_writer import tensor_list
from tfpersist.formats.bundle_writer import Item, Items
from tfpersist.formats.tensors import Slice, payload_of

TABLE = np.arange(40.0).reshape(10, 2, 2)


def items():
    arrays = {"a": np.zeros(3), "table": TABLE, "z": np.ones(2)}
    return Items.of([Item(name, payload_of(array)) for name, array in arrays.items()])


def listed(columns):
    return tensor_list(columns.names, columns.specs, columns.parts)


def test_a_table_becomes_its_runs_and_the_others_stay():
    crcs = [crc32c.of(TABLE[:4].tobytes()), 0, crc32c.of(TABLE[5:].tobytes())]
    runs = Runs(np.array([0, 4, 5, 10]), np.array([7, -1, 8]), np.array([64, 0, 0]), np.array(crcs))
    columns = items()
    done = cut(columns, listed(columns), {1: (TABLE, runs)})
    assert done.items.names == ["a", "table", "table", "table", "z"]
    assert [str(spec) for spec in done.items.specs[1:4]] == [
        "float64[4,2,2]",
        "float64[1,2,2]",
        "float64[5,2,2]",
    ]
    assert done.items.parts[2] == Slice("table", (10, 2, 2), (4, 0, 0), (1, 2, 2))
    assert (done.items.parts[0], done.items.parts[4]) == (None, None)
    loaded = [load() for load in done.items.loads]
    assert np.array_equal(np.concatenate(loaded[1:4]), TABLE)
    assert (loaded[0].tolist(), loaded[4].tolist()) == ([0, 0, 0], [1, 1])
    assert done.numbers.tolist() == [0, 1, 4]
    assert (done.kept.tolist(), done.written.tolist()) == ([1, 3], [2])
    places = done.places
    assert (places.shards.tolist(), places.offsets.tolist()) == ([7, 8], [64, 0])
    assert places.sizes.tolist() == [128, 160]
    assert places.crcs.tolist() == [crc32c.masked(crcs[0]), crc32c.masked(crcs[2])]
    assert done.tensors.names == done.items.names


def test_without_tables_all_is_as_it_was():
    columns = items()
    tensors = listed(columns)
    done = cut(columns, tensors, {})
    assert done.items is columns
    assert done.tensors is tensors
    assert done.numbers.tolist() == [0, 1, 2]
    assert not len(done.kept)
    assert not len(done.written)
