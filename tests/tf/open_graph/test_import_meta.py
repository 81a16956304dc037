"""Repair a `.meta` file that this TensorFlow would refuse, and import it."""

from __future__ import annotations

import pytest
import tensorflow as tf
from saved_graphs import graph_with

import tfpersist as tfp
from tfpersist.errors import CorruptionError
from tfpersist.tf.open_graph.import_meta import import_meta

v1 = tf.compat.v1


def spoil_device(meta):
    for node in meta.graph_def.node:
        node.device = "/job:worker/task:7/device:TPU:3"


def spoil_shapes(meta):
    for node in meta.graph_def.node:
        if node.name == "add":
            node.attr["_output_shapes"].list.shape[0].dim[0].size = 7


def spoil_version(meta):
    meta.meta_info_def.tensorflow_version = "0.12.head"


def spoil_op(meta):
    node = meta.graph_def.node.add(name="gone", op="OpOfYesterday")
    meta.graph_def.node.add(name="user", op="Identity", input=[node.name]).attr["T"].type = 1
    meta.graph_def.node.add(name="waits", op="NoOp", input=["^user"])
    meta.collection_def["train_op"].node_list.value.append("waits")


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (spoil_device, "/job:worker/task:7/device:TPU:3 does not exist here"),
        (spoil_shapes, "recorded shapes"),
        (spoil_version, "'0.12.head', read as '0.12'"),
        (spoil_op, "no op OpOfYesterday: 1 nodes left out, and 2 that depend on them"),
    ],
)
@pytest.mark.parametrize("scope", ["", "S"])
def test_attrs_that_tensorflow_refuses_are_repaired_and_reported(change, note, scope):
    imported = import_meta(graph_with(change), scope=scope)
    assert note in "; ".join(imported.notes)
    prefix = f"{scope}/" if scope else ""
    with v1.Session(graph=imported.graph) as session:
        session.run(f"{prefix}v/Assign")
        assert session.run(f"{prefix}add:0").tolist() == [2.0, 3.0]


def test_a_damaged_meta_raises_only_tfpersist_errors():
    encoded = graph_with(lambda meta: None)
    small = bytearray(encoded[:1500])
    for at in range(0, len(encoded), 397):
        with pytest.raises(tfp.TFPersistError):
            import_meta(encoded[:at] + b"\xff\xff", scope="", file="run/m.meta")
    small[0] ^= 0xFF
    with pytest.raises(CorruptionError, match=r"run/m\.meta"):
        import_meta(bytes(small), scope="", file="run/m.meta")
