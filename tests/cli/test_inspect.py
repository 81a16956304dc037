"""The exact output of `tfpersist inspect`."""

from __future__ import annotations

import numpy as np
import pytest

import tfpersist
from tfpersist import cli
from tfpersist.formats import schema
from tfpersist.formats.graphdef import parse_text


@pytest.fixture
def runs(tmp_path):
    """Make a folder with two checkpoints, and return its path."""
    store = tfpersist.ModelStore(tmp_path)
    values = {"conv/kernel": np.ones((2, 3), np.float32), "step": np.int64(1)}
    store.save(values, step=1, metrics={"accuracy": 0.5})
    store.save({**values, "conv/kernel": values["conv/kernel"] * 3}, step=2)
    return str(tmp_path)


def test_inspect_lists_the_newest_checkpoint_of_a_directory(runs, capsys):
    assert cli.main(["inspect", runs]) == 0
    assert capsys.readouterr().out == (
        f"{runs}/model.ckpt-2\n  conv/kernel  float32[2,3]\n  step         int64[]\n"
    )


def test_inspect_shows_metrics(runs, capsys):
    assert cli.main(["inspect", f"{runs}/model.ckpt-1.index"]) == 0
    assert capsys.readouterr().out == (
        f"{runs}/model.ckpt-1\n  accuracy = 0.5\n"
        "  conv/kernel  float32[2,3]\n  step         int64[]\n"
    )


@pytest.mark.parametrize("name", ["net.pb", "net.pbtxt"])
def test_inspect_describes_a_frozen_graph(name, tmp_path, capsys):
    graph = parse_text(b"""
        node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: DT_FLOAT } } }""")
    path = tmp_path / name
    if name.endswith(".pb"):
        path.write_bytes(graph.proto.SerializeToString())
    else:
        path.write_text(str(graph.proto))
    assert cli.main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [str(path), "  nodes       2: Placeholder 1, Neg 1"]
    assert lines[-2:] == ["  inputs      x:0 float32[...]", "  outputs     y:0 float32[...]"]


def test_inspect_lists_the_checkpoint_of_a_saved_model(tmp_path, capsys):
    store = tfpersist.ModelStore(tmp_path / "variables", name="variables")
    store.save({"v": np.zeros(3, np.float32)})
    saved = schema.SavedModel(saved_model_schema_version=1)
    saved.meta_graphs.add().meta_info_def.tags.append("serve")
    (tmp_path / "saved_model.pb").write_bytes(saved.SerializeToString())
    assert cli.main(["inspect", str(tmp_path / "saved_model.pb")]) == 0
    assert capsys.readouterr().out.endswith("/variables/variables\n  v  float32[3]\n")
