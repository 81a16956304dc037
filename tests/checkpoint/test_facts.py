"""Facts beside the tensors: the owner of a sidecar, how often it is read, a changed `.meta`."""

from __future__ import annotations

import numpy as np
import pytest

from tfpersist.checkpoint import facts
from tfpersist.checkpoint.facts import known_facts, read_meta, read_sidecar
from tfpersist.checkpoint.files import Listing
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import CorruptionError, StorageError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.storage import open_storage


class Counting:
    """A storage that counts reads by name, and can refuse some of them."""

    def __init__(self, storage):
        self.storage = storage
        self.reads = []
        self.refused = ()

    def __getattr__(self, name):
        return getattr(self.storage, name)

    def read(self, name):
        self.reads.append(name)
        if name.endswith(self.refused):
            raise StorageError("cannot read this now")
        return self.storage.read(name)


@pytest.fixture
def storage(tmp_path):
    save(tmp_path, "m-1", metrics={"loss": 0.5})
    save(tmp_path, "m-2", 2, metrics={"loss": 0.25})
    return Counting(open_storage(tmp_path))


def save(path, prefix, value=0, **options):
    items = [Item("v", payload_of(np.full(3, value)))]
    write_checkpoint(open_storage(path), prefix, items, state=False, **options)


def files_of(storage, prefix="m-1"):
    return Listing(storage.names()).v2_files(prefix)


def test_it_is_read_again_only_after_a_change(storage, tmp_path):
    files = files_of(storage)
    for _ in range(3):
        assert known_facts(storage, files).metrics == {"loss": 0.5}
    assert storage.reads.count("m-1.tfpersist.json") == 1
    save(tmp_path, "m-1", metrics={"loss": 0.125})
    assert known_facts(storage, files).metrics == {"loss": 0.125}
    assert known_facts(storage, files_of(storage, "m-2")).metrics == {"loss": 0.25}


def test_a_sidecar_that_could_not_be_read_is_read_again(storage):
    storage.refused = (".tfpersist.json",)
    assert known_facts(storage, files_of(storage)) is None
    storage.refused = ()
    assert known_facts(storage, files_of(storage)).metrics == {"loss": 0.5}


def test_no_more_is_remembered_than_the_bound(storage, monkeypatch):
    monkeypatch.setattr(facts, "_FACTS", {})
    monkeypatch.setattr(facts, "_MOST_FACTS", 1)
    for prefix in ("m-1", "m-2", "m-1"):
        assert known_facts(storage, files_of(storage, prefix)) is not None
        assert len(facts._FACTS) == 1


def test_a_sidecar_belongs_to_the_index_that_it_was_written_for(storage, tmp_path):
    (tmp_path / "m-2.index").replace(tmp_path / "m-1.index")
    assert read_sidecar(storage, files_of(storage)) is None


def test_where_reading_is_not_free_the_index_is_not_compared(tmp_path):
    save(tmp_path, "m-1", step=1)
    (tmp_path / "m-1.index").write_bytes(b"another")
    storage = Counting(open_storage(f"local://{tmp_path}"))
    assert read_sidecar(storage, files_of(storage)).step == 1
    assert storage.reads == ["m-1.tfpersist.json"]


def test_a_checkpoint_without_an_index_has_what_its_sidecar_says(storage, tmp_path):
    files = files_of(storage)
    (tmp_path / "m-1.index").unlink()
    assert read_sidecar(storage, files_of(storage)).metrics == {"loss": 0.5}
    # It was listed before, so that its index is missed only when it is read.
    assert read_sidecar(storage, files) is None


@pytest.mark.parametrize("read", [read_sidecar, known_facts])
def test_a_checkpoint_without_a_sidecar(storage, tmp_path, read):
    (tmp_path / "m-1.tfpersist.json").unlink()
    assert read(storage, files_of(storage)) is None


def test_a_meta_graph_is_the_one_that_was_saved(storage, tmp_path):
    save(tmp_path, "m-1", meta=b"meta")
    files = files_of(storage)
    assert read_meta(storage, files) == b"meta"
    (tmp_path / "m-1.meta").write_bytes(b"Meta")
    with pytest.raises(CorruptionError, match=r"not the one that was saved.*0x[0-9a-f]{8}"):
        read_meta(storage, files)
    (tmp_path / "m-1.tfpersist.json").unlink()
    assert read_meta(storage, files_of(storage)) == b"Meta"
