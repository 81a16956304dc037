"""Constants become variables of a checkpoint again."""

from __future__ import annotations

import os

import numpy as np
import pytest
from drafts import draft, node, placeholder, variable

import tfpersist as tfp
from tfpersist.checkpoint.sidecar import decode
from tfpersist.errors import NameNotFoundError, StorageError
from tfpersist.freezer import pipeline
from tfpersist.freezer.options import Options
from tfpersist.frozen import unfreeze
from tfpersist.storage import open_storage

LARGE = np.linspace(0, 1, 4096, dtype=np.float32)


def frozen(**options):
    text = placeholder("x") + variable("net/w", "read").replace("size: 3", "size: 4096")
    text += node("y", "AddV2", "x", "read", T="type: DT_FLOAT")
    source = draft(text, {"net/w": LARGE}).source
    return pipeline.freeze(source, Options(outputs=("y",), **options)).signed()


def test_a_checkpoint_with_its_graph(tmp_path):
    checkpoint = unfreeze.save(frozen(), ["net/*"], open_storage(tmp_path / "run"), step=7)
    assert (checkpoint.name, checkpoint.step) == ("model.ckpt-7", 7)
    noted = decode(checkpoint.storage.read("model.ckpt-7.tfpersist.json"))
    assert noted.step == 7
    np.testing.assert_array_equal(checkpoint["net/w"], LARGE)
    ops = {node.name: node.op for node in checkpoint.meta.graph_def.node}
    assert ops["net/w"] == "VarHandleOp"
    again = tfp.Freezer(checkpoint).outputs("y").freeze()
    np.testing.assert_array_equal(again.graph.payloads["net/w"].load(), LARGE)


def test_a_checkpoint_without_a_step(tmp_path):
    checkpoint = unfreeze.save(frozen(), ["net/w"], open_storage(tmp_path))
    assert (checkpoint.name, checkpoint.step) == ("model.ckpt", None)


@pytest.mark.parametrize("durable", [True, False])
def test_files_are_synced_only_if_they_are_to_be_durable(tmp_path, monkeypatch, durable):
    synced, fsync = [], os.fsync

    def watch(descriptor):
        synced.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    unfreeze.save(frozen(), ["net/w"], open_storage(tmp_path), durable=durable)
    assert bool(synced) == durable


def test_weights_in_fewer_bytes_are_expanded(tmp_path):
    graph = frozen(weights="float16")
    assert [payload.spec.dtype for payload in graph.payloads.values()] == ["float16"]
    checkpoint = unfreeze.save(graph, ["net/w"], open_storage(tmp_path))
    assert checkpoint.specs["net/w"].dtype == "float32"
    np.testing.assert_allclose(checkpoint["net/w"], LARGE, atol=1e-3)


def test_nothing_is_written_if_a_name_matches_nothing(tmp_path):
    with pytest.raises(NameNotFoundError, match="'net/w'"):
        unfreeze.save(frozen(), ["net/v"], open_storage(tmp_path))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        unfreeze.save(frozen(), ["net/w"], open_storage(tmp_path / "file"))
