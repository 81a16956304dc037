"""Sessions: what is saved is what TensorFlow saves, and comes back, without an op being added."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from session_graphs import (
    RESOURCE,
    assert_equal,
    initialize,
    rich_graph,
    two_variables,
    unchanged,
    values_of,
)

import tfpersist as tfp
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import RestoreError, SaveError, SelectionError, TargetError
from tfpersist.storage import open_storage
from tfpersist.tf.targets.adapt import adapt

v1 = tf.compat.v1


@RESOURCE
def test_files_are_byte_identical_to_those_of_saver(tmp_path, resource):
    graph = rich_graph(resource)
    with graph.as_default():
        saver = v1.train.Saver()
    with v1.Session(graph=graph) as session:
        initialize(session)
        with graph.as_default():
            saver.save(session, str(tmp_path / "theirs"))
        with unchanged(graph):
            target = adapt(session)
            captured = target.capture(target.entries()[: len(graph.get_collection("variables"))])
    items = sorted(captured.items, key=lambda item: item.key)
    write_checkpoint(open_storage(tmp_path), "ours", items, meta=captured.meta(), alignment=1)
    for suffix in (".index", ".data-00000-of-00001"):
        assert (tmp_path / f"ours{suffix}").read_bytes() == (
            tmp_path / f"theirs{suffix}"
        ).read_bytes()
    ours, theirs = (
        v1.MetaGraphDef.FromString((tmp_path / f"{n}.meta").read_bytes())
        for n in ("ours", "theirs")
    )
    assert ours.graph_def == theirs.graph_def
    assert ours.collection_def == theirs.collection_def


@RESOURCE
def test_saver_and_latest_checkpoint_read_what_is_saved(tmp_path, resource):
    graph = rich_graph(resource)
    with v1.Session(graph=graph) as session, unchanged(graph):
        initialize(session)
        expected = values_of(session)
        checkpoint = tfp.ModelStore(tmp_path).save(session, step=3)
    assert tf.train.latest_checkpoint(str(tmp_path)) == checkpoint.prefix
    assert sorted(path.name for path in tmp_path.glob("*-3.*") if path.suffix != ".json") == [
        "model.ckpt-3.data-00000-of-00001",
        "model.ckpt-3.index",
        "model.ckpt-3.meta",
    ]
    other = rich_graph(resource, value=5.0)
    with other.as_default(), v1.Session(graph=other) as session:
        v1.train.Saver().restore(session, checkpoint.prefix)
        assert_equal(values_of(session), expected)
    with tf.Graph().as_default() as imported, v1.Session(graph=imported) as session:
        saver = v1.train.import_meta_graph(f"{checkpoint.prefix}.meta")
        saver.restore(session, checkpoint.prefix)
        assert_equal(values_of(session), expected)
    reader = tf.train.load_checkpoint(checkpoint.prefix)
    assert reader.get_tensor("rows").shape == (10, 7)


@RESOURCE
def test_restores_what_saver_wrote_with_no_initializer_run(tmp_path, resource):
    graph = rich_graph(resource)
    with graph.as_default(), v1.Session(graph=graph) as session:
        initialize(session)
        expected = values_of(session)
        v1.train.Saver().save(session, str(tmp_path / "model.ckpt"), global_step=7)
    other = rich_graph(resource, value=5.0)
    with v1.Session(graph=other) as session, unchanged(other):
        report = tfp.ModelStore(tmp_path).restore(session)
        assert_equal(values_of(session), expected)
    assert set(report.restored) == set(expected)
    assert report.fits
    assert not report.unexpected


def test_saves_again_what_it_restored(tmp_path):
    store = tfp.ModelStore(tmp_path)
    graph = rich_graph(resource=True)
    with v1.Session(graph=graph) as session:
        initialize(session)
        first = store.save(session, step=1)
    with v1.Session(graph=graph) as session:
        store.restore(session)
        second = store.save(session, step=2)
    assert not first.diff(second).changed


def test_uninitialized_variables_are_all_named():
    graph = tf.Graph()
    with graph.as_default():
        first = v1.get_variable("first", initializer=1.0)
        for name in ("second", "third", "fourth"):
            v1.get_variable(name, initializer=1.0, use_resource=name == "second")
    with v1.Session(graph=graph) as session, unchanged(graph):
        session.run(first.initializer)
        with pytest.raises(SaveError) as caught:
            tfp.ModelStore("memory://session/uninitialized").save(session)
    assert "3 variables have no value yet: second, third, fourth" in str(caught.value)


def test_works_in_a_monitored_session_and_fires_no_hook(tmp_path):
    class Counter(v1.train.SessionRunHook):
        runs = 0

        def before_run(self, run_context):
            self.runs += 1

    counter = Counter()
    graph = tf.Graph()
    with graph.as_default():
        step = v1.train.get_or_create_global_step()
        advance = v1.assign_add(step, 1)
        v1.get_variable("w", initializer=[1.0, 2.0])
        with v1.train.MonitoredTrainingSession(hooks=[counter]) as session:
            version = graph.version
            session.run(advance)
            session.run(advance)
            runs = counter.runs
            store = tfp.ModelStore(tmp_path)
            checkpoint = store.save(session, step=step)
            session.run(advance)
            store.restore(session)
            assert counter.runs == runs + 1
            assert graph.version == version
            assert session.run(step) == 2
    assert checkpoint.step == 2
    assert list(checkpoint["w"]) == [1.0, 2.0]


def test_a_hook_can_save():
    store = tfp.ModelStore("memory://session/hook")

    class SaveHook(v1.train.SessionRunHook):
        def after_run(self, run_context, run_values):
            store.save(run_context.session, step=1)

    with tf.Graph().as_default():
        v1.train.get_or_create_global_step()
        w = v1.get_variable("w", initializer=[1.0, 2.0])
        with v1.train.MonitoredTrainingSession(hooks=[SaveHook()]) as session:
            session.run(w)
    assert set(store.latest()) == {"global_step", "w"}


@RESOURCE
def test_a_session_of_an_eager_process_needs_no_default_graph(tmp_path, resource):
    assert tf.executing_eagerly()
    graph = rich_graph(resource)
    session = v1.Session(graph=graph)
    initialize(session)
    store = tfp.ModelStore(tmp_path)
    with unchanged(graph):
        first = store.save(session, step=1)
    other = v1.Session(graph=graph)
    with unchanged(graph):
        store.restore(other)
        second = store.save(other, step=2)
    assert tf.executing_eagerly()
    assert not first.diff(second).changed


def test_a_new_optimizer_gets_advice():
    def build(optimizer):
        graph = tf.Graph()
        with graph.as_default():
            w = v1.get_variable("w", initializer=[1.0])
            optimizer.minimize(tf.reduce_sum(w * w), var_list=[w])
        return graph

    store = tfp.ModelStore("memory://session/optimizer")
    graph = build(v1.train.MomentumOptimizer(0.1, 0.9))
    with v1.Session(graph=graph) as session:
        initialize(session)
        store.save(session)
    graph = build(v1.train.AdamOptimizer())
    with v1.Session(graph=graph) as session:
        with pytest.raises(RestoreError, match="Only slots of an optimizer are missing") as caught:
            store.restore(session)
        report = store.only(["w"]).restore(session)
    assert caught.value.report.slots == {
        "beta1_power": "beta1_power",
        "beta2_power": "beta2_power",
        "w/Adam": "Adam",
        "w/Adam_1": "Adam_1",
        "w/Momentum": "Momentum",
    }
    assert report.restored == ("w",)
    assert set(report.unselected) == {"beta1_power", "beta2_power", "w/Adam", "w/Adam_1"}


def test_only_and_rename_mean_what_savers_var_list_means(tmp_path):
    graph, one, two = two_variables("v1", "v2")
    store = tfp.ModelStore(tmp_path / "ours")
    with graph.as_default(), v1.Session(graph=graph) as session:
        initialize(session)
        for name, var_list, ours in (
            ("list", [one], store.only([one])),
            ("dict", {"x": one, "y": two}, store.only({"x": one, "y": two})),
            ("part", {"x": two}, store.only({"x": "v2"})),
            ("renamed", {"x": one, "v2": two}, store.rename({"x": "v1"})),
        ):
            theirs = str(tmp_path / name)
            v1.train.Saver(var_list).save(session, theirs)
            saved = ours.save(session)
            assert not saved.diff(tfp.Checkpoint(theirs)).changed
            assert set(saved) == set(tfp.Checkpoint(theirs))
            session.run([v.assign([9.0]) for v in (one, two)])
            v1.train.Saver(var_list).restore(session, saved.prefix)
            restored = session.run([one, two])
            session.run([v.assign([9.0]) for v in (one, two)])
            ours.restore(session)
            assert session.run([one, two]) == restored
            initialize(session)


@RESOURCE
def test_averages_go_into_the_variables(tmp_path, resource):
    def build(with_averages):
        graph = tf.Graph()
        with graph.as_default():
            w = v1.get_variable("w", initializer=[0.0], use_resource=resource)
            v1.get_variable("raw", initializer=[5.0], trainable=False, use_resource=resource)
            v1.get_variable(
                "split",
                shape=[4],
                initializer=v1.zeros_initializer(),
                partitioner=v1.fixed_size_partitioner(2),
                use_resource=resource,
            )
            averages = tf.train.ExponentialMovingAverage(0.5)
            update = averages.apply() if with_averages else None
        return graph, averages, update, w

    graph, averages, update, w = build(with_averages=True)
    store = tfp.ModelStore(tmp_path)
    with v1.Session(graph=graph) as session:
        initialize(session)
        with graph.as_default():
            session.run([v.assign_add(tf.ones_like(v)) for v in v1.trainable_variables()])
            session.run(update)
        store.save(session)
        with unchanged(graph):
            report = store.averages(averages).restore(session)
        assert session.run(w) == [0.5]
    assert set(report.averaged) == {"w", "split/part_0", "split/part_1"}
    assert "raw" in report.raw
    for average in (None, "ExponentialMovingAverage"):
        graph, averages, _, w = build(with_averages=False)
        with v1.Session(graph=graph) as session, unchanged(graph):
            report = store.averages(average or averages).restore(session)
            assert session.run(w) == [0.5]
        assert report.raw == ("raw",)
        assert set(report.unexpected) == {
            "w/ExponentialMovingAverage",
            "split/ExponentialMovingAverage",
        } - {row.key for row in report.rows if row.outcome == "averaged"}


def test_averages_of_something_else_are_refused():
    graph, _, _ = two_variables("a", "b")
    store = tfp.ModelStore("memory://session/no-averages")
    with v1.Session(graph=graph) as session:
        initialize(session)
        store.save(session)
        with pytest.raises(SelectionError, match="averages"):
            store.averages(3).restore(session)


def test_a_different_scope_gets_advice():
    graph, _, _ = two_variables("model/w", "model/b")
    store = tfp.ModelStore("memory://session/scope")
    store.save({"w": np.float32([3]), "b": np.float32([4])})
    with v1.Session(graph=graph) as session:
        with pytest.raises(RestoreError, match=r'rename\(\{"": "model/"\}\) finds 2 of the 2'):
            store.restore(session)
        store.rename({"": "model/"}).restore(session)
        assert values_of(session) == {"model/w": [3.0], "model/b": [4.0]}


def test_an_object_based_checkpoint_is_restored_by_full_names(tmp_path):
    graph, one, two = two_variables("one", "two")
    with graph.as_default(), v1.Session(graph=graph) as session:
        initialize(session)
        v1.train.Checkpoint(a=one, b=two).save(str(tmp_path / "ckpt"), session=session)
    graph, one, _ = two_variables("one", "two")
    with v1.Session(graph=graph) as session, unchanged(graph):
        session.run(one.initializer)
        report = tfp.ModelStore(tmp_path).restore(session)
        assert values_of(session) == {"one": [1.0], "two": [2.0]}
    assert report.renamed["a/.ATTRIBUTES/VARIABLE_VALUE"] == "one"


def test_a_closed_session_is_refused():
    graph, _, _ = two_variables("a", "b")
    session = v1.Session(graph=graph)
    session.close()
    with pytest.raises(SaveError, match="closed"):
        tfp.ModelStore("memory://session/closed").save(session)


def test_a_graph_without_variables_is_refused():
    with v1.Session(graph=tf.Graph()) as session, pytest.raises(TargetError, match="no variables"):
        tfp.ModelStore("memory://session/nothing").save(session)


def test_resource_variables_are_shared_with_a_save_and_others_are_copied():
    with tf.Graph().as_default() as graph, v1.Session() as session:
        made = [
            v1.get_variable(name, initializer=tf.ones(1 << 10), use_resource=name == "shared")
            for name in ("shared", "copied")
        ]
        grow = [v1.assign_add(variable, tf.ones(1 << 10)).op for variable in made]
        initialize(session)
        with unchanged(graph):
            target = adapt(session)
            entries = target.entries()
            first, second = (
                {item.key: item.payload.load() for item in target.capture(entries).items}
                for _ in range(2)
            )
        session.run(grow)
        later = {item.key: item.payload.load() for item in target.capture(entries).items}
    places = {key: {each.ctypes.data for each in (first[key], second[key])} for key in first}
    assert (len(places["shared"]), len(places["copied"])) == (1, 2)
    assert not first["shared"].flags.writeable
    assert all((value == 1).all() for value in first.values())
    assert all((value == 2).all() for value in later.values())
