"""Frozen graphs as parts of graphs, functions, modules and layers."""

from __future__ import annotations

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.errors import FeedError, NameNotFoundError, UnsafeModelError
from tfpersist.formats import graphdef
from tfpersist.safety import Policy

tf = pytest.importorskip("tensorflow")
v1 = tf.compat.v1

WEIGHTS = np.random.default_rng(0).random((3, 400)).astype(np.float32)
BATCH = np.float32([[1, 2, 3], [4, 5, 6]])


@pytest.fixture(scope="module")
def model():
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [None, 3], name="x")
        rate = v1.placeholder(tf.float32, [], name="rate")
        hidden = tf.matmul(x, tf.constant(WEIGHTS, name="weights"), name="hidden")
        with tf.control_dependencies([x]):
            tf.multiply(hidden, rate, name="scaled")
        tf.split(x, 3, axis=1, name="columns")
        tf.reduce_sum(hidden, name="total")
    return tfp.FrozenModel(graphdef.split(graph.as_graph_def().SerializeToString()))


def test_a_model_is_a_part_of_a_graph(model):
    with tf.Graph().as_default() as graph:
        mine = v1.placeholder(tf.float32, [None, 3], name="x")
    parts = model.import_into(graph, {"x": mine, model["rate"]: 2.0}, ["scaled:0", "columns:2"])
    assert list(parts) == ["scaled:0", "columns:2"]
    assert parts["scaled:0"].op.name == "frozen/scaled"
    again = model.import_into(graph, {"x:0": mine}, ["total"], prefix="other/model")
    assert again["total:0"].op.name == "other/model/total"
    assert {op.type for op in graph.get_operations()} & {"Placeholder"} == {"Placeholder"}
    assert sum(op.type == "Placeholder" for op in graph.get_operations()) == 1
    with v1.Session(graph=graph) as session:
        scaled, column, total = session.run(
            [parts["scaled:0"], parts["columns:2"], again["total:0"]], {mine: BATCH}
        )
    np.testing.assert_allclose(scaled, BATCH @ WEIGHTS * 2, rtol=1e-5)
    np.testing.assert_array_equal(column, BATCH[:, 2:])
    np.testing.assert_allclose(total, (BATCH @ WEIGHTS).sum(), rtol=1e-5)


def test_inner_tensors_are_replaced_and_inputs_are_passed_through(model):
    with tf.Graph().as_default() as graph:
        parts = model.import_into(
            graph, {"hidden": tf.ones([1, 400]), "rate": 3.0, "x": BATCH}, ["scaled", "rate"]
        )
        assert not [op for op in graph.get_operations() if op.type in ("Placeholder", "MatMul")]
    with v1.Session(graph=graph) as session:
        scaled, rate = session.run(list(parts.values()))
    assert (scaled == 3).all()
    assert rate == 3


def test_a_model_is_a_part_of_a_function(model):
    @tf.function
    def doubled(batch):
        return 2 * model.import_into(inputs={"x": batch}, outputs=["hidden"])["hidden:0"]

    np.testing.assert_allclose(doubled(tf.constant(BATCH)), BATCH @ WEIGHTS * 2, rtol=1e-5)


def test_a_module_is_differentiated(model):
    module = model.as_module("x", "total")

    @tf.function
    def gradient(batch):
        with tf.GradientTape() as tape:
            tape.watch(batch)
            total = module(batch)
        return tape.gradient(total, batch)

    found = gradient(tf.constant(BATCH)).numpy()
    np.testing.assert_allclose(found, np.tile(WEIGHTS.sum(1), (2, 1)), rtol=1e-4)


def test_what_does_not_fit_is_refused(model):
    with tf.Graph().as_default() as graph:
        with pytest.raises(FeedError, match="rate"):
            model.import_into(graph, {"x": BATCH}, ["scaled"])
        with pytest.raises(FeedError, match="x:0: an input of another shape"):
            model.import_into(graph, {"x": BATCH[:, :2]}, ["total"])
        with pytest.raises(FeedError):
            model.import_into(graph, {"x": [["text"] * 3]}, ["total"])
        with pytest.raises(NameNotFoundError, match="'x'"):
            model.import_into(graph, {"xx": BATCH}, ["total"])
        assert not [op for op in graph.get_operations() if op.type == "MatMul"]


def test_a_policy_holds_for_parts_too():
    graph = tf.Graph()
    with graph.as_default():
        tf.io.read_file("/etc/hostname", name="leak")
    proto = graphdef.split(graph.as_graph_def().SerializeToString())
    unsafe = tfp.FrozenModel(proto, policy=Policy.default())
    for use in (
        lambda: unsafe.import_into(tf.Graph()),
        unsafe.as_module,
        lambda: unsafe.bind((), "leak"),
    ):
        with pytest.raises(UnsafeModelError, match="leak"):
            use()


def test_a_module_is_called_saved_and_loaded(model, tmp_path):
    module = model.as_module("x", ("total", "hidden"))
    total, hidden = module(BATCH)
    np.testing.assert_allclose(hidden, BATCH @ WEIGHTS, rtol=1e-5)
    np.testing.assert_allclose(total, hidden.numpy().sum(), rtol=1e-5)
    assert module.variables == ()
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_array_equal(loaded(BATCH)[1], hidden)


def test_a_module_is_a_layer(model):
    import keras

    given = keras.Input((3,))
    layer = keras.layers.Lambda(model.as_module("x", "hidden"), output_shape=(400,))
    network = keras.Model(given, keras.layers.Dense(2)(layer(given)))
    assert network.predict(BATCH, verbose=0).shape == (2, 2)


def test_chosen_constants_become_variables_that_are_trained_and_frozen_again(model, tmp_path):
    saved = model.unfreeze(["wei*"], tmp_path / "unfrozen", step=3)
    assert saved.step == 3
    np.testing.assert_array_equal(saved["weights"], WEIGHTS)
    store = tfp.ModelStore(tmp_path / "unfrozen")
    with store.open_graph() as net:
        feeds = {"x": BATCH}
        np.testing.assert_array_equal(net.run("hidden", feeds), model.run("hidden", feeds))
        with net.graph.as_default():
            (variable,) = v1.trainable_variables()
            assert variable.name == "weights:0"
            loss = net.graph.get_tensor_by_name("total:0")
            optimizer = v1.train.GradientDescentOptimizer(0.5)
            train = optimizer.minimize(loss)
        with pytest.raises(tf.errors.InvalidArgumentError, match="its_value_is_in_the_checkpoint"):
            net.session.run(variable.initializer)
        net.session.run(train, {"x:0": BATCH})
        trained = net.session.run(variable)
        assert abs(trained - WEIGHTS).min() > 1
        store.save(net.session, step=4)
    frozen = tfp.Freezer(tmp_path / "unfrozen").outputs("hidden").freeze()
    np.testing.assert_allclose(frozen.run("hidden", {"x": BATCH}), BATCH @ trained, rtol=1e-5)


def test_a_wrong_name_unfreezes_nothing(model, tmp_path):
    with pytest.raises(NameNotFoundError, match="'weights'"):
        model.unfreeze(["weigths"], tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
