"""A graph without a model: what it says of itself, and values from a checkpoint."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from drafts import draft, negative, placeholder

import tfpersist as tfp
from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import split
from tfpersist.freezer import pipeline
from tfpersist.freezer.freezer import Freezer
from tfpersist.freezer.options import Options
from tfpersist.freezer.sources.graph import lower_graph
from tfpersist.graph.describe.signature import Origin, Signature, sign
from tfpersist.graph.structure.names import Labels

CHAIN = placeholder("x") + negative("mid", "x") + negative("y", "mid")


def signed(signature, text=CHAIN):
    graph = draft(text).graph
    sign(graph, signature)
    return graph


def test_the_signature_of_a_frozen_graph_is_used():
    origin = Origin("0" * 64, 7, "1.15.5")
    graph = signed(Signature({"image": "x:0"}, {"label": "y:0"}, origin=origin))
    lowered = lower_graph(graph)
    assert (lowered.inputs, lowered.outputs) == (("x:0",), ("y:0",))
    assert lowered.labels == Labels({"image": "x:0"}, {"label": "y:0"})
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
    assert (lowered.inputs, lowered.outputs, lowered.labels) == ((), (), Labels())
    assert (lowered.variables, lowered.kept) == ({}, frozenset())


def test_the_origin_is_the_checkpoint(tmp_path):
    store = tfp.ModelStore(tmp_path)
    checkpoint = store.save({"v": np.float32([1, 2])}, step=5)
    index = (tmp_path / "model.ckpt-5.index").read_bytes()
    for source in (checkpoint, tmp_path, str(tmp_path / "model.ckpt-5")):
        origin = lower_graph(draft(CHAIN).graph, source).origin
        assert origin == Origin(hashlib.sha256(index).hexdigest(), 5, None)


def test_an_argument_that_is_not_a_checkpoint():
    with pytest.raises(tfp.ArgumentError):
        lower_graph(draft(CHAIN).graph, {"v": 1})


@pytest.mark.parametrize("form", ["pb", "pbtxt", "GraphDef", "FrozenModel"])
def test_a_graph_and_its_checkpoint(golden, tmp_path, form):
    folder = golden / "1.4.1/regression/checkpoint"
    meta = tfp.Checkpoint(folder).meta
    source = tmp_path / f"graph.{form}"
    if form == "pb":
        source.write_bytes(meta.graph_def.SerializeToString())
    elif form == "pbtxt":
        source.write_text(str(meta.graph_def))
    elif form == "GraphDef":
        source = meta.graph_def
    else:
        source = tfp.FrozenModel(split(meta.graph_def.SerializeToString()))
    expected = Freezer(folder).outputs("pred").freeze()
    feeds = {"X:0": np.float32([1, 2, 3])}
    for checkpoint in (folder, tfp.Checkpoint(folder)):
        model = Freezer(source, checkpoint=checkpoint).outputs("pred").freeze()
        assert (model.run("pred", feeds) == expected.run("pred", feeds)).all()
    with pytest.raises(FreezeError, match="the variable has no value"):
        Freezer(source).outputs("pred").freeze()


def test_values_from_two_sides(golden):
    folder = golden / "1.4.1/regression/checkpoint"
    with pytest.raises(FreezeError, match="values of its own"):
        Freezer(folder, checkpoint=folder).outputs("pred").freeze()
