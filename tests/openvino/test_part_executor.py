"""A model of an engine that is not installed; tests/runtimes/test_openvino.py runs models."""

from __future__ import annotations

import sys

import pytest

import tfpersist as tfp
from tfpersist.formats.graphdef import parse_text

GRAPH = parse_text(
    b'node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }'
)


def test_without_openvino_a_model_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    model = tfp.FrozenModel(GRAPH, engine="openvino")
    assert model["x"].name == "x:0"
    with pytest.raises(tfp.UnsupportedError, match=r"not installed.*tfpersist\[openvino\]"):
        model.run("x", {"x": 1.0})
