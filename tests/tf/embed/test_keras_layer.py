"""Frozen models as Keras 3 layers: built, trained behind and before, saved, loaded, exported."""

from __future__ import annotations

import copy
import json
import re
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import (
    CorruptionError,
    FeedError,
    RestoreError,
    RunError,
    SaveError,
    UnsafeModelError,
    UnsupportedError,
)
from tfpersist.formats import graphdef
from tfpersist.tf.embed import keras_layer

v1 = tf.compat.v1


IMAGES = np.random.default_rng(0).random((4, 8, 8, 3)).astype(np.float32)


KERNEL = np.random.default_rng(1).random((3, 3, 3, 5)).astype(np.float32)


WORDS = np.array([[b"a"], [b"b"], [b"?"]], object)


def frozen(make, **options):
    graph = tf.Graph()
    with graph.as_default():
        make()
    return tfp.FrozenModel(graphdef.split(graph.as_graph_def().SerializeToString()), **options)


@pytest.fixture(scope="module")
def features():
    """A convolution whose height and width are open, of halved size."""

    def make():
        x = v1.placeholder(tf.float32, [None, None, None, 3], name="x")
        maps = tf.nn.conv2d(x, KERNEL, 2, "SAME", name="maps")
        tf.reduce_mean(tf.nn.relu(maps), [1, 2], name="means")

    return frozen(make)


def network(features):
    keras.utils.set_random_seed(0)
    given = keras.Input((8, 8, 3))
    bright = keras.layers.Dense(3, "sigmoid", name="before")(given)
    result = keras.layers.Dense(2, name="after")(features.as_layer("x", "means")(bright))
    return keras.Model(given, result)


def same(one, other, data=IMAGES):
    np.testing.assert_allclose(
        one.predict(data, verbose=0), other.predict(data, verbose=0), rtol=1e-5
    )


def test_shapes_are_inferred_for_symbols(features):
    layer = features.as_layer("x", ["maps", "means"], name="features")
    maps, means = layer(keras.Input((8, 6, 3)))
    assert (maps.shape, means.shape) == ((None, 4, 3, 5), (None, 5))
    maps, _ = layer(keras.Input((None, 7, 3), batch_size=2))
    assert maps.shape == (2, None, 4, 5)
    assert layer.name == "features"
    assert (layer.weights, layer.built, layer.supports_jit) == ([], True, False)
    labelled = features.as_layer("x", {"m": "means"})(keras.Input((8, 8, 3)))
    assert labelled["m"].shape == (None, 5)


def test_a_layer_computes_what_the_model_does(features):
    expected = features.run("means", {"x": IMAGES})
    layer = features.as_layer("x", "means")
    for data in (IMAGES, tf.constant(IMAGES), IMAGES.astype(np.float64)):
        np.testing.assert_allclose(layer(data), expected, rtol=1e-5)
    chain = keras.Sequential([layer, keras.layers.Rescaling(2.0)])
    np.testing.assert_allclose(chain.predict(IMAGES, verbose=0), 2 * expected, rtol=1e-5)
    np.testing.assert_allclose(chain(IMAGES[:1]), 2 * expected[:1], rtol=1e-5)


def test_several_inputs_are_a_list():
    def make():
        x, y = v1.placeholder(tf.float32, [None], "x"), v1.placeholder(tf.int64, [None], "y")
        tf.add(x, tf.cast(y, tf.float32), name="sum")

    layer = frozen(make).as_layer()
    given = [keras.Input(()), keras.Input((), dtype="int64")]
    total = keras.Model(given, layer(given))
    found = total.predict([np.float32([1, 2]), np.array([3, 4])], verbose=0)
    np.testing.assert_array_equal(found, [4, 6])
    for wrong in (given[0], {"x": given[0]}, [*given, given[0]]):
        with pytest.raises(FeedError, match="expected 2: x:0, y:0, got"):
            layer(wrong)
    with pytest.raises(FeedError, match="y:0: the input has the wrong data type"):
        layer([given[0], given[0]])


def test_layers_before_and_after_are_trained(features):
    net = network(features)
    net.compile("sgd", "mse")
    old = {layer.name: layer.get_weights() for layer in net.layers}
    before = features.run("means", {"x": IMAGES})
    history = net.fit(IMAGES, np.ones((4, 2)), batch_size=3, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    for layer in net.layers:
        for was, now in zip(old[layer.name], layer.get_weights(), strict=True):
            assert (was != now).any()
    np.testing.assert_array_equal(features.run("means", {"x": IMAGES}), before)
    assert len(net.trainable_variables) == 4


def test_half_precision_is_cast(features):
    given = keras.Input((8, 8, 3))
    layer = features.as_layer("x", "means")
    half = keras.layers.Dense(3, dtype="mixed_float16")(given)
    assert layer(half).dtype == "float32"
    assert keras.Model(given, layer(half)).predict(IMAGES, verbose=0).dtype == np.float32


@pytest.mark.parametrize("kind", ["functional", "sequential", "subclass"])
def test_a_file_holds_the_graph(features, kind, tmp_path):
    if kind == "functional":
        net = network(features)
    elif kind == "sequential":
        parts = [keras.Input((8, 8, 3)), features.as_layer("x", "means"), keras.layers.Dense(2)]
        net = keras.Sequential(parts)
    else:
        net = keras.Sequential([network(features), features_behind()])
        net.build((None, 8, 8, 3))
    net.save(tmp_path / "net.keras")
    same(keras.models.load_model(tmp_path / "net.keras"), net)


def features_behind():
    def make():
        tf.negative(v1.placeholder(tf.float32, [None, None], name="x"), name="y")

    return frozen(make).as_layer("x", "y")


FRESH = """
    import os, signal
    import numpy as np
    import keras
    import tfpersist as tfp

    def load(way):
        if way == "unknown":
            try:
                keras.models.load_model("net.keras")
            except Exception as error:
                print(way, "FrozenLayer" in str(error), flush=True)
            return
        objects = tfp.FrozenModel.custom_objects()
        net = keras.models.load_model(
            "net.keras", custom_objects=objects if way == "objects" else None
        )
        assert net.layers[2].part is not None
        np.testing.assert_allclose(
            net.predict(np.load("images.npy"), verbose=0), np.load("expected.npy"), rtol=1e-5
        )
        net.compile("sgd", "mse")
        net.fit(np.load("images.npy"), np.ones((4, 2)), verbose=0)
        net.save(way + ".keras")
        print(way, True, flush=True)

    # Each child is a process to which nobody has made the layer known.
    for way in ("objects", "known", "unknown"):
        if os.fork() == 0:
            signal.alarm(200)
            load(way)
            os._exit(0)
        assert os.wait()[1] == 0, way
"""


def test_a_file_is_loaded_in_a_fresh_process(features, tmp_path, fresh):
    net = network(features)
    net.save(tmp_path / "net.keras")
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "expected.npy", net.predict(IMAGES, verbose=0))
    lines = [line for line in fresh(FRESH).splitlines() if line.endswith(("True", "False"))]
    assert lines == ["objects True", "known True", "unknown True"]
    for way in ("objects", "known"):
        assert (tmp_path / f"{way}.keras").stat().st_size > KERNEL.nbytes


def test_weights_are_saved_without_the_graph(features, tmp_path):
    net, other = network(features), network(features)
    net.save_weights(tmp_path / "net.weights.h5")
    other.load_weights(tmp_path / "net.weights.h5")
    same(other, net)
    with zipfile.ZipFile(saved(net, tmp_path)) as archive:
        (asset,) = (name for name in archive.namelist() if name.startswith("assets"))
        assert asset.endswith("frozen.pb")
        assert KERNEL.tobytes() in archive.read(asset)
        assert len(archive.read("config.json")) < 20_000


def saved(net, folder):
    net.save(folder / "net.keras")
    return folder / "net.keras"


def test_copies_share_the_graph(features):
    net = network(features)
    for other in (keras.models.clone_model(net), keras.Model.from_config(net.get_config())):
        other.set_weights(net.get_weights())
        same(other, net)
    same(copy.deepcopy(net), net)


def test_an_export_serves(features, tmp_path):
    net = network(features)
    net.predict(IMAGES, verbose=0)
    net.export(str(tmp_path / "served"))
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve(IMAGES), net.predict(IMAGES, verbose=0), rtol=1e-5)


@pytest.fixture(scope="module")
def counting():
    """A table, and a variable that is kept and counts."""
    with tf.Graph().as_default(), v1.Session() as session:
        words = v1.placeholder(tf.string, [None, 1], name="words")
        pairs = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1.0, 2.0]))
        table = tf.lookup.StaticHashTable(pairs, -1.0)
        calls = v1.get_variable("calls", initializer=10.0, use_resource=True)
        with tf.control_dependencies([calls.assign_add(1.0)]):
            tf.add(table.lookup(words), calls.read_value(), name="y")
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        return tfp.Freezer(session).outputs("y").keep_variables("calls").freeze()


def test_kept_state_is_the_layers_own(counting, tmp_path):
    given = keras.Input((1,), dtype="string")
    net = keras.Model(given, counting.as_layer("words", "y", name="counting")(given))
    words = tf.constant(WORDS)
    np.testing.assert_array_equal(net(words), [[12], [13], [10]])
    other = counting.as_layer("words", "y")
    np.testing.assert_array_equal(other(words), [[12], [13], [10]])
    assert net.trainable_variables == []
    net.save(tmp_path / "net.keras")
    net.save_weights(tmp_path / "net.weights.h5")
    np.testing.assert_array_equal(net(words), [[13], [14], [11]])
    loaded = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(loaded(words), [[13], [14], [11]])
    net.load_weights(tmp_path / "net.weights.h5")
    np.testing.assert_array_equal(net(words), [[13], [14], [11]])
    with pytest.raises(RestoreError, match=r"other variables .* expected {'0': \(\)}, got {}"):
        other.load_own_variables({})
    serve = tf.function(net.call, input_signature=[tf.TensorSpec([None, 1], tf.string, "words")])
    whole = tf.Module()
    whole.network, whole.state = net, net.layers[1].state
    tf.saved_model.save(whole, str(tmp_path / "saved"), signatures=serve)
    served = tf.saved_model.load(str(tmp_path / "saved"))
    (found,) = served.signatures["serving_default"](words).values()
    np.testing.assert_array_equal(found, [[14], [15], [12]])
    with pytest.raises(RestoreError, match=r"other variables .* expected {'0': \(\)}, got {}"):
        other.load_own_variables({})


def test_variables_are_exported_with_their_values(tmp_path):
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        scale = v1.get_variable("scale", initializer=2.0, use_resource=True)
        tf.multiply(x, scale, name="y")
        session.run(scale.initializer)
        model = tfp.Freezer(session).outputs("y").keep_variables("scale").freeze()
    given = keras.Input(())
    net = keras.Model(given, model.as_layer()(given))
    net.layers[1].state.variables[0].assign(3.0)
    net.export(str(tmp_path / "served"))
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_array_equal(served.serve(tf.constant([2.0])), [6])


def test_a_string_that_is_kept_is_not_saved(tmp_path):
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.string, [None], name="x")
        word = v1.get_variable("word", initializer="w", use_resource=True)
        tf.strings.join([x, word], name="y")
        session.run(word.initializer)
        model = tfp.Freezer(session).outputs("y").keep_variables("word").freeze()
    given = keras.Input((), dtype="string")
    net = keras.Model(given, model.as_layer()(given))
    with pytest.raises(SaveError, match="variable word"):
        net.save(tmp_path / "net.keras")


def test_a_file_of_a_stranger_is_checked(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")

    def make():
        x = v1.placeholder(tf.float32, [None, 1], name="x")
        text = tf.io.read_file(str(secret))
        tf.add(x, tf.cast(tf.strings.length(text), tf.float32), name="y")

    given = keras.Input((1,))
    net = keras.Model(given, frozen(make).as_layer("x", "y")(given))
    path = saved(net, tmp_path)
    with pytest.raises(UnsafeModelError, match="ReadFile"):
        frozen(make, policy=tfp.Policy.default()).as_layer("x", "y")
    for _ in range(2):
        with pytest.raises(Exception, match="file read: ReadFile"):
            keras.models.load_model(path)
    trusted = keras.models.load_model(path, safe_mode=False)
    np.testing.assert_array_equal(trusted.predict(np.zeros((1, 1)), verbose=0), [[6]])


def test_a_layer_without_its_graph_raises_an_error(features, tmp_path):
    layer = features.as_layer("x", "means")
    config = {**layer.get_config(), "part": "gone"}
    lone = type(layer).from_config(json.loads(json.dumps(config)))
    assert lone(keras.Input((8, 8, 3))).shape == (None, 5)
    with pytest.raises(RunError, match=r"has no graph.*\.keras"):
        lone(IMAGES)
    with pytest.raises(RunError, match="has no graph"):
        keras.Sequential([keras.Input((8, 8, 3)), lone]).save(tmp_path / "net.keras")
    with pytest.raises(CorruptionError, match="lacks the graph"):
        lone.load_assets(None)


def test_models_that_cannot_be_a_layer_are_refused():
    def make():
        x = v1.placeholder(tf.float32, name="x")
        tf.reshape(x, v1.placeholder(tf.int32, [None], name="shape"), name="y")
        tf.constant(1.0, name="z")

    model = frozen(make)
    with pytest.raises(FeedError, match="at least one input"):
        model.as_layer([], "z")
    with pytest.raises(FeedError, match="shape"):
        model.as_layer("x", "y")
    layer = model.as_layer(["x", "shape"], "y")
    assert layer([tf.zeros(6), tf.constant([2, 3])]).shape == (2, 3)
    with pytest.raises(UnsupportedError, match="y:0: Keras does not support tensors"):
        layer([keras.Input((6,)), keras.Input((), dtype="int32")])


BACKEND = """
    import sys
    if sys.argv[1] == "none":
        sys.modules["keras"] = None
    import tfpersist as tfp
    from tfpersist.formats import graphdef
    model = tfp.FrozenModel(graphdef.parse_text(
        b'node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: 1 } } }'))
    try:
        model.as_layer("x", "x")
    except tfp.UnsupportedError as error:
        print(error)
"""


def test_a_layer_needs_keras_on_tensorflow(fresh):
    assert "Keras cannot be imported" in fresh(BACKEND, "none")
    # Keras 3.3 needs JAX for that backend as well.
    refused = re.compile("got the backend numpy|Keras cannot be imported: .*jax")
    assert refused.search(fresh(BACKEND, "numpy", KERAS_BACKEND="numpy"))
    assert keras_layer.custom_objects().keys() == {"tfpersist>FrozenLayer"}
