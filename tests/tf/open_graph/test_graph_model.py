"""Models from `.meta` files: every era's runs, and scoped ones share nothing."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import (
    CheckpointNotFoundError,
    CorruptionError,
    FeedError,
    NameNotFoundError,
    RestoreError,
    RunError,
    TargetError,
)
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.tf.open_graph import import_meta

v1 = tf.compat.v1


def saved(location, *, values=(1.0, 2.0), resource=True, step=1, table=False, saver=True):
    """Save v1 + v2 + x; with a table, also what it knows of "a"."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [1], name="x")
        variables = [
            v1.get_variable(f"v{i + 1}", initializer=[value], use_resource=resource)
            for i, value in enumerate(values)
        ]
        tf.add(tf.add(variables[0], variables[1], name="both"), x, name="add")
        fill = []
        if table:
            words = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1, name="words")
            fill = [words.insert(["a"], [int(values[0])])]
            tf.identity(words.lookup(tf.constant("a")), name="known")
            if saver:
                v1.train.Saver()
    with v1.Session(graph=graph) as session:
        session.run([v.initializer for v in variables] + fill)
        tfp.ModelStore(location).save(session, step=step)
    return tfp.ModelStore(location)


@pytest.mark.parametrize("resource", [True, False], ids=["resource", "ref"])
def test_a_model_runs_without_graph_code(tmp_path, resource):
    store = saved(tmp_path, resource=resource)
    with store.open_graph() as model:
        assert model.run("add:0", {"x": [4]}).tolist() == [7.0]
        assert str(model["add"]) == "add:0 float32[1]"
        assert set(model.report.restored) == {"v1", "v2"}
        with pytest.raises(FeedError):
            model.run("add")
        with pytest.raises(NameNotFoundError, match="add"):
            model.run("ad:0")
        version = model.graph.version
        store.save(model.session, step=2)
        assert model.graph.version == version
    with pytest.raises(RunError):
        model.run("add:0", {"x": [4]})


@pytest.mark.parametrize("resource", [True, False], ids=["resource", "ref"])
def test_two_scopes_of_one_session_share_nothing(resource):
    name = f"memory://open/scopes/{resource}"
    first = saved(f"{name}/a", values=(1.0, 2.0), resource=resource, table=True)
    second = saved(f"{name}/b", values=(10.0, 20.0), resource=resource, table=True)
    graph = tf.Graph()
    with v1.Session(graph=graph) as session:
        one = first.open_graph(scope="A", session=session)
        other = second.open_graph(scope="B", session=session)
        again = first.open_graph(scope="A", session=session)
        assert one.run("add:0", {"x": [0]}).tolist() == [3.0]
        assert other.run("add:0", {"x": [0]}).tolist() == [30.0]
        assert other.run(["B/add", "known"], {"B/x:0": [0]}) == [[30.0], 10]
        assert again.scope == "A_1"
        session.run(graph.get_operation_by_name("A/v1/Assign"))
        session.run(f"B/v2/{'Read/ReadVariableOp' if resource else 'read'}:0")
        with tf.Graph().as_default():
            assert one.run({"sum": "add", "word": "known"}, {"x": [0]}) == {"sum": [3.0], "word": 1}
        other.close()
        assert again.run("known") == 1


@pytest.mark.parametrize("resource", [True, False], ids=["resource", "ref"])
def test_without_a_scope_nothing_of_the_sessions_own_is_overwritten(resource):
    name = f"memory://open/shared/{resource}"
    store = saved(f"{name}/a", values=(1.0, 2.0), resource=resource)
    other = saved(f"{name}/b", values=(10.0, 20.0), resource=resource)
    with v1.Session(graph=tf.Graph()) as session:
        one = store.open_graph(session=session)
        version = one.graph.version
        with pytest.raises(TargetError, match=r"(?s)'x', .*'v1'.*Pass scope=") as caught:
            other.open_graph(session=session)
        assert " more: the session's graph" in str(caught.value)
        assert one.graph.version == version
        assert one.run("add", {"x": [0]}) == [3.0]
        assert other.open_graph("B", session=session).run("add", {"x": [0]}) == [30.0]
        assert one.run("add", {"x": [0]}) == [3.0]


def test_names_that_differ_may_share_a_variable_even_so():
    store = saved("memory://open/handles")
    graph = tf.Graph()
    with graph.as_default():
        own = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[1], shared_name="v2", name="own")
        start = tf.raw_ops.AssignVariableOp(resource=own, value=[9.0])
        value = tf.raw_ops.ReadVariableOp(resource=own, dtype=tf.float32)
    with v1.Session(graph=graph) as session:
        session.run(start)
        with pytest.raises(TargetError, match="'v2': the session's graph has these names"):
            store.open_graph(session=session)
        store.open_graph("S", session=session)
        assert session.run(value) == [9.0]


def test_the_sessions_own_state_is_not_set_to_its_first_value():
    """Nor is a variable restored that the checkpoint happens to have a value for."""
    store = saved("memory://open/own/a")
    storage = store.latest().storage
    values = {**store.latest(), "mine": np.float32([5.0])}
    items = [Item(name, payload_of(value)) for name, value in sorted(values.items())]
    meta = bytes(storage.read("model.ckpt-1.meta"))
    write_checkpoint(storage, "model.ckpt-2", items, meta=meta, step=2)
    graph = tf.Graph()
    with graph.as_default():
        mine = v1.get_variable("mine", initializer=[7.0])
        seen = v1.get_variable("seen", initializer=[0.0], collections=["local_variables"])
        count = v1.assign_add(seen, [1.0])
    with v1.Session(graph=graph) as session:
        session.run([mine.initializer, seen.initializer])
        session.run(count)
        model = store.open_graph(session=session)
        assert "mine" not in {*model.report.restored, *model.report.missing}
        assert session.run([mine, seen]) == [[7.0], [1.0]]


def test_a_scope_in_use_gets_a_number_whoever_uses_it():
    store = saved("memory://open/used")
    graph = tf.Graph()
    # An import of TensorFlow's own does not note the scopes of its names.
    definition = v1.GraphDef()
    definition.node.add(name="A/v1", op="NoOp")
    definition.node.add(name="B/deep/er", op="NoOp")
    with graph.as_default():
        tf.graph_util.import_graph_def(definition, name="")
    with v1.Session(graph=graph) as session:
        for wanted, given in (("A", "A_1"), ("A", "A_2"), ("B/deep", "B/deep_1"), ("C", "C")):
            model = store.open_graph(wanted, session=session)
            assert model.scope == given
            assert bool(model.notes) == (wanted != given)
            assert model.run("add", {"x": [0]}) == [3.0]
            assert session.run(f"{given}/add:0", {f"{given}/x:0": [0]}) == [3.0]


@pytest.mark.parametrize("scope", ["2nd", "1", "_x", "A\\1", "é", "a b", "/", "A//b", 3])
def test_a_scope_that_is_none_is_refused(scope):
    store = saved("memory://open/names")
    with v1.Session(graph=tf.Graph()) as session:
        with pytest.raises(TargetError, match="no name scope"):
            store.open_graph(scope, session=session)
        assert not session.graph.get_operations()


def test_a_slash_behind_a_scope_changes_nothing():
    with saved("memory://open/slash").open_graph("A/") as model:
        assert model.scope == "A"
        assert model.run(["add", "A/add"], {"x": [1]}) == [[4.0], [4.0]]


def doubled(location, names):
    """Save constants of these names beside a variable."""
    graph = tf.Graph()
    with graph.as_default():
        v = v1.get_variable("v", initializer=1.0)
        for number, name in enumerate(names):
            tf.constant(float(number), name=name)
    store = tfp.ModelStore(location)
    with v1.Session(graph=graph) as session:
        session.run(v.initializer)
        store.save(session)
    return store


def test_the_file_says_what_a_name_is_that_begins_as_the_scope_does():
    with doubled("memory://open/names/one", ["A/x", "y"]).open_graph("A") as model:
        assert model.run({"file": "A/x", "graph": "A/A/x", "y": "A/y"}) == {
            "file": 0.0,
            "graph": 0.0,
            "y": 1.0,
        }
    with doubled("memory://open/names/two", ["A/x", "x"]).open_graph("A") as model:
        assert [model.run(name) for name in ("x", "A/A/x")] == [1.0, 0.0]
        assert model.run(model["A/A/x"]) == 0.0
        for use in (model.run, model.__getitem__):
            with pytest.raises(NameNotFoundError, match=r"'A/A/x', which .* 'A/x', which"):
                use("A/x")


@pytest.mark.parametrize("scope", [None, "S"])
def test_a_model_tells_what_it_takes_and_gives(scope):
    prefix = f"{scope}/" if scope else ""
    store = saved("memory://open/tells")
    graph = tf.Graph()
    with graph.as_default():
        v1.placeholder(tf.int32, [], name="mine")
    with v1.Session(graph=graph) as session:
        model = store.open_graph(scope, session=session)
        assert [str(ref) for ref in model.inputs] == [f"{prefix}x:0 float32[1]"]
        assert [str(ref) for ref in model.outputs] == [f"{prefix}add:0 float32[1]"]
        assert model.run(list(model.outputs), {model.inputs[0]: [1]}) == [[4.0]]
        facts = model.summary()
        assert (facts.inputs, facts.outputs) == (model.inputs, model.outputs)
        assert facts.operations["Placeholder"] == 1
        assert f"{prefix}add:0" in model._repr_html_()
        assert "model.ckpt-1.meta" in repr(model)
        assert "2 variables restored" in repr(model)
        assert "add" in model
        assert not {"ad", 0, None} & {name for name in ("ad", 0, None) if name in model}
        with pytest.raises(TypeError, match="not iterable"):
            iter(model)
        with pytest.raises(NameNotFoundError, match="int 0"):
            model[0]
        for feeds in ([[1]], np.ones(2)):
            with pytest.raises(FeedError, match=r"expected \{tensor name: value\}"):
                model.run("add", feeds)


def counting(location, step):
    """Save a graph with a function that keeps a count and a table of its own."""
    from tensorflow.python.framework import function

    graph = tf.Graph()
    with graph.as_default():

        @function.Defun(func_name="bump")
        def bump():
            count = tf.raw_ops.VarHandleOp(dtype=tf.int64, shape=[], shared_name="count")
            table = tf.raw_ops.MutableHashTableV2(
                key_dtype=tf.int64, value_dtype=tf.int64, use_node_name_sharing=True
            )
            write = tf.raw_ops.AssignAddVariableOp(
                resource=count, value=tf.constant(step, tf.int64)
            )
            with tf.control_dependencies([write]):
                now = tf.raw_ops.ReadVariableOp(resource=count, dtype=tf.int64)
            insert = tf.raw_ops.LookupTableInsertV2(table_handle=table, keys=[now], values=[now])
            with tf.control_dependencies([insert]):
                size = tf.raw_ops.LookupTableSizeV2(table_handle=table)
            return now, size

        @function.Defun(func_name="start")
        def start():
            count = tf.raw_ops.VarHandleOp(dtype=tf.int64, shape=[], shared_name="count")
            first = tf.raw_ops.AssignVariableOp(resource=count, value=tf.constant(0, tf.int64))
            with tf.control_dependencies([first]):
                return tf.constant(0)

        v = v1.get_variable("v", initializer=[1.0])
        tf.identity_n(bump(), name="count")
        tf.identity(start(), name="start")
    with v1.Session(graph=graph) as session:
        session.run(v.initializer)
        tfp.ModelStore(location).save(session)
    return tfp.ModelStore(location)


def test_what_functions_keep_is_not_shared_between_scopes():
    """Nor are the functions: these have one name and different bodies."""
    with v1.Session(graph=tf.Graph()) as session:
        models = [
            counting(f"memory://open/counting/{step}", step).open_graph(scope="A", session=session)
            for step in (1, 10)
        ]
        assert [model.scope for model in models] == ["A", "A_1"]
        assert [model.run("start") for model in models] == [0, 0]
        counts = [[each.run(["count:0", "count:1"]) for _ in range(2)] for each in models]
        assert counts == [[[1, 1], [2, 2]], [[10, 1], [20, 2]]]


def test_a_table_is_filled_though_its_graph_has_no_saver():
    store = saved("memory://open/table", values=(7.0, 2.0), table=True, saver=False)
    for scope in (None, "S"):
        with store.open_graph(scope=scope) as model:
            assert model.run("known") == 7
            assert "words-keys" in tfp.Checkpoint("memory://open/table")
            assert not model.report.unexpected


def test_the_step_and_the_selection_hold_for_graphs():
    store = saved("memory://open/steps", values=(1.0, 2.0), step=1)
    saved("memory://open/steps", values=(3.0, 4.0), step=2)
    with store.open_graph() as model:
        assert model.run("add", {"x": [0]}) == [7.0]
    with store.at(1).open_graph() as model:
        assert model.run("add", {"x": [0]}) == [3.0]
    with store.at(1).only(["v1"]).open_graph() as model, pytest.raises(RunError):
        model.run("add", {"x": [0]})


def test_a_checkpoint_of_a_part_opens_and_tells_what_is_missing():
    graph = tf.Graph()
    with graph.as_default():
        a = v1.get_variable("a", initializer=[1.0])
        v1.get_variable("b", initializer=[1.0])
    store = tfp.ModelStore("memory://open/part")
    with v1.Session(graph=graph) as session:
        session.run(a.initializer)
        store.only([a]).save(session)
    with store.open_graph() as model:
        assert model.report.missing == ("b",)
        assert model.report.restored == ("a",)
        assert "1 missing, 1 variable restored" in str(model.report)


def test_local_variables_and_tables_are_initialized_by_the_graphs_own_ops():
    graph = tf.Graph()
    with graph.as_default():
        w = v1.get_variable("w", initializer=[1.0])
        v1.get_variable("seen", initializer=[2.0], collections=["local_variables"])
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(["a", "b"], [5, 6]), default_value=-1
        )
        v1.add_to_collection(v1.GraphKeys.TABLE_INITIALIZERS, table._init_op)
        tf.identity(table.lookup(tf.constant("b")), name="found")
    store = tfp.ModelStore("memory://open/local")
    with v1.Session(graph=graph) as session:
        session.run(w.initializer)
        store.save(session)
    with store.open_graph() as model:
        assert model.run("found") == 6
        assert model.run("seen/Read/ReadVariableOp") == [2.0]
        assert model.notes == ()


def test_no_meta_no_checkpoint_and_a_finalized_graph_are_told():
    store = tfp.ModelStore("memory://open/none")
    with pytest.raises(CheckpointNotFoundError, match="no checkpoint"):
        store.open_graph()
    store.save({"v1": np.zeros(1)})
    with pytest.raises(CheckpointNotFoundError, match=r"\.meta"):
        store.open_graph()
    store = saved("memory://open/finalized")
    graph = tf.Graph()
    graph.finalize()
    with v1.Session(graph=graph) as session, pytest.raises(TargetError, match="finalized"):
        store.open_graph(session=session)


def test_a_checkpoint_that_does_not_fit_its_graph_is_refused():
    store = saved("memory://open/unfit")
    store.save({"v1": np.zeros((2, 2), np.float32), "v2": np.zeros(1, np.float32)}, step=2)
    with pytest.raises(RestoreError, match="mismatched"):
        store.open_graph()


def graph_with(change):
    """Encode a MetaGraphDef of a variable and a sum after `change` has spoilt it."""
    graph = tf.Graph()
    with graph.as_default():
        v = v1.get_variable("v", initializer=[1.0, 2.0])
        tf.add(v, 1.0, name="add")
        meta = v1.train.export_meta_graph(graph=graph)
    change(meta)
    return meta.SerializeToString()


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
        (spoil_device, "/job:worker/task:7/device:TPU:3 is not here"),
        (spoil_shapes, "recorded shapes"),
        (spoil_version, "'0.12.head', read as '0.12'"),
        (spoil_op, "no op OpOfYesterday: 1 nodes left out, and 2 that depend on them"),
    ],
)
@pytest.mark.parametrize("scope", ["", "S"])
def test_what_tensorflow_refuses_is_mended_and_told(change, note, scope):
    imported = import_meta.import_meta(graph_with(change), scope=scope)
    assert note in "; ".join(imported.notes)
    prefix = f"{scope}/" if scope else ""
    with v1.Session(graph=imported.graph) as session:
        session.run(f"{prefix}v/Assign")
        assert session.run(f"{prefix}add:0").tolist() == [2.0, 3.0]


def test_a_damaged_meta_raises_nothing_but_our_errors():
    encoded = graph_with(lambda meta: None)
    small = bytearray(encoded[:1500])
    for at in range(0, len(encoded), 397):
        with pytest.raises(tfp.TFPersistError):
            import_meta.import_meta(encoded[:at] + b"\xff\xff", scope="", file="run/m.meta")
    small[0] ^= 0xFF
    with pytest.raises(CorruptionError, match=r"run/m\.meta"):
        import_meta.import_meta(bytes(small), scope="", file="run/m.meta")


@pytest.mark.parametrize("model", ["model", "plain", "bntrain", "shard2"])
def test_models_of_every_era_give_what_they_gave(tensorflow_1, tmp_path, model):
    golden = np.load(tensorflow_1 / ("golden.npz" if model == "model" else f"{model}_golden.npz"))
    metas = sorted(tensorflow_1.glob(f"{model}_v*.meta"))
    for meta in metas:
        folder = tmp_path / meta.name
        folder.mkdir()
        for file in tensorflow_1.glob(f"{meta.stem}*"):
            shutil.copy(file, folder)
        with tfp.ModelStore(folder).open_graph() as opened:
            for name in {"output", "loop_out"} & set(golden):
                result = opened.run(name, {"input": golden["input"]})
                np.testing.assert_allclose(result, golden[name], atol=1e-6, rtol=1e-5)
    assert metas or (model in ("model", "bntrain") and tensorflow_1.name == "0.12.1")


GRAPHS = [
    ("1.4.1/regression/checkpoint", 2),
    ("1.4.1/embedding", 1),
    ("1.4.1/slim", 6),
    ("1.12.3/bert", 25),
]
IN_CORPUS = [
    ("keras-bert", 139),
    ("tensorflow/embedding", 1),
    ("tensorflow/session_bundle_half_plus_two_v1/00000123", 2),
    ("tensorflow/session_bundle_half_plus_two_v2/00000123", 2),
    ("tensorflow-onnx/regression/checkpoint", 2),
]


@pytest.mark.parametrize(("folder", "count"), GRAPHS)
def test_golden_graphs_open(golden, folder, count):
    with tfp.ModelStore(golden / folder).open_graph() as model:
        assert len(model.report.restored) == count


def test_a_session_bundle_opens(golden):
    with tfp.ModelStore(golden / "0.12.1/session_bundle/00000123").open_graph() as model:
        assert len(model.report.restored) == 2
        assert halves_plus_two(model)


def test_published_graphs_open(corpus):
    for folder, count in IN_CORPUS:
        with tfp.ModelStore(corpus / folder).open_graph() as model:
            assert len(model.report.restored) == count
            assert "half_plus_two" not in folder or halves_plus_two(model)


def halves_plus_two(model):
    """Whether the model makes 5 of 6."""
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(6.0)
    operations = [op.name for op in model.graph.get_operations() if op.type == "Placeholder"]
    outputs = model.graph.get_operation_by_name("y").outputs[0].name
    return model.run(outputs, {operations[0]: [example.SerializeToString()]}).tolist() == [[5.0]]
