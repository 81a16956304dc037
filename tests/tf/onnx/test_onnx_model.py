"""Refusals before anything is converted; tests/runtimes/test_onnx.py converts."""

from __future__ import annotations

import sys

import pytest

from tfpersist.errors import UnsupportedError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph, parse_text, with_payload
from tfpersist.formats.tensors import Payload, TensorSpec
from tfpersist.graph.structure.names import find_tensor
from tfpersist.tf.onnx.onnx_model import convert

GRAPH = parse_text(
    b"""
    node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
    node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: DT_FLOAT } } }
    """
)
X, Y = (find_tensor(GRAPH, name) for name in "xy")


@pytest.mark.parametrize("package", ["tf2onnx", "onnxruntime"])
def test_a_package_that_is_missing_is_named(package, monkeypatch):
    for each in ("tf2onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, each, None if each == package else sys)
    with pytest.raises(UnsupportedError, match=rf"{package}.*not installed.*tfpersist\[onnx\]"):
        convert(GRAPH, {"x": X}, {"y": Y})


def test_a_graph_without_an_input_is_refused():
    with pytest.raises(UnsupportedError, match="no graph without an input"):
        convert(GRAPH, {}, {"y": Y})


def test_a_model_of_more_than_2_gb_is_refused_before_it_is_read():
    spec = TensorSpec("float32", (1 << 30,))
    node = schema.NodeDef(name="w")
    with_payload(node, spec)

    def read():
        pytest.fail("it was read")

    graph = Graph(schema.GraphDef(node=[*GRAPH.proto.node, node]), {"w": Payload(spec, read)})
    with pytest.raises(UnsupportedError, match=r"2 GB.*got 4,294,967,296 bytes.*large=True"):
        convert(graph, {"x": X}, {"y": Y})
