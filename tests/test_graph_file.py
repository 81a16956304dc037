"""Graph files: where they are, what they hold, and which files a graph may name as its own."""

from __future__ import annotations

import pytest

from tfpersist import graph_file
from tfpersist.errors import CorruptionError, StorageError, UnsupportedError
from tfpersist.formats import graphdef, schema
from tfpersist.safety import scan
from tfpersist.storage import open_storage

GRAPH = graphdef.parse_text(b'node { name: "a" op: "NoOp" }')


def test_a_file_in_the_directory_is_its_own(tmp_path):
    (tmp_path / "words.txt").write_text("a")
    assert graph_file.inside(str(tmp_path), f"{tmp_path}/words.txt") == f"{tmp_path}/words.txt"
    assert graph_file.inside(str(tmp_path), f"{tmp_path}/./words.txt") == f"{tmp_path}/words.txt"


@pytest.mark.parametrize("name", ["../words.txt", "deeper/words.txt", "link", "a\0b", "\ud800"])
def test_a_file_elsewhere_is_not(name, tmp_path):
    (tmp_path / "words.txt").write_text("a")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "link").symlink_to(tmp_path / "words.txt")
    assert graph_file.inside(f"{tmp_path}/model", f"{tmp_path}/model/{name}") is None


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("models/digits.pb", ("models", "digits.pb")),
        ("digits.pb", (".", "digits.pb")),
        ("/digits.pb", ("/", "digits.pb")),
        ("models/", ("models", "")),
        ("memory://models/digits.pb", ("memory://models", "digits.pb")),
        ("file:///digits.pb", ("file:///", "digits.pb")),
    ],
)
def test_the_place_of_a_file(path, place):
    assert graph_file.place(path) == place


def test_a_url_has_to_name_a_file():
    with pytest.raises(StorageError, match="names a directory, not a file"):
        graph_file.place("memory://models")


@pytest.mark.parametrize("location", ["{}", "memory://graph_file"])
def test_a_saved_graph_is_loaded(location, tmp_path):
    path = location.format(tmp_path) + "/a.pb"
    graph_file.save(GRAPH, path, durable=False)
    assert graph_file.load(path).proto == GRAPH.proto
    data, name = graph_file.read(path)
    assert (bytes(data), name) == (graph_file.encoded(GRAPH), "a.pb")


def test_a_text_file_is_read_and_not_written(tmp_path):
    (tmp_path / "a.pbtxt").write_text('node { name: "a" op: "NoOp" }')
    assert graph_file.load(f"{tmp_path}/a.pbtxt").proto == GRAPH.proto
    for name in ("b.pbtxt", "b.pb.txt"):
        with pytest.raises(UnsupportedError, match="written in binary form; expected a name such"):
            graph_file.save(GRAPH, f"{tmp_path}/{name}", durable=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pbtxt"]


def test_a_file_in_a_saved_model_names_its_directory(tmp_path):
    for name in ("second.pb", "third.pb"):
        (tmp_path / name).write_bytes(name.encode())
    inside = ("first.pb", "second.pb", "third.pb")
    assert graph_file.read(str(tmp_path), inside=inside) == (b"second.pb", "second.pb")
    with pytest.raises(StorageError, match=r"Did you mean 'second\.pb'"):
        graph_file.read(f"{tmp_path}/secund.pb", inside=inside)


def test_graphs_of_a_prefix_and_of_a_directory(tmp_path):
    names = ("m-2.meta", "m-1.meta", "m-1.index", "saved_model.pb", "graph.pbtxt", "fingerprint.pb")
    for name in names:
        (tmp_path / name).write_bytes(b"")
    assert graph_file.graphs(f"{tmp_path}/m-1") == [f"{tmp_path}/m-1.meta"]
    everything = ["graph.pbtxt", "m-1.meta", "m-2.meta", "saved_model.pb"]
    for path in (str(tmp_path), f"{tmp_path}/"):
        assert graph_file.graphs(path) == [f"{tmp_path}/{name}" for name in everything]
    assert graph_file.graphs(f"{tmp_path}/absent") == []
    assert graph_file.graphs(f"{tmp_path}/saved_model.pb") == []


def test_graphs_of_subdirectories(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for name in ("inside/a/b/m.pb", "inside/a/x.meta", "inside/z.pbtxt", "outside/o.pb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    debug = inside / "debug"
    debug.mkdir()
    (debug / "saved_model_debug_info.pb").write_bytes(b"")
    (inside / "a" / "round").symlink_to(inside, target_is_directory=True)
    (inside / "a" / "away").symlink_to(outside, target_is_directory=True)
    (inside / "a" / "linked.pb").symlink_to(outside / "o.pb")
    found = [f"{inside}/{name}" for name in ("a/b/m.pb", "a/linked.pb", "a/x.meta", "z.pbtxt")]
    assert graph_file.graphs(str(inside)) == found
    with open_storage("memory://folders/one/two").publish() as publication:
        publication.create("m.pb").write(b"")
    assert graph_file.graphs("memory://folders") == ["memory://folders/one/two/m.pb"]


def test_too_many_subdirectories(tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / name).mkdir()
    monkeypatch.setattr(graph_file, "_MOST_FOLDERS", 4)
    assert graph_file.graphs(str(tmp_path)) == []
    (tmp_path / "a" / "b").mkdir()
    with pytest.raises(StorageError, match=r"too many subdirectories .*; expected at most 4"):
        graph_file.graphs(str(tmp_path))


READINGS = {
    "a line": b'\nnode { name: "x" op: "NoOp" }\n',
    "a comment inside": b'\nnode # {\n\n # }\n { name: "x" op: "NoOp" }\n',
    "a long comment": b"x" * 5000 + b'\nnode { name: "x" op: "NoOp" }\n',
    "a colon and brackets": b'\nnode: [ { name: "x" op: "NoOp" } ]\n',
}


def two_readings(text):
    """A graph in binary form that begins with "#", so that it is a comment before a text."""
    # The tag of the field 1 without a line break, and all of it valid UTF-8.
    first = b"\x7a\x01\xc2\x8a\x00"
    node = first + b"\x01n" + b"\x12\x05Write"
    size = len(text)
    encoded = bytes([size & 127 | 128, size >> 7]) if size > 127 else bytes([size])
    data = b"#$" + first + bytes([len(node)]) + node + b"\x7a" + encoded + text
    assert [node.op for node in schema.GraphDef.FromString(data).node] == ["Write"]
    return data


@pytest.mark.parametrize("name", ["m.pb", "m.pbtxt", "m.pb.txt", "m"])
@pytest.mark.parametrize("text", READINGS.values(), ids=READINGS)
def test_a_file_that_is_one_graph_as_text_and_another_in_binary(text, name, tmp_path):
    (tmp_path / name).write_bytes(two_readings(text))
    for read in (graph_file.load, scan):
        with pytest.raises(CorruptionError, match="another one as text"):
            read(str(tmp_path / name))


def test_a_text_after_a_space_that_not_every_parser_takes_for_one(tmp_path):
    data = two_readings(b'\n\x1c node { name: "x" op: "NoOp" }\n')
    for name in ("m.pb", "m.pbtxt"):
        (tmp_path / name).write_bytes(data)
    for read in (graph_file.load, scan):
        with pytest.raises(CorruptionError, match="another one as text"):
            read(str(tmp_path / "m.pbtxt"))
    # Every program reads this one in binary form.
    assert graph_file.load(str(tmp_path / "m.pb")).proto.node[0].op == "Write"
    assert [finding.op for finding in scan(tmp_path / "m.pb").findings] == ["Write"]


def test_a_binary_graph_with_the_name_of_a_text(tmp_path):
    graph = schema.GraphDef(node=[schema.NodeDef(name="x", op="WriteFile")])
    (tmp_path / "m.pbtxt").write_bytes(graph.SerializeToString())
    assert graph_file.load(str(tmp_path / "m.pbtxt")).proto == graph
    assert scan(tmp_path / "m.pbtxt").capabilities == {"file write"}


def other_kinds(folder):
    """Paths that hold something else, with what the error says of each."""
    storage = open_storage(folder)
    meta = schema.MetaGraphDef(graph_def=GRAPH.proto).SerializeToString()
    files = {"run/m-1.index": b"", "saved/saved_model.pb": b"", "empty/x": b"", "many/b.pb": b""}
    for name in files:
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(b"")
    with storage.publish(durable=False) as publication:
        publication.create("a.meta").write(meta)
        publication.create("a.keras").write(b"PK\x03\x04")
    return {
        "a.meta": "the .meta of a checkpoint",
        "a.keras": "a Keras model or another zip file",
        "saved": "a SavedModel",
        "run": "a directory of checkpoints",
        "run/m-1": "the prefix of a checkpoint",
        "empty": "a directory. It holds no graph",
        "many": "a directory. It holds b.pb",
    }


def test_another_kind_of_file_is_named(tmp_path):
    for name, text in other_kinds(tmp_path).items():
        with pytest.raises(UnsupportedError) as caught:
            graph_file.load(f"{tmp_path}/{name}")
        assert "this is not a frozen graph; expected a" in str(caught.value)
        assert f", got {text}" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\xff\xff", b"node {", b"words", b"\x22\x00"])
def test_bytes_that_are_not_a_graph(data, tmp_path):
    (tmp_path / "a.pb").write_bytes(data)
    with pytest.raises(CorruptionError) as caught:
        graph_file.load(f"{tmp_path}/a.pb")
    assert caught.value.file == f"{tmp_path}/a.pb"


def test_an_empty_place_is_an_error(tmp_path):
    with pytest.raises(StorageError, match="cannot read 'absent'"):
        graph_file.load(f"{tmp_path}/absent/absent")
