"""A scan finds every capability of a file; it is refused unless it is allowed."""

from __future__ import annotations

import contextlib

import hypothesis
import hypothesis.strategies as st
import pytest

from tfpersist import errors, safety
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph, parse_text
from tfpersist.safety import Finding, Policy, ScanReport, scan
from tfpersist.storage import open_storage

HARMLESS = b"""
node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: DT_FLOAT } } }
"""
WRITER = b'node { name: "w" op: "WriteFile" input: "a" input: "b" }'
HIDDEN = b"library { function { signature { name: 'f' } node_def { name: 'w' op: 'WriteFile' } } }"
LOWERED = b"""
node { name: "cond" op: "Placeholder" attr { key: "dtype" value { type: DT_BOOL } } }
node { name: "file" op: "Placeholder" attr { key: "dtype" value { type: DT_STRING } } }
node { name: "if" op: "If" input: "cond" input: "file" input: "file"
  attr { key: "Tcond" value { type: DT_BOOL } }
  attr { key: "Tin" value { list { type: DT_STRING type: DT_STRING } } }
  attr { key: "Tout" value { list {} } }
  attr { key: "then_branch" value { func { name: "WriteFile" } } }
  attr { key: "else_branch" value { func { name: "WriteFile" } } }
  attr { key: "_lower_using_switch_merge" value { b: true } } }
"""


def publish(location, **files):
    with open_storage(location).publish(durable=False) as publication:
        for name, data in files.items():
            publication.create(name.replace("__", ".")).write(data)


def graph_bytes(text):
    return parse_text(text).proto.SerializeToString()


def saved_model(*texts):
    saved = schema.SavedModel(saved_model_schema_version=1)
    for text in texts:
        saved.meta_graphs.add().graph_def.CopyFrom(parse_text(text).proto)
    return saved


# --- scanning ------------------------------------------------------------------------------------


def test_a_harmless_graph():
    report = scan(parse_text(HARMLESS))
    assert report.capabilities == {"compute"}
    assert report.nodes == 2
    assert str(report) == ("the graph: 2 nodes, 0 functions\n  compute: 1 Neg, 1 Placeholder")
    Policy.default().check(report)


def test_findings_are_counted_by_op_and_place_and_the_gravest_come_first():
    many = b"".join(b'node { name: "n%d" op: "RandomUniform" }' % i for i in range(7))
    report = scan(parse_text(HARMLESS + WRITER + HIDDEN + many))
    assert report.findings == (
        Finding("file write", "WriteFile", ("w",), ""),
        Finding("file write", "WriteFile", ("w",), "f"),
        Finding("random", "RandomUniform", tuple(f"n{i}" for i in range(7))),
        Finding("compute", "Neg", ("y",)),
        Finding("compute", "Placeholder", ("x",)),
    )
    assert report.findings[2].count == 7
    assert (report.nodes, report.functions) == (11, 1)
    assert str(report).splitlines()[1:] == [
        "  file write: WriteFile at node 'w'",
        "  file write: WriteFile at node 'w' in function 'f'",
        "  compute: 1 Neg, 1 Placeholder",
        "  random: 7 RandomUniform",
    ]


def test_an_op_with_two_capabilities_is_found_under_both():
    report = scan(parse_text(b'node { name: "m" op: "MergeV2Checkpoints" }'))
    assert {(each.capability, each.op) for each in report.findings} == {
        ("file read", "MergeV2Checkpoints"),
        ("file write", "MergeV2Checkpoints"),
    }
    with pytest.raises(errors.UnsafeModelError) as caught:
        Policy(allow="file read").check(report)
    assert [each.capability for each in caught.value.findings] == ["file write"]


def test_an_uncalled_function_is_scanned():
    assert "file write" in scan(parse_text(HARMLESS + HIDDEN)).capabilities


def test_a_branch_that_is_called_like_an_op_is_found():
    finding = scan(parse_text(LOWERED)).findings[0]
    assert finding == Finding("file write", "WriteFile", ("if",))


def test_a_missing_function_is_unknown():
    text = b"""node { name: "call" op: "PartitionedCall"
                      attr { key: "f" value { func { name: "gone" } } } }"""
    assert Finding("unknown", "gone", ("call",)) in scan(parse_text(text)).findings


@pytest.mark.parametrize("name", ["model.pb", "model.pbtxt", "model", "model.bytes"])
def test_a_graph_file(name, tmp_path):
    text = name.endswith("txt")
    (tmp_path / name).write_bytes(WRITER if text else graph_bytes(WRITER))
    report = scan(tmp_path / name)
    assert report.capabilities == {"file write"}
    assert report.file == str(tmp_path / name)
    assert str(report).startswith(str(tmp_path))


def test_a_url():
    publish("memory://safety/url", model__pb=graph_bytes(WRITER))
    assert scan("memory://safety/url/model.pb").capabilities == {"file write"}


def test_a_meta(tmp_path):
    meta = schema.MetaGraphDef(graph_def=parse_text(WRITER).proto)
    (tmp_path / "model.ckpt-5.meta").write_bytes(meta.SerializeToString())
    assert scan(tmp_path / "model.ckpt-5.meta").capabilities == {"file write"}
    assert scan(meta, "five").file == "five"
    (tmp_path / "renamed").write_bytes(meta.SerializeToString())
    assert scan(tmp_path / "renamed").capabilities == {"file write"}


@pytest.mark.parametrize("spelling", ["", "/", "/saved_model.pb"])
def test_a_saved_model_by_all_of_its_graphs(spelling, tmp_path):
    saved = saved_model(HARMLESS, HARMLESS + HIDDEN)
    (tmp_path / "saved_model.pb").write_bytes(saved.SerializeToString())
    report = scan(f"{tmp_path}{spelling}")
    assert report.capabilities == {"compute", "file write"}
    assert report == scan(saved, f"{tmp_path}{spelling}")
    publish("memory://safety/saved", saved_model__pb=saved.SerializeToString())
    assert scan(f"memory://safety/saved{spelling}").findings == report.findings


@pytest.mark.parametrize("place", ["disk", "memory"])
def test_a_checkpoint_by_its_metas(place, tmp_path):
    folder = str(tmp_path) if place == "disk" else "memory://safety/checkpoints"
    metas = [schema.MetaGraphDef(graph_def=parse_text(t).proto) for t in (HARMLESS, WRITER)]
    first, second = (meta.SerializeToString() for meta in metas)
    publish(folder, **{"m-1__meta": first, "m-1__index": b"", "m-2__meta": second})
    assert scan(f"{folder}/m-1").capabilities == {"compute"}
    assert scan(f"{folder}/m-2").capabilities == {"file write"}
    assert scan(folder).capabilities == {"compute", "file write"}
    with pytest.raises(errors.StorageError):
        scan(f"{folder}/m-3")


def test_names_of_the_file_steer_no_terminal():
    text = b'node { name: "a\\033[2J\\n" op: "Read\\033[31mFile\\n  compute: 5" }' + HARMLESS
    report = scan(parse_text(text), "m\n.pb")
    with pytest.raises(errors.UnsafeModelError) as caught:
        Policy.default().check(report)
    for shown in (str(report), str(report.findings[0]), str(caught.value)):
        assert "\x1b" not in shown
        assert "Read\\x1b[31mFile\\n  compute: 5" in shown
    assert len(str(report).splitlines()) == 3


def test_a_saved_model_in_text_and_one_that_is_called_otherwise(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "saved_model.pbtxt").write_text(str(saved_model(WRITER)))
    assert scan(tmp_path / "text").capabilities == {"file write"}
    (tmp_path / "model.pb").write_bytes(saved_model(WRITER).SerializeToString())
    assert scan(tmp_path / "model.pb").capabilities == {"file write"}


def test_a_value_that_is_not_a_graph_is_refused(tmp_path):
    with pytest.raises(errors.StorageError, match="gone"):
        scan(tmp_path / "gone.pb")
    with pytest.raises(errors.StorageError):
        scan(tmp_path)
    for number, data in enumerate([b"", b"\xff" * 40, b"\x0a\x02\x0a\x00", b"hello: world"]):
        (tmp_path / f"{number}.pb").write_bytes(data)
        with pytest.raises(errors.CorruptionError, match=rf"{number}\.pb"):
            scan(tmp_path / f"{number}.pb")
    (tmp_path / "cut.pbtxt").write_bytes(WRITER[:-4])
    with pytest.raises(errors.CorruptionError, match="not a GraphDef"):
        scan(tmp_path / "cut.pbtxt")
    with pytest.raises(errors.TargetError, match="got int"):
        scan(7)
    with pytest.raises(errors.TargetError, match="got NodeDef"):
        scan(schema.NodeDef())


@hypothesis.given(st.data())
def test_damaged_files_end_in_our_errors(data):
    graph = parse_text(HARMLESS + LOWERED + HIDDEN).proto
    meta = schema.MetaGraphDef(graph_def=graph)
    name, whole = data.draw(
        st.sampled_from(
            [
                ("model.pb", graph.SerializeToString()),
                ("model.pbtxt", HARMLESS + LOWERED),
                ("model.meta", meta.SerializeToString()),
                ("saved_model.pb", saved_model(HARMLESS + HIDDEN).SerializeToString()),
            ]
        )
    )
    damaged = bytearray(whole)
    places = st.integers(0, len(whole) - 1)
    for place, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        damaged[place] = byte
    del damaged[data.draw(st.none() | places) :]
    publish("memory://safety/damaged", **{name.replace(".", "__"): bytes(damaged)})
    report = None
    with contextlib.suppress(errors.CorruptionError):
        report = scan(f"memory://safety/damaged/{name}")
    assert report is None or all(
        each.op or each.capability == "unknown" for each in report.findings
    )


def test_an_attr_of_a_kind_that_its_op_does_not_take_is_looked_into_or_refused_by_tensorflow(fresh):
    graph = parse_text(HARMLESS).proto
    graph.node[1].attr["_extra"].func.name = "WriteFile"
    assert "file write" in scan(Graph(graph)).capabilities
    out = fresh(
        """
        import tensorflow as tf
        with tf.Graph().as_default() as graph:
            tf.raw_ops.Neg(x=tf.raw_ops.Placeholder(dtype=tf.float32, shape=[]), name="y")
        definition = graph.as_graph_def()
        definition.node[1].attr["T"].func.name = "WriteFile"
        try:
            with tf.Graph().as_default():
                tf.graph_util.import_graph_def(definition)
        except ValueError as error:
            print("refused")
        """
    )
    assert out == "refused\n"


def test_deeply_nested_functions_in_attrs_end_in_time():
    value = schema.AttrValue()
    inner = value
    for _ in range(5000):
        inner.func.name = "f"
        inner = inner.func.attr["g"]
    inner.func.name = "WriteFile"
    graph = schema.GraphDef()
    graph.node.add(name="n", op="NoOp").attr["f"].CopyFrom(value)
    assert "file write" in scan(Graph(graph)).capabilities


# --- policies ------------------------------------------------------------------------------------


def test_policies_are_values():
    assert Policy.default() == Policy() == Policy(allow=[])
    assert Policy.trusted().allowed == safety.CAPABILITIES
    assert Policy("network") == Policy(allow={"network"})
    assert hash(Policy.default()) == hash(Policy())
    assert Policy(allow=["state"]).allowed == ("compute", "state", "random")


def test_an_unknown_capability_is_refused_with_the_nearest():
    with pytest.raises(errors.NameNotFoundError, match="Did you mean 'file read'"):
        Policy(allow=["file_read"])


@pytest.mark.parametrize("capability", sorted(set(safety.CAPABILITIES) - set(safety.HARMLESS)))
def test_each_grave_capability_is_refused_until_it_is_allowed(capability):
    report = ScanReport((Finding(capability, "Op", ("n",), "f"),), "model.pb")
    with pytest.raises(errors.UnsafeModelError, match=capability) as caught:
        Policy.default().check(report)
    assert caught.value.findings == report.findings
    Policy(allow=[capability]).check(report)
    Policy(ops=["Op"]).check(report)
    Policy.trusted().check(report)
    with pytest.raises(errors.UnsafeModelError):
        Policy(ops=["Other"]).check(report)


def test_the_error_names_node_op_capability_and_function_and_how_to_allow_it():
    with pytest.raises(errors.UnsafeModelError) as caught:
        Policy(allow=["network"]).check(scan(parse_text(WRITER + HIDDEN), "m.pb"))
    assert str(caught.value) == (
        "m.pb: this model could do more than the policy allows; expected compute, state, random "
        "and network at most, got file write. Load it with "
        "policy=Policy(allow=['file write', 'network']) if you trust its author with that.\n"
        "  file write: WriteFile at node 'w'\n"
        "  file write: WriteFile at node 'w' in function 'f'"
    )


def test_for_an_unknown_op_the_advice_is_to_allow_this_op():
    with pytest.raises(errors.UnsafeModelError, match=r"policy=Policy\(ops=\['Mine'\]\)"):
        Policy.default().check(scan(parse_text(b'node { name: "n" op: "Mine" }')))
    with pytest.raises(errors.UnsafeModelError, match=r"allow=\['network'\], ops=\['Mine'\]"):
        Policy("network").check(scan(parse_text(b'node { name: "n" op: "Mine" }')))


@pytest.mark.parametrize("text", [HARMLESS + WRITER, HARMLESS + HIDDEN, HARMLESS + LOWERED])
def test_a_frozen_model_that_could_write_files_reaches_no_tensorflow(text, fresh, tmp_path):
    (tmp_path / "model.pb").write_bytes(graph_bytes(text))
    out = fresh(
        """
        import sys
        import tfpersist as tfp
        model = tfp.FrozenModel.load("model.pb")
        try:
            model.run("y:0", {"x:0": 1.0})
        except tfp.UnsafeModelError as error:
            print({(each.capability, each.op) for each in error.findings})
        print("tensorflow" in sys.modules)
        """
    )
    assert out == "{('file write', 'WriteFile')}\nFalse\n"


# --- what TensorFlow really does -----------------------------------------------------------------


def test_tensorflow_does_what_the_scan_says(fresh, tmp_path):
    (tmp_path / "lowered.pb").write_bytes(graph_bytes(LOWERED))
    out = fresh(
        """
        import os
        import tensorflow as tf
        from tfpersist.safety import scan
        definition = tf.compat.v1.GraphDef.FromString(open("lowered.pb", "rb").read())
        print(sorted(scan(definition).capabilities))
        with tf.Graph().as_default() as graph:
            tf.graph_util.import_graph_def(definition, name="")
            tf.raw_ops.PrintV2(input="x", output_stream="file://printed", name="print")
            tf.raw_ops.DebugIdentityV2(
                input=[1.0], debug_urls=["file://dumped"], tfdbg_run_id="r", name="debug")
        print(sorted(scan(graph.as_graph_def()).capabilities))
        with tf.compat.v1.Session(graph=graph) as session:
            session.run("if", {"cond:0": True, "file:0": "written"})
            session.run("print")
            session.run("debug")
        print(sorted(name for name in os.listdir() if name != "lowered.pb"))
        """
    ).splitlines()
    assert out == [
        "['compute', 'file write']",
        "['compute', 'file write', 'internal']",
        "['dumped', 'printed', 'written']",
    ]


def test_a_scan_leaves_tensorflow_out(fresh, tmp_path):
    (tmp_path / "model.pb").write_bytes(graph_bytes(HARMLESS))
    out = fresh(
        """
        import sys
        import tfpersist as tfp
        tfp.Policy.default().check(tfp.safety.scan("model.pb"))
        print("tensorflow" in sys.modules)
        """
    )
    assert out == "False\n"


def test_frozen_graphs_of_old_releases_are_harmless(old_files):
    frozen = sorted(old_files.rglob("*frozen*.pb"))
    assert frozen
    for path in frozen:
        Policy.default().check(scan(path))


def test_training_graphs_of_old_releases(tensorflow_1):
    metas = sorted(tensorflow_1.glob("*.meta"))
    assert metas
    for path in metas:
        saver = {"file read", "file write"}
        assert scan(path).capabilities == {"compute", "state", "random", *saver}


def test_a_graph_that_reads_data(old_files):
    (path,) = old_files.rglob("bert_model.ckpt.meta")
    bert = scan(path)
    reader = [each for each in bert.findings if each.op == "TFRecordDataset"]
    assert reader[0].function.startswith("tf_data_structured_function_wrapper")
    assert [each.op for each in bert.findings if each.capability == "unknown"] == [
        "MapAndBatchDatasetV2"
    ]


def test_a_directory_is_scanned_as_a_whole(tmp_path):
    import tensorflow as tf

    path = b'node { name: "p" op: "Const" }'
    write = path + b' node { name: "w" op: "WriteFile" input: "p" input: "p" }'
    (tmp_path / "graph.pbtxt").write_bytes(write)
    module = tf.Module()
    module.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec(())])
    tf.saved_model.save(module, str(tmp_path), signatures=module.f)
    report = scan(tmp_path)
    assert "file write" in report.capabilities
    assert "at node 'w' of file 'graph.pbtxt'" in str(report)
    (tmp_path / "graph.pbtxt").unlink()
    assert "file write" not in scan(tmp_path).capabilities
    (tmp_path / "assets" / "a" / "b").mkdir(parents=True)
    (tmp_path / "assets" / "a" / "b" / "g\x1b[2J.pb.txt").write_bytes(write)
    report = scan(tmp_path)
    assert "file write: WriteFile at node 'w' of file 'assets/a/b/g\\x1b[2J.pb.txt'" in str(report)
    with pytest.raises(errors.UnsafeModelError, match="of file 'assets/a/b/g") as caught:
        Policy().check(report)
    assert "\x1b" not in str(caught.value)
    assert [finding.file for finding in caught.value.findings] == ["assets/a/b/g\x1b[2J.pb.txt"]
