"""A graph without a model: what it says of itself, and values from a checkpoint."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from drafts import draft, negative, placeholder

import tfpersist as tfp
from tfpersist.freezer import pipeline
from tfpersist.freezer.options import Options
from tfpersist.freezer.sources.graph import lower_graph
from tfpersist.graph.describe.signature import Origin, Signature, sign

CHAIN = placeholder("x") + negative("mid", "x") + negative("y", "mid")


def signed(signature, text=CHAIN):
    graph = draft(text).graph
    sign(graph, signature)
    return graph


def test_a_frozen_graph_is_taken_at_its_word():
    origin = Origin("0" * 64, 7, "1.15.5")
    graph = signed(Signature({"image": "x:0"}, {"label": "y:0"}, origin=origin))
    lowered = lower_graph(graph)
    assert (lowered.inputs, lowered.outputs) == (("x:0",), ("y:0",))
    assert lowered.labels == {"image": "x:0", "label": "y:0"}
    assert lowered.origin == origin
    again = pipeline.freeze(lowered, Options()).signature
    assert (again.inputs, again.outputs) == ({"image": "x:0"}, {"label": "y:0"})
    assert again.origin == origin


def test_names_of_a_signature_that_are_gone_are_left_out():
    graph = signed(Signature({"image": "x:0", "old": "gone:0"}, {"label": "y:3", "other": "y:0"}))
    lowered = lower_graph(graph)
    assert (lowered.inputs, lowered.outputs) == (("x:0",), ("y:0",))


def test_a_graph_without_a_signature():
    lowered = lower_graph(draft(CHAIN).graph)
    assert (lowered.inputs, lowered.outputs, lowered.labels) == ((), (), {})
    assert (lowered.variables, lowered.kept) == ({}, frozenset())


def test_the_origin_is_the_checkpoint(tmp_path):
    store = tfp.ModelStore(tmp_path)
    checkpoint = store.save({"v": np.float32([1, 2])}, step=5)
    index = (tmp_path / "model.ckpt-5.index").read_bytes()
    for source in (checkpoint, tmp_path, str(tmp_path / "model.ckpt-5")):
        origin = lower_graph(draft(CHAIN).graph, source).origin
        assert origin == Origin(hashlib.sha256(index).hexdigest(), 5, None)


def test_a_checkpoint_that_is_none():
    with pytest.raises(tfp.ArgumentError):
        lower_graph(draft(CHAIN).graph, {"v": 1})
