"""Files for tables: live code may name any file, a source from a file only its own files."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import UnsafeModelError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import parse_text
from tfpersist.safety import Policy
from tfpersist.storage import open_storage

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
def test_a_source_from_a_file_is_not_trusted(session, tmp_path, how):
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


TABLE = """
node {{ name: "table" op: "HashTableV2" attr {{ key: "key_dtype" value {{ type: DT_STRING }} }}
  attr {{ key: "value_dtype" value {{ type: DT_INT64 }} }} }}
node {{ name: "file" op: "Const" attr {{ key: "dtype" value {{ type: DT_STRING }} }}
  attr {{ key: "value" value {{ tensor {{ dtype: DT_STRING tensor_shape {{ }}
    string_val: "{path}" }} }} }} }}
node {{ name: "fill" op: "InitializeTableFromTextFileV2" input: "table" input: "file"
  attr {{ key: "key_index" value {{ i: -2 }} }} attr {{ key: "value_index" value {{ i: -1 }} }} }}
node {{ name: "x" op: "Placeholder" attr {{ key: "dtype" value {{ type: DT_STRING }} }} }}
node {{ name: "y" op: "Const" attr {{ key: "dtype" value {{ type: DT_INT64 }} }} attr {{
  key: "value" value {{ tensor {{ dtype: DT_INT64 tensor_shape {{ }} int64_val: -1 }} }} }} }}
node {{ name: "find" op: "LookupTableFindV2" input: "table" input: "x" input: "y"
  attr {{ key: "Tin" value {{ type: DT_STRING }} }}
  attr {{ key: "Tout" value {{ type: DT_INT64 }} }} }}
"""


def untrusted(folder, kind, path):
    """Write a model whose table is filled from a file; return the path of the model."""
    graph = parse_text(TABLE.format(path=path).encode()).proto
    if kind == "pb":
        (folder / "model.pb").write_bytes(graph.SerializeToString())
        return folder / "model.pb"
    if kind == "FrozenModel":
        return tfp.FrozenModel.load(untrusted(folder, "pb", path))
    meta = schema.MetaGraphDef(graph_def=graph)
    if kind == "SavedModel":
        meta.meta_info_def.tags.append("serve")
        saved = schema.SavedModel(saved_model_schema_version=1, meta_graphs=[meta])
        (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
        return folder
    checkpoint = tfp.ModelStore(folder).save({"v": np.zeros(1)})
    (folder / f"{checkpoint.name}.meta").write_bytes(meta.SerializeToString())
    return folder / f"{checkpoint.name}.meta" if kind == "meta" else tfp.Checkpoint(folder)


KINDS = ("pb", "FrozenModel", "SavedModel", "meta", "Checkpoint")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "how", ["absolute", "climbing", "relative", "link", "folder", "URL", "file"]
)
def test_a_model_has_its_tables_filled_from_its_own_files_alone(tmp_path, monkeypatch, kind, how):
    model = tmp_path / "model"
    home = model / "assets" if kind == "SavedModel" else model
    home.mkdir(parents=True)
    (tmp_path / "secret").write_text("root:x:0:0")
    (home / "link").symlink_to(tmp_path / "secret")
    (home / "folder").symlink_to(tmp_path)
    with open_storage("memory://elsewhere").publish(durable=False) as publication:
        publication.create("secret").write(b"root:x:0:0")
    monkeypatch.chdir(tmp_path)
    path = {
        "absolute": tmp_path / "secret",
        "climbing": home / "../../secret" if kind == "SavedModel" else home / "../secret",
        "relative": "secret",
        "link": home / "link",
        "folder": home / "folder/secret",
        "URL": "memory://elsewhere/secret",
        "file": f"file://{tmp_path}/secret",
    }[how]
    source = untrusted(model, kind, path)
    for freeze in (
        lambda: tfp.Freezer(source).outputs("find").freeze(),
        lambda: tfp.Freezer(source).outputs("find").write(tmp_path / "frozen.pb"),
        lambda: tfp.Freezer(source, policy=Policy("network")).outputs("find").freeze(),
    ):
        with pytest.raises(UnsafeModelError) as caught:
            freeze()
        assert "table table (HashTableV2)" in str(caught.value)
        assert str(path) in str(caught.value)
        assert "policy=Policy.trusted()" in str(caught.value)
    assert not (tmp_path / "frozen.pb").exists()
    for policy in (Policy.trusted(), Policy("file read")):
        trusted = tfp.Freezer(source, policy=policy).outputs("find").freeze()
        assert b"root:x:0:0" in trusted.graph.proto.SerializeToString()
        assert trusted.policy == policy


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_s_own_file_fills_its_table(tmp_path, monkeypatch, kind):
    home = tmp_path / "model" / ("assets" if kind == "SavedModel" else "")
    home.mkdir(parents=True)
    (home / "words.txt").write_text("zero\none\n")
    monkeypatch.chdir(tmp_path)
    for path in (home / "words.txt", home.relative_to(tmp_path) / "words.txt"):
        source = untrusted(tmp_path / "model", kind, path)
        frozen = tfp.Freezer(source).outputs("find").freeze()
        assert frozen.run("find", {"x": ["one", "two"]}).tolist() == [1, -1]
        assert frozen.policy == Policy.default()


def test_a_graph_without_a_file_has_no_files(tmp_path):
    (tmp_path / "words.txt").write_text("zero\n")
    proto = parse_text(TABLE.format(path=tmp_path / "words.txt").encode()).proto
    with pytest.raises(UnsafeModelError, match="that has no directory"):
        tfp.Freezer(proto).outputs("find").freeze()
    live = tfp.FrozenModel(parse_text(TABLE.format(path=tmp_path / "words.txt").encode()))
    assert tfp.Freezer(live).outputs("find").freeze().run("find", {"x": ["zero"]}) == [0]
