"""The draft of a graph that is being frozen."""

from __future__ import annotations

import attrs
import numpy as np
from drafts import draft, negative, placeholder

from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import payload_of
from tfpersist.freezer import passes
from tfpersist.graph.describe.golden import pair
from tfpersist.graph.describe.signature import Proof, Signature
from tfpersist.graph.structure.names import Labels

CHAIN = placeholder("x") + negative("mid", "x") + negative("y", "mid")


def test_names_of_the_user_and_of_the_source_are_reserved():
    made = draft(
        CHAIN,
        lowered={"inputs": ("x:0",), "outputs": ("y:0",), "labels": Labels({"image": "x:0"})},
        inputs=(("cut", "mid"),),
        baked={"image": 1.0, "mid:0": 2.0},
    )
    assert made.reserved_names == {"x:0", "y:0", "mid", "mid:0"}
    chosen = attrs.evolve(made, options=attrs.evolve(made.options, outputs=("mid:0",)))
    assert chosen.reserved_names == {"x:0", "mid", "mid:0"}


def test_the_source_s_names_of_inputs_and_outputs():
    made = passes.cut_at_inputs(draft(CHAIN, outputs=("y", "mid"), inputs=(("deep", "mid"),)))
    assert made.source_inputs == {"x:0": "x:0", "deep:0": "mid:0"}
    assert made.source_outputs == {"y:0": "y:0", "deep:0": "mid:0"}


def test_signing_leaves_the_draft_as_it_is():
    made = passes.cut_at_inputs(draft(CHAIN, outputs=("y",)))
    values = pair({"x:0": np.float32(1)}, {"y:0": np.float32(1)})
    made = attrs.evolve(made, signature=Signature({"x": "x:0"}, proof=Proof(values.digest, 0.0)))
    before = made.graph.proto.SerializeToString(deterministic=True)
    assert Signature.of(made.signed()) == made.signature
    assert len(made.signed(values).proto.SerializeToString()) > len(before) + 100
    assert made.graph.proto.SerializeToString(deterministic=True) == before


def test_a_snapshot_holds_the_values_of_now():
    value = np.float32([1, 2])
    made = draft(CHAIN)
    made = made.with_graph(Graph(made.graph.proto, {"w": attrs.evolve(payload_of(value))}))
    live = attrs.evolve(made.graph.payloads["w"], load=value.copy)
    made = made.with_graph(Graph(made.graph.proto, {"w": live}))
    taken = made.snapshot()
    value[0] = 7
    assert taken.graph.payloads["w"].load().tolist() == [1, 2]
    assert made.graph.payloads["w"].load().tolist() == [7, 2]
