"""Facts beside the tensors are read once, and again when they or the index have changed."""

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.checkpoint import facts
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.facts import known_facts, read_meta, read_sidecar
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import CorruptionError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.storage import open_storage


@pytest.fixture
def storage(tmp_path):
    storage = open_storage(tmp_path)
    items = [Item("v", payload_of(np.zeros(3)))]
    write_checkpoint(storage, "m-1", items, metrics={"loss": 0.5}, meta=b"graph")
    return storage


def files(storage):
    return Directory.look(storage).files("m-1")


def test_a_sidecar_is_read_once_while_it_is_unchanged(storage, monkeypatch):
    reads = []
    monkeypatch.setattr(
        facts, "read_sidecar", lambda *where: reads.append(where) or read_sidecar(*where)
    )
    metrics = [known_facts(storage, files(storage)).metrics["loss"] for _ in range(3)]
    assert (metrics, len(reads)) == ([0.5] * 3, 1)
    store = tfp.ModelStore(storage.location, name="m", durable=False)
    store.save({"v": np.ones(3)}, 1, {"loss": 0.25})
    assert known_facts(storage, files(storage)).metrics["loss"] == 0.25
    assert len(reads) == 2


def test_the_sidecar_of_another_index_is_not_used(storage, tmp_path):
    index = tmp_path / "m-1.index"
    write_checkpoint(storage, "m-2", [Item("w", payload_of(np.zeros(5)))])
    index.write_bytes((tmp_path / "m-2.index").read_bytes())
    assert read_sidecar(storage, files(storage)) is None
    assert known_facts(storage, files(storage)) is None


def test_a_meta_graph_that_was_changed_is_damaged(storage, tmp_path):
    assert read_meta(storage, files(storage)) == b"graph"
    (tmp_path / "m-1.meta").write_bytes(b"grape")
    with pytest.raises(CorruptionError, match=r"m-1\.meta"):
        read_meta(storage, files(storage))
