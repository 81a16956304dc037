import numpy as np
import pytest

from tfpersist.checkpoint import fetched
from tfpersist.checkpoint.contents import open_contents
from tfpersist.checkpoint.fetched import entries_of, fetch
from tfpersist.checkpoint.files import Listing
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import CorruptionError
from tfpersist.formats.bundle_tensors import read_tensor
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import Slice, payload_of
from tfpersist.storage import open_storage

PARTS = (Slice("p", (6,), (0,), (2,)), Slice("p", (6,), (2,), (4,)))


class Recording:
    """A storage that notes which parts of files are read."""

    def __init__(self, storage):
        self.storage, self.asked = storage, []

    def __getattr__(self, name):
        return getattr(self.storage, name)

    def read_parts(self, parts):
        self.asked.append(list(parts))
        return self.storage.read_parts(parts)


@pytest.fixture
def contents(tmp_path):
    storage = open_storage(f"local://{tmp_path}")
    values = {"a": np.arange(4.0), "b": np.arange(50_000.0), "c": np.full(3, 7.0)}
    items = [Item(key, payload_of(value)) for key, value in values.items()]
    items += [
        Item("p", payload_of(np.arange(n) + at), part)
        for n, at, part in zip((2, 4), (0, 2), PARTS, strict=True)
    ]
    write_checkpoint(storage, "m", [*items, Item("none", payload_of(np.zeros((0, 2))))])
    return open_contents(Recording(storage), Listing(storage.names()).v2_files("m"))


def fetched_of(contents, *keys):
    entries = entries_of(contents.index, keys)
    return fetch(contents.index, entries, contents.storage, contents.shard_names, contents.shards)


def test_nothing_but_what_is_wanted_is_read(contents):
    index, shard = fetched_of(contents, "b")
    assert np.array_equal(read_tensor(index, "b", shard), np.arange(50_000.0))
    ((part,),) = contents.storage.asked
    assert part[1:] == (64, 400_000)
    index, shard = fetched_of(contents, "none", "absent")
    assert read_tensor(index, "none", shard).shape == (0, 2)
    assert contents.storage.asked[1:] == [[]]


def test_neighbours_are_read_together_and_others_at_once(contents):
    index, shard = fetched_of(contents, "a", "c", "p", "a")
    assert read_tensor(index, "a", shard).tolist() == [0, 1, 2, 3]
    assert read_tensor(index, "c", shard).tolist() == [7, 7, 7]
    assert read_tensor(index, "p", shard).tolist() == [0, 1, 2, 3, 4, 5]
    (parts,) = contents.storage.asked
    assert [part[1] for part in parts] == [0, 400_064]


def test_many_neighbours_are_read_at_once(contents, monkeypatch):
    monkeypatch.setattr(fetched, "_MOST_TOGETHER", 400_064)
    index, shard = fetched_of(contents, "a", "b", "c")
    assert read_tensor(index, "b", shard)[-1] == 49_999
    assert read_tensor(index, "c", shard).tolist() == [7, 7, 7]
    (parts,) = contents.storage.asked
    assert [part[1:] for part in parts] == [(0, 400_064), (400_064, 24)]


def test_an_error_names_the_file_and_the_part(contents, tmp_path):
    (data,) = tmp_path.glob("m.data-*")
    whole = bytearray(data.read_bytes())
    whole[400_064] ^= 1
    data.write_bytes(whole)
    index, shard = fetched_of(contents, "c")
    with pytest.raises(CorruptionError, match=r"m\.data-00000-of-\d{5} from byte 400064, byte 0"):
        read_tensor(index, "c", shard)


@pytest.mark.parametrize("large", [fetched._LARGE, 1])
def test_a_file_that_ends_too_early(contents, tmp_path, monkeypatch, large):
    monkeypatch.setattr(fetched, "_LARGE", large)
    (data,) = tmp_path.glob("m.data-*")
    data.write_bytes(data.read_bytes()[:-300])
    with pytest.raises(CorruptionError, match="reaches beyond the end of its shard"):
        fetched_of(contents, "c")
    # Of a large part, nothing is read before the size of the file is known.
    assert len(contents.storage.asked) == (large > 1)
    data.unlink()
    with pytest.raises(CorruptionError, match="missing"):
        fetched_of(contents, "c")
