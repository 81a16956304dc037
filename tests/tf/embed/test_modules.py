"""Modules that own the variables and tables that a frozen model keeps."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import FeedError, GraphError, UnsupportedError
from tfpersist.formats import graphdef

v1 = tf.compat.v1

WORDS = np.array([b"a", b"b", b"unknown"], object)
EXPECTED = np.float32([13, 16, 7])


@pytest.fixture(scope="module")
def model():
    """A table, a variable that is kept and one that is not."""
    with tf.Graph().as_default(), v1.Session() as session:
        words = v1.placeholder(tf.string, [None], name="words")
        pairs = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1.0, 2.0]))
        table = tf.lookup.StaticHashTable(pairs, -1.0)
        bias = v1.get_variable("bias", initializer=[10.0], use_resource=True)
        scale = v1.get_variable("scale", initializer=[3.0], use_resource=True)
        tf.add(table.lookup(words) * scale, bias, name="y")
        tf.add(bias, 1.0, name="next")
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        freezer = tfp.Freezer(session).outputs("y", "next").keep_variables("bias")
        return freezer.freeze()


def test_a_module_sets_up_what_the_model_keeps(model):
    module = model.as_module("words", "y")
    np.testing.assert_array_equal(module(WORDS), EXPECTED)
    (bias,) = module.variables
    bias.assign([0.0])
    np.testing.assert_array_equal(module(WORDS), EXPECTED - 10)


def test_modules_share_nothing_with_each_other(model):
    first, second = model.as_module("words", "y"), model.as_module("words", "y")
    first.variables[0].assign([0.0])
    del first
    gc.collect()
    np.testing.assert_array_equal(second(WORDS), EXPECTED)


def test_only_what_the_outputs_need_is_set_up(model):
    module = model.as_module([], "next")
    assert float(module()[0]) == 11
    assert [type(each).__name__ for each in module.state] == ["ResourceVariable"]


def test_state_is_saved_with_the_module(model, tmp_path):
    module = model.as_module("words", "y")
    module.variables[0].assign([20.0])
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_array_equal(loaded(tf.constant(WORDS)), EXPECTED + 10)


def test_a_graph_sets_up_each_part_with_its_tables(model):
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        v1.get_variable("bias", initializer=[-1.0])
        parts = [
            model.import_into(inputs={"words": WORDS}, outputs=["y"], prefix=prefix)["y:0"]
            for prefix in ("one", "two")
        ]
        session.run(v1.tables_initializer())
        handles = [op for op in graph.get_operations() if op.type == "VarHandleOp"]
        assert len({op.get_attr("shared_name") for op in handles}) == 3
        for found in session.run(parts):
            np.testing.assert_array_equal(found, EXPECTED)
        assert model.import_into(inputs={"y": EXPECTED}, outputs=["y"])
    assert len(graph.get_collection(v1.GraphKeys.TABLE_INITIALIZERS)) == 2


def test_a_function_has_state_from_a_module_alone(model):
    @tf.function(autograph=False)
    def refused():
        return model.import_into(outputs=["next"])["next:0"]

    with pytest.raises(GraphError, match=r"node bias \(VarHandleOp\): .*as_module"):
        refused()
    module = model.as_module([], "next")
    assert float(tf.function(module)()[0]) == 11


def test_references_of_tensorflow_1_are_refused():
    with tf.Graph().as_default(), v1.Session() as session:
        counter = v1.get_variable("counter", initializer=1.0, use_resource=False)
        tf.add(counter, 1.0, name="next")
        session.run(counter.initializer)
        model = tfp.Freezer(session).outputs("next").keep_variables("counter").freeze()
    with pytest.raises(GraphError, match=r"node counter \(VariableV2\)"):
        model.as_module([], "next")
    assert model.run("next") == 2


def test_values_that_do_not_fit_are_refused_before_tensorflow(model):
    module = model.as_module("words", "y")
    with pytest.raises(FeedError, match="words:0: a string tensor takes only strings"):
        module([1.0])
    with pytest.raises(FeedError, match="words:0: the input has the wrong data type"):
        module(tf.constant([1.0]))
    with pytest.raises(FeedError, match="words:0: the input has the wrong shape"):
        module(tf.constant("a"))
    with pytest.raises(FeedError, match="wrong number of values; expected 1: words:0, got 0"):
        module()


def test_an_unfrozen_model_has_its_state(model, tmp_path):
    saved = model.unfreeze("scale", tmp_path)
    assert {name: saved[name].tolist() for name in saved} == {"bias": [10.0], "scale": [3.0]}
    everything = model.unfreeze("*", tmp_path / "all")
    assert {"bias", "scale"} < set(everything)
    assert not any(name.startswith("tfpersist") or "/keys" in name for name in everything)
    for folder in (tmp_path, tmp_path / "all"):
        with tfp.ModelStore(folder).open_graph() as net:
            np.testing.assert_array_equal(net.run("y", {"words": WORDS}), EXPECTED)
            with net.graph.as_default():
                trained = {variable.op.name for variable in v1.trainable_variables()}
                assert "scale" in trained
                assert "bias" not in trained
                assert "bias" in {variable.op.name for variable in v1.global_variables()}
                loss = net.graph.get_tensor_by_name("y:0")
                step = v1.train.GradientDescentOptimizer(1.0).minimize(loss)
            net.session.run(step, {"words:0": WORDS})
            assert net.run("y", {"words": WORDS})[0] == 11
            tfp.ModelStore(folder / "again").save(net.session)
            assert set(tfp.Checkpoint(folder / "again")) >= {"bias", "scale"}


def test_a_reference_that_is_kept_is_unfrozen_too(tmp_path):
    with tf.Graph().as_default(), v1.Session() as session:
        counter = v1.get_variable("counter", initializer=1.0, use_resource=False)
        tf.add(counter, tf.constant(2.0, name="more"), name="next")
        session.run(counter.initializer)
        model = tfp.Freezer(session).outputs("next").keep_variables("counter").freeze()
    assert sorted(model.unfreeze("more:0", tmp_path)) == ["counter", "more"]
    with tfp.ModelStore(tmp_path).open_graph() as net:
        assert net.run("next") == 3


def test_assignments_of_the_model_read_the_variable_too(tmp_path):
    with tf.Graph().as_default(), v1.Session() as session:
        last = v1.get_variable("last", initializer=0.0, use_resource=True)
        weight = tf.constant(2.0, name="weight")
        with tf.control_dependencies([v1.assign(last, weight)]):
            tf.identity(last.read_value(), name="y")
        session.run(last.initializer)
        model = tfp.Freezer(session).outputs("y").keep_variables("last").freeze()
    model.unfreeze("weight", tmp_path)
    with tfp.ModelStore(tmp_path).open_graph() as net:
        net.session.run("weight/assign", {"weight/its_value_is_in_the_checkpoint:0": 5.0})
        assert net.run("y") == 5


@pytest.mark.parametrize("kind", ["loop", "branch", "old loop", "inside a function"])
def test_constants_that_flow_into_a_loop_are_not_unfrozen(kind, tmp_path):
    def loop(x, w):
        return tf.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, y * w), (0, x))[1]

    def branch(x, w):
        return tf.cond(x > 0, lambda: x * w, lambda: x)

    (v1.disable_control_flow_v2 if kind == "old loop" else v1.enable_control_flow_v2)()
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [], name="x")
        free = x + tf.constant(1.0, name="free")
        used = {"branch": branch, "inside a function": tf.function(loop, autograph=False)}
        result = used.get(kind, loop)(x, tf.constant(3.0, name="weight"))
        tf.add(result, free, name="y")
    v1.enable_control_flow_v2()
    model = tfp.FrozenModel(graphdef.split(graph.as_graph_def().SerializeToString()))
    with pytest.raises(UnsupportedError, match="got constant weight"):
        model.unfreeze("weight", tmp_path)
    assert "free" in model.unfreeze("free", tmp_path)
    with tfp.ModelStore(tmp_path).open_graph() as net, net.graph.as_default():
        loss = net.graph.get_tensor_by_name("y:0")
        (free,) = v1.trainable_variables()
        (slope,) = tf.gradients(loss, free)
        assert net.session.run(slope, {"x:0": 1.0}) == 1
