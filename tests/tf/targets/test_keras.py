"""Keras 3 models with their optimizers: resumed, averaged, and taken over from Keras 2."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import RestoreError, SelectionError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.matching.sides.object_graph import OBJECT_GRAPH_KEY
from tfpersist.storage import open_storage
from tfpersist.tf.targets.adapt import adapt

layers = keras.layers
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
INPUT = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)
OUTPUT = np.linspace(1, -1, 16, dtype=np.float32).reshape(8, 2)


def sequential(optimizer=None, **options):
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, name="first"),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.0),
            layers.Dense(2, name="last"),
        ],
        name="net",
    )
    if optimizer is not None:
        model.compile(getattr(keras.optimizers, optimizer)(**options), "mse")
    return model


class Custom(keras.Model):
    """A subclassed model that keeps layers in a list, which TensorFlow does not track."""

    def __init__(self):
        super().__init__()
        self.first = layers.Dense(4)
        self.blocks = [layers.Dense(4), layers.Dense(4)]
        self.heads = {"a": layers.Dense(2)}
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")
        self.offset = tf.Variable(0.5)

    def call(self, inputs):
        hidden = self.first(inputs)
        for block in self.blocks:
            hidden = block(hidden)
        return self.heads["a"](hidden) * self.scale + self.offset


def custom(optimizer=None):
    model = Custom()
    model(INPUT)
    if optimizer is not None:
        model.compile(optimizer, "mse")
    return model


def fitted(model):
    model.fit(INPUT, OUTPUT, batch_size=4, verbose=0)
    model.train_on_batch(INPUT, OUTPUT)
    return model


def values(*holders):
    return [weight.numpy().tobytes() for holder in holders for weight in holder]


def assert_equal(model, other):
    assert values(model.weights) == values(other.weights)
    assert values(model.optimizer.variables) == values(other.optimizer.variables)


def write_unaligned(target, directory, name):
    adapted = adapt(target)
    captured = adapted.capture(adapted.entries())
    graph = np.empty((), object)
    graph[()] = captured.object_graph
    items = [*captured.items, Item(OBJECT_GRAPH_KEY, payload_of(graph))]
    write_checkpoint(open_storage(directory), name, items, alignment=1)


def content(directory, name):
    return [
        (directory / f"{name}.{suffix}").read_bytes() for suffix in ("index", "data-00000-of-00001")
    ]


def test_index_and_data_are_those_of_tensorflow_byte_for_byte(tmp_path):
    model = fitted(sequential("Adam"))
    cases = {
        "model": (model, tf.train.Checkpoint(model)),
        "dict": (
            {"model": model, "optimizer": model.optimizer},
            tf.train.Checkpoint(model=model, optimizer=model.optimizer),
        ),
    }
    for name, (target, checkpoint) in cases.items():
        checkpoint.write(str(tmp_path / f"{name}-theirs"))
        write_unaligned(target, tmp_path, f"{name}-ours")
        assert content(tmp_path, f"{name}-ours") == content(tmp_path, f"{name}-theirs"), name
        checkpoint.read(str(tmp_path / f"{name}-ours")).assert_consumed()


def test_what_only_the_optimizer_leads_to_keeps_its_key_and_gets_its_attributes_too(tmp_path):
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(momentum=0.9))
    own = fitted(custom(scaled))
    checkpoint = tf.train.Checkpoint(own)
    checkpoint.write(str(tmp_path / "theirs"))
    write_unaligned(own, tmp_path, "ours")
    theirs, ours = (tf.train.load_checkpoint(str(tmp_path / name)) for name in ("theirs", "ours"))
    assert theirs.get_variable_to_shape_map() == ours.get_variable_to_shape_map()
    for key in theirs.get_variable_to_shape_map().keys() - {OBJECT_GRAPH_KEY}:
        np.testing.assert_array_equal(ours.get_tensor(key), theirs.get_tensor(key))
    checkpoint.read(str(tmp_path / "ours")).assert_consumed()


def test_training_continues_in_a_model_that_was_never_trained(tmp_path):
    model = fitted(sequential("Adam"))
    store = tfp.ModelStore(tmp_path)
    store.save(model, step=model.optimizer.iterations)
    other = sequential("Adam")
    assert not other.optimizer.built
    report = store.restore(other)
    assert not report.unexpected
    assert_equal(other, model)
    for each in (model, other):
        each.train_on_batch(INPUT, OUTPUT)
    assert values(model.trainable_weights) == values(other.trainable_weights)


def test_checkpoints_of_tensorflow_are_restored(tmp_path):
    model = fitted(sequential("Adam"))
    step = tf.Variable(5, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer, step=step)
    tf.train.CheckpointManager(checkpoint, str(tmp_path), 1).save()
    store = tfp.ModelStore(tmp_path)
    other, count = sequential("Adam"), tf.Variable(0, dtype=tf.int64)
    report = store.restore({"model": other, "optimizer": other.optimizer, "step": count})
    assert report.unexpected == (f"save_counter{VALUE}",)
    assert_equal(other, model)
    assert count.numpy() == 5
    store.restore(bare := sequential("Adam"))
    assert_equal(bare, model)
    store.restore(weights := sequential())
    assert values(weights.weights) == values(model.weights)


def test_an_optimizer_beside_the_model_finds_the_state_it_had_inside():
    model = fitted(sequential("Adam"))
    store = tfp.ModelStore("memory://test/beside")
    store.save(model)
    other, optimizer = sequential(), keras.optimizers.Adam()
    store.restore({"model": other, "optimizer": optimizer})
    assert values(other.weights, optimizer.variables) == values(
        model.weights, model.optimizer.variables
    )


def test_a_functional_model_takes_what_a_sequential_one_saved():
    model = fitted(sequential("Adam"))
    store = tfp.ModelStore("memory://test/functional")
    store.save(model)
    inputs = hidden = keras.Input((3,))
    for layer in (layers.Dense(4), layers.BatchNormalization(), layers.Dense(2)):
        hidden = layer(hidden)
    other = keras.Model(inputs, hidden)
    store.restore(other)
    assert values(other.weights) == values(model.weights)


def test_slots_follow_their_variable():
    model = fitted(sequential("Adam"))
    store = tfp.ModelStore("memory://test/order")
    store.save(model)
    other = sequential("Adam")
    other.optimizer.build(other.trainable_variables[::-1])
    store.restore(other)
    assert values(other.weights) == values(model.weights)
    assert values(other.optimizer._velocities[::-1]) == values(model.optimizer._velocities)
    frozen = sequential("Adam")
    frozen.get_layer("first").trainable = False
    frozen.optimizer.build(frozen.trainable_variables)
    store.restore(frozen)
    assert values(w for layer in frozen.layers for w in layer.weights) == values(
        w for layer in model.layers for w in layer.weights
    )
    assert values(frozen.optimizer._momentums) == values(model.optimizer._momentums[2:])


def test_layers_in_lists_and_dicts_are_not_lost(tmp_path):
    model = custom()
    theirs = tf.train.Checkpoint(model).write(str(tmp_path / "theirs"))
    store = tfp.ModelStore(tmp_path, name="ours")
    ours = store.save(model)
    assert len(ours) == len(tfp.Checkpoint(theirs)) + 6
    other = custom()
    store.restore(other)
    assert values(other.weights) == values(model.weights)
    tf.train.Checkpoint(other).read(ours.prefix).assert_existing_objects_matched()
    with pytest.raises(RestoreError) as caught:
        tfp.ModelStore(tmp_path, name="theirs").restore(other)
    assert len(caught.value.report.missing) == 6


def test_layers_in_lists_are_found_by_the_order_of_training(tmp_path):
    model = fitted(custom("adam"))
    tf.train.Checkpoint(model).write(str(tmp_path / "model.ckpt"))
    for other in (custom("adam"), custom()):
        tfp.ModelStore(tmp_path).restore(other)
        assert values(other.weights) == values(model.weights)


def test_layers_that_are_not_built_are_named():
    store = tfp.ModelStore("memory://test/unbuilt")
    store.save(fitted(sequential("Adam")))
    later = keras.Sequential([layers.Dense(4), layers.BatchNormalization(), layers.Dense(2)])
    with pytest.raises(RestoreError, match=r"Sequential.*not built yet.*Build the model first"):
        store.restore(later)
    later.build((None, 3))
    store.restore(later)
    with pytest.raises(RestoreError, match=r"Adam 'optimizer'.*optimizer\.build"):
        store.restore({"optimizer": keras.optimizers.Adam()})


def test_another_optimizer_does_not_fit_and_nothing_is_assigned():
    store = tfp.ModelStore("memory://test/optimizer")
    model = fitted(sequential("Adam"))
    store.save(model)
    other = sequential("Adagrad")
    before = values(other.weights)
    with pytest.raises(RestoreError) as caught:
        store.restore(other)
    assert len(caught.value.report.missing) == 6
    assert not caught.value.report.mismatched
    assert values(other.weights) == before
    store.only(other.weights).restore(other)
    assert values(other.weights) == values(model.weights)


def test_some_weights_by_variable_name_and_path():
    model = fitted(sequential("Adam"))
    store = tfp.ModelStore("memory://test/some")
    store.save(model)
    kernel = model.get_layer("first").kernel
    for choice in ([0], ["net/first/kernel"], ["net/*/kernel"], ["*/_operations/1/_kernel"]):
        other = sequential("Adam")
        own = other.get_layer("first").kernel
        before = other.get_layer("first").bias.numpy()
        store.only([own] if choice == [0] else choice).restore(other)
        assert values([own]) == values([kernel])
        np.testing.assert_array_equal(other.get_layer("first").bias, before)


def test_averages_of_the_optimizer_go_into_the_weights():
    model = fitted(sequential("Adam", use_ema=True, ema_momentum=0.5))
    averages = [each.numpy() for each in model.optimizer._model_variables_moving_average]
    assert any(
        (a != v.numpy()).any() for a, v in zip(averages, model.trainable_weights, strict=True)
    )
    store = tfp.ModelStore("memory://test/ema")
    store.save(model)
    other = sequential("Adam", use_ema=True)
    store.restore(other)
    assert_equal(other, model)
    cases = (
        (trained := sequential("Adam", use_ema=True), trained.optimizer),
        (sequential(), "average"),
        (sequential(), keras.optimizers.Adam(use_ema=True)),
        (both := sequential("Adam", use_ema=True), both),
    )
    for target, chosen in cases:
        report = store.averages(chosen).restore(target)
        assert report.averaged == tuple(each.path for each in target.trainable_weights)
        assert set(report.raw) >= {each.path for each in target.non_trainable_weights}
        for weight, average in zip(target.trainable_weights, averages, strict=True):
            np.testing.assert_array_equal(weight, average)
        assert values(target.non_trainable_weights) == values(model.non_trainable_weights)
    with pytest.raises(SelectionError, match="use_ema"):
        store.averages(keras.optimizers.Adam()).restore(sequential())


def test_a_name_based_checkpoint_is_restored_into_a_model_by_name(tmp_path):
    graph = tf.Graph()
    v1 = tf.compat.v1
    with graph.as_default(), v1.Session() as session:
        random = v1.random_normal_initializer()
        for name, shape in {
            "scope/first/kernel": [3, 4],
            "scope/first/bias": [4],
            "scope/last/kernel": [4, 2],
            "scope/last/bias": [2],
        }.items():
            v1.get_variable(name, shape, initializer=random)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "model.ckpt"), write_meta_graph=False)
        wanted = session.run(v1.global_variables())
    store = tfp.ModelStore(tmp_path)
    dense = [layers.Dense(4, name="first"), layers.Dense(2, name="last")]
    model = keras.Sequential([keras.Input((3,)), *dense], name="other")
    store.restore(model)
    assert values(model.weights) == [each.tobytes() for each in wanted]
    with pytest.raises(RestoreError) as caught:
        store.restore(sequential())
    assert caught.value.report.missing == tuple(
        f"net/norm/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")
    )


def test_the_models_own_files_are_unaffected(tmp_path):
    model = fitted(sequential("Adam"))
    store = tfp.ModelStore(tmp_path / "store")
    store.save(model)
    store.restore(model)
    model.save_weights(tmp_path / "w.weights.h5")
    model.save(tmp_path / "m.keras")
    other = sequential("Adam")
    other.load_weights(tmp_path / "w.weights.h5")
    assert values(other.weights) == values(model.weights)
    assert_equal(keras.models.load_model(tmp_path / "m.keras"), model)


def convolutional(kind="sequential", side=8, filters=4, classes=5):
    parts = [
        layers.Conv2D(filters, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.Flatten(),
        layers.Dense(classes, activation="softmax"),
    ]
    if kind == "sequential":
        return keras.Sequential([keras.Input((side, side, 1)), *parts])
    inputs = hidden = keras.Input((side, side, 1))
    for part in parts:
        hidden = part(hidden)
    return keras.Model(inputs, hidden)


@pytest.fixture
def weights_of_keras_2(keras_2):
    """Return the folder, its golden values, and the sizes of the convolutional model there."""
    golden = np.load(keras_2 / "golden.npz")
    side, classes = golden["conv_in"].shape[1], golden["conv_out"].shape[1]
    return keras_2, golden, {"side": side, "filters": side // 2, "classes": classes}


@pytest.mark.parametrize("kind", ["sequential", "functional"])
def test_weights_of_keras_2_compute_the_same_output(weights_of_keras_2, kind):
    folder, golden, sizes = weights_of_keras_2
    model = convolutional(kind, **sizes)
    report = tfp.ModelStore(folder / "keras_weights").restore(model)
    found = model(golden["conv_in"], training=False)
    np.testing.assert_allclose(found, golden["conv_out"], atol=1e-6)
    assert all("optimizer" in key for key in report.unexpected)
    assert report.renamed[f"layer_with_weights-0/kernel{VALUE}"].endswith("/kernel")


def test_a_recurrent_model_of_keras_2_computes_the_same_output(weights_of_keras_2):
    folder, golden, _ = weights_of_keras_2
    length = golden["lstm_in"].shape[1]
    words, width, units = {4: (5, 2, 3), 7: (20, 6, 8)}[length]
    parts = [layers.Embedding(words, width), layers.LSTM(units), layers.Dense(2)]
    model = keras.Sequential([keras.Input((length,)), *parts])
    assert not tfp.ModelStore(folder / "lstm_weights").restore(model).unexpected
    np.testing.assert_allclose(model(golden["lstm_in"]), golden["lstm_out"], atol=1e-6)


def test_a_manager_of_keras_2_is_resumed_with_its_optimizer(weights_of_keras_2):
    folder, golden, sizes = weights_of_keras_2
    model, step = convolutional(**sizes), tf.Variable(0, dtype=tf.int64)
    model.compile("adam", "mse")
    store = tfp.ModelStore(folder / "mgr")
    report = store.restore({"model": model, "optimizer": model.optimizer, "step": step})
    assert report.unexpected == (
        *(f"optimizer/{name}{VALUE}" for name in ("beta_1", "beta_2", "decay")),
        f"save_counter{VALUE}",
    )
    assert (step.numpy(), model.optimizer.iterations.numpy()) == (7, 2)
    found = model(golden["conv_in"], training=False)
    np.testing.assert_allclose(found, golden["conv_out"], atol=1e-6)
    saved = tfp.Checkpoint(folder / "mgr")
    for name, mine in (("m", model.optimizer._momentums), ("v", model.optimizer._velocities)):
        for place, index in (("layer_with_weights-0/kernel", 0), ("layer_with_weights-2/bias", 5)):
            key = f"model/{place}/.OPTIMIZER_SLOT/optimizer/{name}{VALUE}"
            np.testing.assert_array_equal(mine[index], saved[key])
    store.restore(bare := convolutional(**sizes))
    assert values(bare.weights) == values(model.weights)
    wrong = convolutional(**sizes)
    wrong.add(layers.Dense(2))
    with pytest.raises(RestoreError):
        store.restore(wrong)


def test_a_checkpoint_of_slim_goes_into_layers_of_the_same_names(golden):
    values, store = np.load(golden / "1.4.1/slim.npz"), tfp.ModelStore(golden / "1.4.1/slim")
    parts = [
        layers.Conv2D(2, 3, strides=2, padding="same", use_bias=False, name="conv1"),
        layers.BatchNormalization(scale=False, name="BatchNorm"),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(3, activation="softmax", name="logits"),
    ]
    model = keras.Sequential([keras.Input((4, 4, 1)), *parts])
    assert len(store.restore(model).restored) == 6
    found = model(values["input"], training=False)
    np.testing.assert_allclose(found, values["predictions"], atol=1e-6)


def test_a_checkpoint_of_tensorflow_1_gets_a_suggestion():
    store = tfp.ModelStore("memory://keras/suggestion")
    values = {
        f"layer{at}/{name}": np.full(shape, at, np.float32)
        for at in range(9, 12)
        for name, shape in (("weights", (3, 3)), ("biases", (3,)))
    }
    store.save(values)
    model = keras.Sequential([keras.Input((3,)), *(layers.Dense(3) for _ in range(3))])
    with pytest.raises(RestoreError, match=r"(?s)6 of the 6 missing.*\.rename") as caught:
        store.restore(model)
    assert store.rename(caught.value.report.suggestion).restore(model).fits
    for at, layer in zip(range(9, 12), model.layers, strict=True):
        np.testing.assert_array_equal(layer.kernel, values[f"layer{at}/weights"])
        np.testing.assert_array_equal(layer.bias, values[f"layer{at}/biases"])


class Table(keras.Model):
    """A model that holds its layers by the keys of a dict."""

    def __init__(self, **names):
        super().__init__()
        self.table = {key: layers.Dense(3, name=name) for key, name in names.items()}

    def call(self, inputs):
        for part in self.table.values():
            inputs = part(inputs)
        return inputs


def test_names_of_layers_in_dicts_are_found_under_other_keys(tmp_path):
    model, other = Table(a="up", b="down"), Table(c="down", d="up")
    for one in (model, other):
        one(INPUT)
    store = tfp.ModelStore(tmp_path)
    store.save(model)
    store.restore(other)
    assert values(other.table["c"].weights) == values(model.table["b"].weights)
    assert values(other.table["d"].weights) == values(model.table["a"].weights)


@pytest.mark.parametrize("called", ["beta", "gamma"])
def test_the_name_of_a_group_may_be_that_of_a_tensor(called, tmp_path):
    def group(name):
        inputs = keras.Input((3,))
        return keras.Model(inputs, layers.LayerNormalization(name="norm")(inputs), name=name)

    def stack(*parts):
        inputs = value = keras.Input((3,))
        # Where all layers have one name, it could be that of the model.
        for part in (*parts, layers.Dense(2, name="head")):
            value = part(value)
        return keras.Model(inputs, value)

    model = stack(group("tower"), group(called))
    other = stack(layers.LayerNormalization(name="norm"), group(called))
    groups = [side.get_layer(called).get_layer("norm") for side in (model, other)]
    for at, one in enumerate(model.weights, 1):
        one.assign(one + at)
    store = tfp.ModelStore(tmp_path)
    store.save(model)
    store.restore(other, missing="skip")
    assert values(groups[1].weights) == values(groups[0].weights)
    assert values(other.get_layer("norm").weights) != values(groups[0].weights)


def test_an_optimizer_of_frozen_layers_needs_no_variables(tmp_path):
    def model(*names):
        made = keras.Sequential(
            [keras.Input((3,)), *(layers.Dense(3, name=name) for name in names)]
        )
        made.get_layer("last").trainable = False
        made.compile("adam", "mse")
        return made

    saved, other = model("first", "last"), model("last")
    saved.optimizer.build(saved.trainable_variables)
    store = tfp.ModelStore(tmp_path)
    store.save(saved)
    store.restore(other)
    assert values(other.weights) == values(saved.get_layer("last").weights)


def test_an_optimizer_that_is_not_built_may_lack_its_numbers(tmp_path):
    """Weights alone go into a model that is compiled and was not trained yet."""

    def network():
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), keras.layers.Dense(1)])

    plain, model = network(), network()
    store = tfp.ModelStore(tmp_path)
    store.save(plain)
    model.compile("adam", "mse")
    report = store.restore(model, missing="skip")
    assert len(report.restored) == 4
    assert not model.optimizer.built
    assert np.array_equal(model.layers[0].kernel, plain.layers[0].kernel)
    model.fit(np.ones((4, 2)), np.ones(4), verbose=0)
    assert int(model.optimizer.iterations) == 1
