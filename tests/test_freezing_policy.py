"""What is frozen from live code may do what that code does; what comes from files may not."""

from __future__ import annotations

import attrs
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import CorruptionError, UnsafeModelError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import parse_text
from tfpersist.safety import Policy

v1 = tf.compat.v1


@pytest.fixture
def session(tmp_path):
    """A session of a graph that reads a file."""
    (tmp_path / "note").write_text("read")
    graph = tf.Graph()
    with graph.as_default():
        v = v1.get_variable("v", initializer=["; "])
        tf.add(tf.io.read_file(str(tmp_path / "note")), v, name="text")
    with v1.Session(graph=graph) as session:
        session.run(v.initializer)
        yield session


def test_live_code_is_trusted(session, tmp_path):
    freezer = tfp.Freezer(session).outputs("text")
    assert freezer.freeze().run("text").tolist() == [b"read; "]
    assert freezer.write(tmp_path / "m.pb").run("text").tolist() == [b"read; "]

    @tf.function(input_signature=[])
    def read():
        return tf.io.read_file(str(tmp_path / "note"))

    assert tfp.Freezer(read).write(tmp_path / "f.pb").run("Identity") == b"read"


@pytest.mark.parametrize("how", ["path", "checkpoint", "file", "model"])
def test_what_comes_from_a_file_is_not(session, tmp_path, how):
    checkpoint = tfp.ModelStore(tmp_path / "run").save(session)
    tfp.Freezer(session).outputs("text").write(tmp_path / "m.pb")
    source = {
        "path": tmp_path / "run",
        "checkpoint": checkpoint,
        "file": str(tmp_path / "m.pb"),
        "model": tfp.FrozenModel.load(tmp_path / "m.pb"),
    }[how]
    freezer = tfp.Freezer(source).outputs("text")
    for model in (freezer.freeze(), freezer.write(tmp_path / "again.pb")):
        with pytest.raises(UnsafeModelError, match="file read: ReadFile"):
            model.run("text")
        allowed = attrs.evolve(model, policy=Policy(allow="file read"))
        assert allowed.run("text").tolist() == [b"read; "]
        assert tfp.Freezer(allowed).outputs("text").freeze().policy == allowed.policy


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "/etc/hostname"])
def test_an_asset_lies_inside_of_its_model(tmp_path, name):
    saved = schema.SavedModel(saved_model_schema_version=1)
    meta = saved.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    meta.graph_def.MergeFrom(parse_text(b"node { name: 'y' op: 'Const' }").proto)
    meta.signature_def["serving_default"].outputs["y"].name = "y:0"
    meta.asset_file_def.add(filename=name).tensor_info.name = "path:0"
    (tmp_path / "saved_model.pb").write_bytes(saved.SerializeToString())
    with pytest.raises(CorruptionError, match="asset"):
        tfp.Freezer(tmp_path).freeze()
