"""A graph is opened with the values of its checkpoint, whatever TensorFlow wrote it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tensorflow as tf
from saved_graphs import saved

import tfpersist as tfp
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import CheckpointNotFoundError, RestoreError, RunError, TargetError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of

v1 = tf.compat.v1


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


def test_a_missing_meta_or_checkpoint_and_a_finalized_graph_are_errors():
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


@pytest.mark.parametrize("model", ["model", "plain", "bntrain", "shard2"])
def test_models_of_every_era_compute_the_recorded_outputs(tensorflow_1, tmp_path, model):
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
    """Return whether the model computes 5 from 6."""
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(6.0)
    operations = [op.name for op in model.graph.get_operations() if op.type == "Placeholder"]
    outputs = model.graph.get_operation_by_name("y").outputs[0].name
    return model.run(outputs, {operations[0]: [example.SerializeToString()]}).tolist() == [[5.0]]


class TestTheMapOfTheSaver:
    """The Saver of the graph says which tensor a variable gets, as for Saver.restore."""

    def test_moving_averages(self, tmp_path):
        with tf.Graph().as_default(), v1.Session() as session:
            w = v1.get_variable("w", initializer=[1.0, 2.0])
            average = tf.compat.v1.train.ExponentialMovingAverage(0.5)
            update = average.apply([w])
            tf.identity(w, name="y")
            session.run(v1.global_variables_initializer())
            session.run(w.assign([3.0, 4.0]))
            session.run(update)
            v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
        with tf.Graph().as_default(), v1.Session() as session:
            w = v1.get_variable("w", initializer=[1.0, 2.0])
            average = tf.compat.v1.train.ExponentialMovingAverage(0.5)
            average.apply([w])
            tf.identity(w, name="y")
            saver = v1.train.Saver(average.variables_to_restore())
            saver.restore(session, str(tmp_path / "model.ckpt"))
            want = session.run("y:0")
            saver.export_meta_graph(str(tmp_path / "model.ckpt.meta"))
        assert want.tolist() == [2.0, 3.0]
        for scope in (None, "inner"):
            with tfp.ModelStore(tmp_path).open_graph(scope) as model:
                assert np.array_equal(model.run("y"), want)
        assert np.array_equal(tfp.Freezer(tmp_path).outputs("y").freeze().run("y"), want)

    @pytest.mark.parametrize("resource", [False, True])
    def test_parts_under_other_keys(self, tmp_path, resource):
        with tf.Graph().as_default(), v1.Session() as session:
            with v1.variable_scope("net", use_resource=resource):
                parts = v1.get_variable(
                    "w",
                    [6, 2],
                    initializer=v1.random_normal_initializer(),
                    partitioner=v1.fixed_size_partitioner(3),
                )
                other = v1.get_variable("other", initializer=[9.0, 9.0])
            tf.add(parts.as_tensor(), other, name="y")
            session.run(v1.global_variables_initializer())
            saver = v1.train.Saver({"model/w": parts, "model/b": other})
            saver.save(session, str(tmp_path / "model.ckpt"))
            want = session.run("y:0")
        with tfp.ModelStore(tmp_path).open_graph() as model:
            assert np.array_equal(model.run("y"), want)
            assert not model.report.missing
        with tf.Graph().as_default(), v1.Session() as session:
            model = tfp.ModelStore(tmp_path).open_graph("inner", session)
            assert np.array_equal(model.run("y"), want)
        assert np.array_equal(tfp.Freezer(tmp_path).outputs("y").freeze().run("y"), want)

    def test_a_store_saves_no_map_that_it_does_not_follow(self, tmp_path):
        with tf.Graph().as_default(), v1.Session() as session:
            a = v1.get_variable("a", initializer=1.0)
            b = v1.get_variable("b", initializer=2.0)
            tf.identity(a, name="y")
            v1.add_to_collection(v1.GraphKeys.SAVERS, v1.train.Saver({"a": b, "b": a}))
            session.run(v1.global_variables_initializer())
            tfp.ModelStore(tmp_path).save(session)
        with tfp.ModelStore(tmp_path).open_graph() as model:
            assert model.run("y") == 1.0
        assert tfp.Freezer(tmp_path).outputs("y").freeze().run("y") == 1.0


class TestInTheSessionOfTheUser:
    def test_under_an_open_name_scope(self):
        store = saved("memory://open/scoped", table=True)
        with tf.Graph().as_default(), v1.Session() as session, tf.name_scope("outer"):
            free = tf.constant(1.0, name="free")
            with tf.control_dependencies([free]):
                models = [store.open_graph("inner", session) for _ in range(2)]
            assert [model.scope for model in models] == ["inner", "inner_1"]
            for model in models:
                assert model.run("add", {"x": [0.0]}) == [3.0]
                assert not model.graph.get_operation_by_name(f"{model.scope}/x").control_inputs
            assert tf.constant(2.0, name="mine").name == "outer/mine:0"

    @pytest.mark.parametrize("scope", [None, "inner"])
    def test_nothing_is_left_behind_where_the_checkpoint_does_not_fit(self, tmp_path, scope):
        store = saved(tmp_path)
        meta = (tmp_path / "model.ckpt-1.meta").read_bytes()
        items = [
            Item("v1", payload_of(np.zeros([7], np.float32))),
            Item("v2", payload_of(np.zeros([1], np.float32))),
        ]
        write_checkpoint(store.latest().storage, "model.ckpt-2", items, meta=meta, step=2)
        graph = tf.Graph()
        with graph.as_default(), v1.Session() as session, tf.name_scope("outer"):
            before = graph.as_graph_def().SerializeToString(deterministic=True)
            with pytest.raises(RestoreError):
                store.open_graph(scope, session)
            assert graph.as_graph_def().SerializeToString(deterministic=True) == before
            assert graph.get_all_collection_keys() == []
            model = store.at(1).open_graph("inner", session)
            assert model.scope == "inner"
            assert model.run("add", {"x": [0.0]}) == [3.0]


def test_a_text_meta_is_read_by_all(tmp_path):
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [1], name="x")
        v = v1.get_variable("v", initializer=[3.0])
        tf.add(v, x, name="add")
        session.run(v.initializer)
        saver = v1.train.Saver()
        path = saver.save(session, str(tmp_path / "model.ckpt"), 1)
        saver.export_meta_graph(f"{path}.meta", as_text=True)
    store = tfp.ModelStore(tmp_path)
    assert store.verify().ok
    assert tfp.Checkpoint(tmp_path).order == ("v",)
    tfp.Policy(allow=["file read", "file write"]).check(tfp.safety.scan(tmp_path))
    with store.open_graph() as model:
        assert model.run("add", {"x": [0.0]}) == [3.0]
    frozen = tfp.Freezer(tmp_path).outputs("add").freeze()
    assert frozen.run("add", {"x": [0.0]}) == [3.0]


def test_local_variables_that_are_listed_as_tensors(tmp_path):
    """TensorFlow 1.1 listed them so, and some of them are no variables."""
    graph = tf.Graph()
    with graph.as_default(), v1.Session() as session:
        v = v1.get_variable("v", initializer=[1.0, 2.0], use_resource=False)
        total = v1.Variable([0.5, 0.5], name="total", collections=[], use_resource=False)
        tf.add(v, total, name="y")
        session.run(v.initializer)
        v1.train.Saver([v]).save(session, str(tmp_path / "model.ckpt"), 1)
    file = tmp_path / "model.ckpt-1.meta"
    meta = tf.compat.v1.MetaGraphDef.FromString(file.read_bytes())
    meta.collection_def["local_variables"].node_list.value.extend(["total:0", "y:0"])
    file.write_bytes(meta.SerializeToString())
    with tfp.ModelStore(tmp_path).open_graph() as model:
        assert model.run("y").tolist() == [1.5, 2.5]
