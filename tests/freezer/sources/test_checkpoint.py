"""A checkpoint with its graph: what is needed of it, and what it says of the values."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from drafts import draft, negative, placeholder

import tfpersist as tfp
from tfpersist.errors import FreezeError, UnsafeModelError
from tfpersist.formats import schema
from tfpersist.freezer.sources.checkpoint import lower_checkpoint, newest, origin_of
from tfpersist.graph.structure.lowered import Origin
from tfpersist.safety import Policy

CHAIN = placeholder("x") + negative("y", "x")


@pytest.fixture
def checkpoint(tmp_path):
    """Return a checkpoint of step 3 with a graph, and words beside it."""
    tfp.ModelStore(tmp_path / "run").save({"v": np.zeros(1)}, step=3)
    meta = schema.MetaGraphDef(graph_def=draft(CHAIN).graph.proto)
    meta.meta_info_def.tensorflow_version = "1.4.0"
    (tmp_path / "run/model.ckpt-3.meta").write_bytes(meta.SerializeToString())
    (tmp_path / "run/words.txt").write_bytes(b"own")
    (tmp_path / "secret").write_bytes(b"secret")
    return tfp.Checkpoint(tmp_path / "run")


def test_the_graph_and_where_the_values_are_from(checkpoint, tmp_path):
    lowered = lower_checkpoint(checkpoint, Policy.default())
    assert list(lowered.graph.nodes) == ["x", "y"]
    index = (tmp_path / "run/model.ckpt-3.index").read_bytes()
    assert lowered.origin == Origin(hashlib.sha256(index).hexdigest(), 3, "1.4.0")


def test_files_beside_it_fill_tables(checkpoint, tmp_path):
    read = lower_checkpoint(checkpoint, Policy.default()).read
    assert read(f"{tmp_path}/run/words.txt", "table") == b"own"
    with pytest.raises(UnsafeModelError):
        read(f"{tmp_path}/secret", "table")
    trusted = lower_checkpoint(checkpoint, Policy.trusted()).read
    assert trusted(f"{tmp_path}/secret", "table") == b"secret"


def test_a_checkpoint_without_a_graph(tmp_path):
    checkpoint = tfp.ModelStore(tmp_path).save({"v": np.zeros(1)})
    with pytest.raises(FreezeError, match=r"model\.ckpt: there is no graph.*a \.meta file"):
        lower_checkpoint(checkpoint, Policy.default())


def test_the_newest_of_a_store_or_the_one_that_it_chose(tmp_path):
    store = tfp.ModelStore(tmp_path)
    with pytest.raises(FreezeError, match="there is no checkpoint"):
        newest(store)
    for step in (1, 2):
        store.save({"v": np.zeros(1)}, step=step)
    assert newest(store).step == 2
    assert newest(store.at(1)).step == 1


def test_a_checkpoint_without_an_index_has_no_digest(checkpoint):
    meta = schema.MetaGraphDef()
    checkpoint.storage.remove(["model.ckpt-3.index"])
    assert origin_of(checkpoint, meta) == Origin(None, 3, None)
