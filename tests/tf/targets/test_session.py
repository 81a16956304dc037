"""Sessions: what is saved is what TensorFlow saves, and comes back, without an op being added."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import RestoreError, SaveError, SelectionError, TargetError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.storage import open_storage
from tfpersist.tf.targets.adapt import adapt

v1 = tf.compat.v1
KINDS = pytest.mark.parametrize("resource", [True, False], ids=["resource", "ref"])


@contextlib.contextmanager
def unchanged(graph):
    """No op is added in the block, and no op is needed: the graph is finalized."""
    version = graph.version
    if not graph.finalized:
        graph.finalize()
    yield
    assert graph.version == version


def rich_graph(resource, value=1.0):
    """Variables of many kinds, two of them partitioned: by rows and by columns."""
    graph = tf.Graph()
    with graph.as_default():
        v1.disable_resource_variables() if not resource else v1.enable_resource_variables()

        def make(name, array, **how):
            return v1.get_variable(name, initializer=array, use_resource=resource, **how)

        make("net/w", np.full((4, 2), value, np.float32))
        make("net/b", np.full(2, value, np.float16))
        make("flag", np.array([True, False, value > 1]))
        make("text", np.array([b"a", b"\0b", str(value).encode()], object))
        make("count", np.int64(value))
        make("empty", np.zeros((0, 3), np.float64))
        make("phase", np.complex64(value + 2j))
        for name, axis in (("rows", 0), ("columns", 1)):
            v1.get_variable(
                name,
                shape=(10, 7),
                initializer=v1.random_uniform_initializer(seed=int(value)),
                partitioner=v1.fixed_size_partitioner(3, axis=axis),
                use_resource=resource,
            )
        v1.enable_resource_variables()
    return graph


def values_of(session):
    """All variables of a session, by name."""
    with session.graph.as_default():
        variables = v1.global_variables()
    return dict(zip([v.op.name for v in variables], session.run(variables), strict=True))


def initialize(session):
    for variable in session.graph.get_collection("variables"):
        session.run(variable.initializer)


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name in first:
        one, other = np.asarray(first[name]), np.asarray(second[name])
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes() if one.dtype != object else (one == other).all()


@KINDS
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
    write_checkpoint(open_storage(tmp_path), "ours", items, meta=captured.meta, alignment=1)
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


@KINDS
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


@KINDS
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


DTYPES = [
    "bfloat16",
    "bool",
    "complex128",
    "complex64",
    "double",
    "float32",
    "float8_e4m3fn",
    "float8_e5m2",
    "half",
    "int16",
    "int32",
    "int4",
    "int64",
    "int8",
    "qint32",
    "qint8",
    "quint8",
    "string",
    "uint16",
    "uint32",
    "uint4",
    "uint64",
    "uint8",
]


@pytest.mark.parametrize("name", DTYPES)
def test_every_data_type_comes_back(name):
    dtype = tf.dtypes.as_dtype(name)
    if name == "string":
        array = np.array([b"", b"\xff\0", b"long" * 99], object)
    elif dtype.as_numpy_dtype is not None and np.dtype(dtype.as_numpy_dtype).names:
        array = np.array([(0,), (1,), (2,)], dtype.as_numpy_dtype)
    else:
        array = np.array([0, 1, 3]).astype(dtype.as_numpy_dtype)
    graph = tf.Graph()
    with graph.as_default():
        value = v1.placeholder(dtype, [3])
        handle = tf.raw_ops.VarHandleOp(dtype=dtype, shape=[3], shared_name="v", name="v")
        assign = tf.raw_ops.AssignVariableOp(resource=handle, value=value)
        read = tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)
    store = tfp.ModelStore(f"memory://session/dtype/{name}")
    with v1.Session(graph=graph) as session:
        session.run(assign, {value: array})
        store.save(session)
    with v1.Session(graph=graph) as session, unchanged(graph):
        store.restore(session)
        restored = session.run(read)
    assert restored.tobytes() == array.tobytes() or list(restored) == list(array)
    assert restored.dtype.itemsize == array.dtype.itemsize


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


def test_the_step_may_be_a_variable_or_a_tensor():
    store = tfp.ModelStore("memory://session/step")
    graph = tf.Graph()
    with graph.as_default():
        ref = v1.get_variable("step", initializer=np.int64(11), use_resource=False)
        later = ref + 1
    eager = tf.Variable(13)
    with v1.Session(graph=graph) as session, unchanged(graph):
        session.run(ref.initializer)
        assert store.save(session, step=ref).step == 11
        assert store.save(session, step=later).step == 12
        assert store.save(session, step=eager).step == 13
        with pytest.raises(TargetError, match="not a whole number"):
            store.save(session, step=1.5)


def test_a_shape_that_does_not_fit_assigns_nothing():
    """TensorFlow's Saver restores (3, 2) into a declared (4, 2) without an error."""
    store = tfp.ModelStore("memory://session/shape")
    store.save({"v": np.ones((3, 2), np.float32), "w": np.ones(2, np.float32)})
    graph = tf.Graph()
    with graph.as_default():
        v = v1.get_variable("v", initializer=np.zeros((4, 2), np.float32))
        w = v1.get_variable("w", initializer=np.zeros(2, np.float32))
    with v1.Session(graph=graph) as session, unchanged(graph):
        session.run([v.initializer, w.initializer])
        with pytest.raises(RestoreError) as caught:
            store.restore(session)
        assert session.run(v).shape == (4, 2)
        assert not session.run(w).any()
    assert caught.value.report.mismatched == ("v",)
    assert caught.value.report.restored == ()
    assert "float32[4,2]" in str(caught.value)
    assert "float32[3,2]" in str(caught.value)


def test_variables_that_share_an_initial_value_are_restored_each():
    graph = tf.Graph()
    with graph.as_default():
        shared = tf.zeros([2])
        variables = [v1.Variable(shared, name=f"v{i}", use_resource=bool(i % 2)) for i in range(5)]
        dependent = v1.Variable(variables[0].initialized_value(), name="dependent")
        again = v1.Variable(variables[1], name="again", use_resource=False)
    store = tfp.ModelStore("memory://session/shared")
    arrays = {f"v{i}": np.float32([i, i + 1]) for i in range(5)}
    arrays |= {"dependent": np.float32([7, 8]), "again": np.float32([9, 10])}
    store.save(arrays)
    with v1.Session(graph=graph) as session, unchanged(graph):
        store.restore(session)
        restored = session.run([*variables, dependent, again])
    assert np.array_equal(restored, list(arrays.values()))


@KINDS
def test_a_variable_of_unknown_shape_takes_any(resource):
    graph = tf.Graph()
    with graph.as_default():
        initial = v1.placeholder_with_default([0.0], None)
        v = v1.Variable(initial, name="v", validate_shape=False, use_resource=resource)
    store = tfp.ModelStore(f"memory://session/unknown/{resource}")
    store.save({"v": np.float32([[1, 2, 3]])})
    with v1.Session(graph=graph) as session, unchanged(graph):
        store.restore(session)
        assert session.run(v).tolist() == [[1, 2, 3]]


def test_a_shape_that_no_assignment_takes_is_refused_before_anything_is_assigned():
    graph = tf.Graph()
    with graph.as_default():
        v = v1.Variable(tf.zeros([2]), name="v", validate_shape=False, use_resource=False)
    store = tfp.ModelStore("memory://session/no-assignment")
    store.save({"v": np.float32([[1, 2, 3]])})
    with v1.Session(graph=graph) as session, pytest.raises(TargetError, match=r"train\.Saver"):
        store.restore(session)
    with graph.as_default():
        v1.train.Saver()
    with v1.Session(graph=graph) as session:
        store.restore(session)
        assert session.run(v).tolist() == [[1, 2, 3]]


def test_an_initializer_with_control_dependencies_needs_no_feed():
    graph = tf.Graph()
    with graph.as_default():
        fed = v1.placeholder(tf.float32, [2], name="fed")
        with tf.control_dependencies([v1.debugging.assert_positive(fed)]):
            v = v1.Variable(tf.identity(fed), name="v", use_resource=False)
        v1.train.Saver()
    store = tfp.ModelStore("memory://session/control")
    store.save({"v": np.float32([-1, 2])})
    with v1.Session(graph=graph) as session, unchanged(graph):
        store.restore(session)
        assert session.run(v).tolist() == [-1, 2]


@pytest.mark.parametrize("alignment", [1, 4, 16, 32, 64])
def test_a_restored_variable_does_not_lie_in_the_file(tmp_path, alignment):
    graph = tf.Graph()
    with graph.as_default():
        v = v1.get_variable("v", initializer=np.zeros(1024, np.float32), use_resource=True)
    items = [Item("a", payload_of(np.int8(1))), Item("v", payload_of(np.ones(1024, np.float32)))]
    write_checkpoint(open_storage(tmp_path), "model.ckpt", items, alignment=alignment)
    with v1.Session(graph=graph) as session:
        tfp.ModelStore(tmp_path).restore(session)
        with (tmp_path / "model.ckpt.data-00000-of-00001").open("r+b") as file:
            file.write(bytes(5000))
        assert session.run(v).sum() == 1024


@KINDS
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


def test_an_optimizer_that_is_new_is_told():
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


def table_graph(saver):
    graph = tf.Graph()
    with graph.as_default():
        v1.get_variable("w", initializer=[1.0])
        table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1, name="words")
        fill = table.insert(["a", "b"], [1, 2])
        found = table.lookup(tf.constant(["a", "b", "c"]))
        if saver:
            v1.train.Saver()
    return graph, fill, found


def test_tables_are_saved_and_restored(tmp_path):
    graph, fill, _ = table_graph(saver=True)
    store = tfp.ModelStore(tmp_path)
    with v1.Session(graph=graph) as session, unchanged(graph):
        initialize(session)
        session.run(fill)
        checkpoint = store.save(session)
    assert set(checkpoint) == {"w", "words-keys", "words-values"}
    graph, _, found = table_graph(saver=True)
    with v1.Session(graph=graph) as session, unchanged(graph):
        store.restore(session)
        assert session.run(found).tolist() == [1, 2, -1]
    graph, _, found = table_graph(saver=False)
    with graph.as_default(), v1.Session(graph=graph) as session:
        v1.train.Saver().restore(session, checkpoint.prefix)
        assert session.run(found).tolist() == [1, 2, -1]


def test_a_table_that_no_op_fills_is_refused_before_anything_is_assigned():
    graph, fill, _ = table_graph(saver=False)
    store = tfp.ModelStore("memory://session/table")
    with v1.Session(graph=graph) as session, unchanged(graph):
        initialize(session)
        session.run(fill)
        store.save(session)
    with v1.Session(graph=graph) as session:
        with pytest.raises(TargetError, match=r"Create a tf\.compat\.v1\.train\.Saver"):
            store.restore(session)
        store.only(["w"]).restore(session)
        assert values_of(session)["w"] == [1.0]


def test_half_of_a_table_cannot_be_restored():
    graph, fill, _ = table_graph(saver=True)
    store = tfp.ModelStore("memory://session/half-table")
    with v1.Session(graph=graph) as session:
        initialize(session)
        session.run(fill)
        store.save(session)
        with pytest.raises(SelectionError, match="both its keys and its values"):
            store.only(["words-keys"]).restore(session)


def two_variables(first, second):
    graph = tf.Graph()
    with graph.as_default():
        one = v1.get_variable(first, initializer=[1.0])
        two = v1.get_variable(second, initializer=[2.0])
    return graph, one, two


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


@KINDS
def test_a_partitioned_variable_goes_by_any_name(tmp_path, resource):
    graph = tf.Graph()
    with graph.as_default():
        whole = v1.get_variable(
            "p", [6, 2], partitioner=v1.fixed_size_partitioner(2), use_resource=resource
        )
        store = tfp.ModelStore(tmp_path / "ours")
        with v1.Session(graph=graph) as session:
            initialize(session)
            expected = np.concatenate(session.run(list(whole)))
            v1.train.Saver({"x": whole}).save(session, str(tmp_path / "theirs"))
            for choice in ({"x": whole}, {"x": list(whole)}, {"x": "p"}):
                saved = store.only(choice).save(session)
                assert set(saved) == {"x"}
                assert saved["x"].tolist() == expected.tolist()
                assert not saved.diff(tfp.Checkpoint(tmp_path / "theirs")).changed
            assert set(store.only([whole]).save(session)) == {"p"}
            tfp.ModelStore(tmp_path, name="theirs").rename({"x": whole}).restore(session)
            assert np.concatenate(session.run(list(whole))).tolist() == expected.tolist()
        other = v1.get_variable("q", initializer=expected, use_resource=resource)
        with v1.Session(graph=graph) as session:
            tfp.ModelStore(tmp_path, name="theirs").only({"x": other}).restore(session)
            assert session.run(other).tolist() == expected.tolist()


def test_a_local_variable_is_taken_when_it_is_named():
    store = tfp.ModelStore("memory://session/local")
    graph = tf.Graph()
    with graph.as_default():
        v1.get_variable("w", initializer=[1.0])
        local = v1.get_variable("seen", initializer=[2.0], collections=["local_variables"])
        free = v1.get_variable("free", initializer=[3.0], collections=["mine"])
    with v1.Session(graph=graph) as session:
        initialize(session)
        session.run([local.initializer, free.initializer])
        assert set(store.save(session)) == {"w"}
        assert set(store.only([local, free]).save(session)) == {"seen", "free"}


@KINDS
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


def test_a_scope_that_differs_is_told():
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


def test_a_closed_session_is_told():
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
