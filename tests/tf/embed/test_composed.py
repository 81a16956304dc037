"""Frozen graphs as parts of graphs, functions, modules and layers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import FeedError, NameNotFoundError, UnsafeModelError
from tfpersist.formats import graphdef
from tfpersist.safety import Policy

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


def test_tensors_that_do_not_fit_are_refused(model):
    with tf.Graph().as_default() as graph:
        with pytest.raises(FeedError, match="rate"):
            model.import_into(graph, {"x": BATCH}, ["scaled"])
        with pytest.raises(FeedError, match="x:0: the feed has the wrong shape"):
            model.import_into(graph, {"x": BATCH[:, :2]}, ["total"])
        for bad in ([["text"] * 3], BATCH.astype(np.int32), None, tf.constant(BATCH[0])):
            with pytest.raises(FeedError, match=r"^x:0: "):
                model.import_into(graph, {"x": bad}, ["total"])
        with pytest.raises(FeedError, match=r"^x:0: the input has the wrong data type.*tf\.cast"):
            model.import_into(graph, {"x": tf.zeros([1, 3], tf.int32)}, ["total"])
        with tf.Graph().as_default():
            other = tf.zeros([1, 3])
        with pytest.raises(FeedError, match=r"^x:0: .* another graph; got zeros:0"):
            model.import_into(graph, {"x": other}, ["total"])
        with pytest.raises(NameNotFoundError, match="'x'"):
            model.import_into(graph, {"xx": BATCH}, ["total"])
        assert not [op for op in graph.get_operations() if op.type == "MatMul"]


def test_values_are_fed_to_a_part_as_to_a_run(model):
    with tf.Graph().as_default() as graph:
        for value in (BATCH.astype(np.float64), BATCH.tolist(), BATCH):
            part = model.import_into(graph, {"x": value}, ["hidden"])["hidden:0"]
            with v1.Session(graph=graph) as session:
                np.testing.assert_allclose(session.run(part), BATCH @ WEIGHTS, rtol=1e-5)


def test_an_eager_tensor_can_feed_a_graph_and_an_outer_one_a_function(model):
    eager = tf.constant(BATCH)
    with tf.Graph().as_default() as graph:
        part = model.import_into(graph, {"x": eager}, ["hidden"])["hidden:0"]
        with v1.Session(graph=graph) as session:
            np.testing.assert_allclose(session.run(part), BATCH @ WEIGHTS, rtol=1e-5)

    @tf.function
    def outer(batch):
        @tf.function
        def inner():
            return model.import_into(inputs={"x": batch}, outputs=["hidden"])["hidden:0"]

        return inner(), model.import_into(inputs={"x": eager}, outputs=["hidden"])["hidden:0"]

    for found in outer(eager):
        np.testing.assert_allclose(found, BATCH @ WEIGHTS, rtol=1e-5)


LOOPS = """
    import os, signal, sys
    import keras
    import numpy as np
    import tensorflow as tf
    import tfpersist as tfp

    keras.utils.set_random_seed(0)

    def check(way):
        for name, shape in (("lstm", (2, 5, 3)), ("loop", (2, 2))):
            model = tfp.FrozenModel.load(name + ".pb")
            given, result = model.inputs[0].name, model.outputs[-1].name
            x = np.random.default_rng(0).random(shape, np.float32)
            expected = model.run(result, {given: x})
            call = model.as_module(given, result)
            if way == "module":
                found = call(x)
            elif way == "function":
                part = lambda x: model.import_into(inputs={given: x}, outputs=[result])[result]
                found = tf.function(part)(tf.constant(x))
            else:
                step = 1e-2 * np.ones(shape, np.float32)
                with tf.GradientTape() as tape:
                    tape.watch(x := tf.constant(x))
                    total = tf.reduce_sum(call(x))
                slope = tf.reduce_sum(tape.gradient(total, x) * step)
                expected = tf.reduce_sum(call(x + step) - call(x - step)) / 2
                found = slope
            np.testing.assert_allclose(found, expected, rtol=2e-2, atol=1e-6)

    if sys.argv[1] == "make":
        net = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4), keras.layers.Dense(2)])
        tfp.Freezer(net).write("lstm.pb")

        @tf.function(input_signature=[tf.TensorSpec([2, 2], name="x")])
        def loop(x):
            def powers(i, a):
                return i + 1, tf.cond(i > 0, lambda: a @ [[1.0, 2.0], [3.0, 4.0]], lambda: 2 * a)
            return tf.while_loop(lambda i, a: i < 3, powers, [0, x])[1]

        tfp.Freezer(loop).write("loop.pb")
    else:
        # A forked child knows no function of the others: nothing has run before the fork.
        for way in ("module", "function", "gradient"):
            if os.fork() == 0:
                signal.alarm(200)
                check(way)
                print(way, flush=True)
                os._exit(0)
            assert os.wait()[1] == 0, way
"""


def test_loops_and_branches_are_known_in_a_fresh_process(fresh):
    fresh(LOOPS, "make")
    assert fresh(LOOPS, "load").split() == ["module", "function", "gradient"]


def test_functions_of_one_name_are_kept_separate():
    def calling(op):
        text = f"""
            node {{ name: "x" op: "Placeholder"
              attr {{ key: "dtype" value {{ type: DT_FLOAT }} }} }}
            node {{ name: "y" op: "same" input: "x" }}
            library {{ function {{
              signature {{ name: "same" input_arg {{ name: "a" type: DT_FLOAT }}
                output_arg {{ name: "r" type: DT_FLOAT }} }}
              node_def {{ name: "n" op: "{op}" input: "a"
                attr {{ key: "T" value {{ type: DT_FLOAT }} }} }}
              ret {{ key: "r" value: "n:y:0" }} }} }}"""
        return tfp.FrozenModel(graphdef.parse_text(text.encode()))

    models = calling("Neg"), calling("Square")
    assert [float(model.as_module("x", "y")(3.0)) for model in models] == [-3, 9]
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        parts = [model.import_into(inputs={"x": 3.0}, outputs=["y"])["y:0"] for model in models]
        assert session.run(parts) == [-3, 9]


def test_a_model_in_a_function_prints_no_warning(model, capfd, caplog):
    @tf.function
    def part(batch):
        module = model.as_module("x", "total")
        total = model.import_into(inputs={"x": batch}, outputs=["total"])["total:0"]
        return total - module(batch)

    assert float(part(tf.constant(BATCH))) == 0
    assert "AutoGraph" not in caplog.text + "".join(capfd.readouterr())


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
    saved = model.unfreeze(["wei*", "weights:0"], tmp_path / "unfrozen", step=3)
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
    with pytest.raises(NameNotFoundError, match=r"no constants are named.*'\*' for all"):
        model.unfreeze([], tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
