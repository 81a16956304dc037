"""Each kind of source is recognized and lowered; files need no TensorFlow for it."""

from __future__ import annotations

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.errors import CheckpointNotFoundError, FreezeError, TargetError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import parse_text
from tfpersist.freezer.sources.choice import Choice
from tfpersist.freezer.sources.lower import default_policy, lower
from tfpersist.safety import Policy

GRAPH = parse_text(b'node { name: "x" op: "Placeholder" } node { name: "y" op: "Neg" input: "x" }')


@pytest.fixture
def files(tmp_path):
    """Return a source of each kind that is a file, by the name of its kind."""
    for name in ("net.pb", "my_saved_model.pb"):
        (tmp_path / name).write_bytes(GRAPH.proto.SerializeToString())
    (tmp_path / "net.pbtxt").write_text(str(GRAPH.proto))
    saved = schema.SavedModel(saved_model_schema_version=1)
    saved.meta_graphs.add(graph_def=GRAPH.proto).meta_info_def.tags.append("serve")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/saved_model.pb").write_bytes(saved.SerializeToString())
    store = tfp.ModelStore(tmp_path / "run")
    store.save({"v": np.zeros(1)}, step=3)
    meta = schema.MetaGraphDef(graph_def=GRAPH.proto)
    (tmp_path / "run/model.ckpt-3.meta").write_bytes(meta.SerializeToString())
    return {
        "graph file": tmp_path / "net.pb",
        "text file": str(tmp_path / "net.pbtxt"),
        "graph file called like a SavedModel": tmp_path / "my_saved_model.pb",
        "SavedModel": tmp_path / "saved",
        "file of a SavedModel": str(tmp_path / "saved/saved_model.pb"),
        "checkpoint": tfp.Checkpoint(tmp_path / "run"),
        "path of a checkpoint": tmp_path / "run",
        "store": store,
        "frozen model": tfp.FrozenModel(GRAPH, str(tmp_path / "net.pb"), Policy("network")),
        "GraphDef": GRAPH.proto,
    }


KINDS = (
    *("graph file", "text file", "graph file called like a SavedModel", "SavedModel"),
    *("file of a SavedModel", "checkpoint", "path of a checkpoint", "store", "frozen model"),
    "GraphDef",
)


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_is_found(files, kind):
    lowered = lower(files[kind], Choice())
    assert [node.name for node in lowered.graph.proto.node] == ["x", "y"]
    assert not lowered.live
    assert lowered.run is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_is_for_a_saved_model(files, kind):
    if "SavedModel" in kind and "called" not in kind:
        with pytest.raises(tfp.NameNotFoundError, match="'classify'"):
            lower(files[kind], Choice(signature="classify"))
    else:
        with pytest.raises(FreezeError, match="for a SavedModel, and this source is not one"):
            lower(files[kind], Choice(signature="classify"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_is_for_a_graph_alone(files, kind):
    choice = Choice(checkpoint=files["path of a checkpoint"])
    if kind in ("frozen model", "GraphDef") or kind.startswith(("graph", "text")):
        assert lower(files[kind], choice).origin.step == 3
    else:
        with pytest.raises(FreezeError, match="values of its own"):
            lower(files[kind], choice)


def test_a_path_that_does_not_exist(tmp_path):
    with pytest.raises(CheckpointNotFoundError):
        lower(tmp_path / "nothing", Choice(signature="classify"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_from_a_file_gets_the_default_policy(files, kind):
    expected = {"frozen model": Policy("network"), "GraphDef": None}.get(kind, Policy.default())
    assert default_policy(files[kind]) == expected


def test_live_code_may_do_everything():
    assert default_policy(lambda x: x) is None
    assert default_policy({"meta": 1}) is None


def test_the_error_for_another_type_lists_what_can_be_frozen():
    with pytest.raises(TargetError, match=r"Keras model.*Checkpoint or ModelStore.*SavedModel"):
        tfp.Freezer(3).outputs("y").freeze()
