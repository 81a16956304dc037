"""Checkpoints of one model into an edited one, another Keras, another optimizer.

The checkpoints are written by TensorFlow, Keras and tf-keras themselves, or by tfpersist. A layer
of an edited model must get its own values, or keep those that it has.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfpersist as tfp

v1 = tf.compat.v1


# --- named layers that move, come and go ---------------------------------------------------------


def chain(*names, units=4):
    """Dense layers of one shape in a row."""
    inputs = x = keras.Input((units,))
    for name in names:
        x = keras.layers.Dense(units, name=name)(x)
    return keras.Model(inputs, x)


def write(model, folder, writer):
    if writer == "tfpersist":
        tfp.ModelStore(folder).save(model)
    else:
        tf.train.Checkpoint(model).write(str(folder / "model.ckpt"))


def kernels(model, *names):
    return [np.asarray(model.get_layer(name).kernel) for name in names]


@pytest.mark.parametrize("writer", ["tfpersist", "tensorflow"])
@pytest.mark.parametrize(
    ("new", "restored"),
    [("ba", "ab"), ("xab", "ab"), ("axb", "ab"), ("b", "b"), ("bxa", "ab"), ("a", "a")],
)
def test_named_layers_get_their_own_values(tmp_path, writer, new, restored):
    saved, model = chain("a", "b"), chain(*new)
    write(saved, tmp_path, writer)
    before = [np.array(kernel) for kernel in kernels(model, *new)]
    tfp.ModelStore(tmp_path).restore(model, missing="skip")
    np.testing.assert_array_equal(kernels(model, *restored), kernels(saved, *restored))
    for name, kernel in zip(new, before, strict=True):
        if name not in restored:
            np.testing.assert_array_equal(kernels(model, name)[0], kernel)


def test_automatic_names_are_no_names(tmp_path):
    saved = chain(None, None)
    tfp.ModelStore(tmp_path).save(saved)
    chain(None)
    model = chain(None, None)
    tfp.ModelStore(tmp_path).restore(model)
    for one, other in zip(saved.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_automatic_layer_more_is_a_choice_that_nobody_makes(tmp_path):
    tfp.ModelStore(tmp_path).save(chain(None, None))
    model = chain(None, None, None)
    before = [np.array(weight) for weight in model.weights]
    with pytest.raises(tfp.RestoreError, match="nothing tells which") as caught:
        tfp.ModelStore(tmp_path).restore(model, missing="skip")
    assert not caught.value.report.suggestion
    for one, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(one, weight)


def test_a_layer_is_restored_as_a_whole_or_not_at_all(tmp_path):
    tfp.ModelStore(tmp_path).save(chain("a", "b"))
    inputs = keras.Input((7,))
    x = keras.layers.Dense(4, name="a")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(4, name="b")(x))
    bias = np.array(model.get_layer("a").bias.assign([1.0, 2.0, 3.0, 4.0]))
    report = tfp.ModelStore(tmp_path).restore(model, mismatched="skip")
    assert set(report.kept) == {"a/kernel", "a/bias"}
    np.testing.assert_array_equal(model.get_layer("a").bias, bias)


# --- optimizers ----------------------------------------------------------------------------------

X = np.random.default_rng(0).random((32, 4)).astype(np.float32)


def trained(library, optimizer, *, steps=0):
    layers = [library.layers.Dense(4, use_bias=False) for _ in range(3)]
    model = library.Sequential([library.layers.Input((4,)), *layers])
    model.compile(optimizer, "mse")
    if steps:
        model.fit(X, X[:, ::-1], epochs=steps, batch_size=8, shuffle=False, verbose=0)
    return model


OPTIMIZERS = [
    ("Adam", {}),
    ("AdamW", {}),
    ("SGD", {"momentum": 0.9}),
    ("RMSprop", {"momentum": 0.5}),
]


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS)
def test_a_training_of_tf_keras_continues_in_keras_3(tmp_path, kind, options, built):
    old = trained(tf_keras, getattr(tf_keras.optimizers, kind)(0.01, **options), steps=3)
    old.save_weights(str(tmp_path / "model.ckpt"))
    new = trained(keras, getattr(keras.optimizers, kind)(0.01, **options))
    if built:
        new.optimizer.build(new.trainable_variables)
    assert tfp.ModelStore(tmp_path).restore(new).fits
    assert int(new.optimizer.iterations) == int(old.optimizer.iterations) == 12
    for _ in range(3):
        old.train_on_batch(X[:8], X[:8])
        new.train_on_batch(X[:8], X[:8])
    # Both compute in float32, in another order.
    for one, other in zip(old.get_weights(), new.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("wrapped_before", [True, False])
def test_the_scale_of_a_loss_comes_and_goes(tmp_path, wrapped_before):
    def optimizer(is_wrapped):
        adam = keras.optimizers.Adam(0.01)
        return keras.optimizers.LossScaleOptimizer(adam) if is_wrapped else adam

    old = trained(keras, optimizer(wrapped_before), steps=1)
    tfp.ModelStore(tmp_path).save(old)
    new = trained(keras, optimizer(not wrapped_before))
    tfp.ModelStore(tmp_path).restore(new, missing="skip")
    mine, theirs = (getattr(m.optimizer, "inner_optimizer", m.optimizer) for m in (new, old))
    assert float(mine.learning_rate) == pytest.approx(0.01)
    for one, other in zip(mine._momentums, theirs._momentums, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_alone_leave_an_optimizer_that_has_not_trained_as_it_is(tmp_path):
    tfp.ModelStore(tmp_path).save(trained(keras, "sgd"))
    tf.train.Checkpoint(chain("a")).write(str(tmp_path / "weights.ckpt"))
    model = chain("a")
    model.compile(keras.optimizers.Adam(), "mse")
    report = tfp.ModelStore(tmp_path, name="weights.ckpt").restore(model)
    assert {name.split("/")[-1] for name in report.kept} == {"iteration", "learning_rate"}


def test_layers_that_are_trained_later_have_fresh_slots(tmp_path):
    def model(*, frozen):
        made = chain("a", "b")
        made.get_layer("a").trainable = not frozen
        made.compile("adam", "mse")
        return made

    old, new = model(frozen=True), model(frozen=False)
    old.fit(X, X, verbose=0)
    tfp.ModelStore(tmp_path).save(old)
    report = tfp.ModelStore(tmp_path).restore(new, missing="skip")
    assert len(report.kept) == 4
    new.fit(X, X, verbose=0)


# --- SavedModels, and other eras -----------------------------------------------------------------


def series(library, kind):
    layers = library.layers
    x = inputs = layers.Input((4, 2))
    if kind == "bidirectional":
        x = layers.Bidirectional(layers.LSTM(3))(x)
    elif kind == "stacked":
        x = layers.RNN(layers.StackedRNNCells([layers.LSTMCell(3), layers.LSTMCell(3)]))(x)
    elif kind == "attention":
        x = layers.MultiHeadAttention(2, 3)(x, x)
    elif kind == "distributed":
        x = layers.TimeDistributed(layers.Dense(3))(x)
    else:
        x = getattr(layers, kind)(3)(x)
    return library.Model(inputs, layers.Dense(2)(x))


@pytest.mark.parametrize(
    "kind", ["LSTM", "GRU", "bidirectional", "stacked", "attention", "distributed"]
)
def test_a_saved_model_of_tf_keras_goes_into_keras_3(tmp_path, kind):
    old, new = series(tf_keras, kind), series(keras, kind)
    old.save(str(tmp_path / "sm"), save_format="tf")
    assert tfp.ModelStore(tmp_path / "sm").restore(new).fits
    x = np.random.default_rng(1).random((2, 4, 2)).astype(np.float32)
    # The layers of both compute in float32, in another order.
    np.testing.assert_allclose(old(x), new(x), atol=1e-5)


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a"), (None, None)])
def test_an_export_goes_back_into_its_model(tmp_path, names):
    saved = chain("a", "b") if names[0] else chain(None, None)
    saved.export(str(tmp_path / "export"), verbose=False)
    model = chain(*names)
    assert tfp.ModelStore(tmp_path / "export").restore(model).fits
    if names[0]:
        np.testing.assert_array_equal(kernels(model, "a", "b"), kernels(saved, "a", "b"))
    else:
        for one, other in zip(saved.weights, model.weights, strict=True):
            np.testing.assert_array_equal(one, other)


def test_one_kind_of_layer_that_was_renamed_costs_no_other(tmp_path):
    def model(library):
        layers = library.layers
        return library.Sequential(
            [
                layers.Input((8, 8, 2)),
                layers.Conv2D(2, 3),
                layers.DepthwiseConv2D(3),
                layers.SeparableConv2D(2, 2),
            ]
        )

    old, new = model(tf_keras), model(keras)
    old.save_weights(str(tmp_path / "model.ckpt"))
    assert tfp.ModelStore(tmp_path).restore(new).fits
    x = np.random.default_rng(2).random((2, 8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(old(x), new(x), atol=1e-5)


@pytest.mark.parametrize("has_meta", [True, False])
def test_the_graph_beside_a_checkpoint_tells_the_order(tmp_path, has_meta):
    names = ("stem", "body", "end")
    with tf.Graph().as_default(), v1.Session() as session:
        for name in names:
            with v1.variable_scope(name):
                v1.get_variable("weights", [4, 4])
                v1.get_variable("biases", [4])
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "model.ckpt"), write_meta_graph=has_meta)
        values = session.run([v for v in v1.global_variables() if "weights" in v.name])
    model = chain(None, None, None)
    report = tfp.ModelStore(tmp_path).restore(model, dry_run=True)
    if not has_meta:
        assert not report.suggestion
        assert "nothing tells which" in report.advice
        return
    tfp.ModelStore(tmp_path).rename(report.suggestion).restore(model)
    for value, layer in zip(values, model.layers[1:], strict=True):
        np.testing.assert_array_equal(value, layer.kernel)


# --- layers in lists, which TensorFlow's object graph holds by their positions alone -------------


class Blocks(keras.Model):
    """Dense layers in a list, called in its order."""

    def __init__(self, names, held="blocks"):
        super().__init__()
        layers = [keras.layers.Dense(4, name=name) for name in names]
        setattr(self, held, layers)
        self.find = {layer.name: layer for layer in layers}.get
        self.names = tuple(names)

    def call(self, x):
        for name in self.names:
            x = self.find(name)(x)
        return x


def blocks(*names, **more):
    model = Blocks(names, **more)
    model(np.zeros((1, 4), np.float32))
    return model


def assert_equal_by_name(model, saved, names=None):
    for name in names or model.names:
        np.testing.assert_array_equal(model.find(name).kernel, saved.find(name).kernel)
        np.testing.assert_array_equal(model.find(name).bias, saved.find(name).bias)


@pytest.mark.parametrize(
    "names", [("up_3", "up_2", "up_1"), ("stem", "body"), ("stage_5", "stage_6")]
)
def test_the_same_model_needs_no_help_whatever_the_names_count(tmp_path, names):
    saved, model = blocks(*names), blocks(*names)
    tfp.ModelStore(tmp_path).save(saved)
    assert tfp.ModelStore(tmp_path).restore(model).fits
    for one, other in zip(saved.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "names",
    [
        ("layer_2", "layer_0", "layer_1"),
        ("layer_0", "layer_2"),
        ("layer_1",),
    ],
)
def test_names_in_the_sidecar_decide_over_positions(tmp_path, names):
    saved, model = blocks("layer_0", "layer_1", "layer_2"), blocks(*names)
    tfp.ModelStore(tmp_path).save(saved)
    tfp.ModelStore(tmp_path).restore(model)
    assert_equal_by_name(model, saved)


def test_a_new_layer_in_the_middle_is_left_alone(tmp_path):
    saved, model = blocks("a", "b"), blocks("a", "adapter", "b")
    before = np.array(model.find("adapter").kernel)
    tfp.ModelStore(tmp_path).save(saved)
    with pytest.raises(tfp.RestoreError):
        tfp.ModelStore(tmp_path).restore(model)
    report = tfp.ModelStore(tmp_path).restore(model, missing="skip")
    assert len(report.kept) == 2
    assert_equal_by_name(model, saved, ("a", "b"))
    np.testing.assert_array_equal(model.find("adapter").kernel, before)


def test_without_the_sidecar_a_position_that_names_contradict_is_refused(tmp_path):
    saved, model = blocks("layer_0", "layer_1", "layer_2"), blocks("layer_2", "layer_0", "layer_1")
    tfp.ModelStore(tmp_path).save(saved)
    for sidecar in tmp_path.glob("*.tfpersist.json"):
        sidecar.unlink()
    before = [np.array(weight) for weight in model.weights]
    with pytest.raises(tfp.RestoreError, match="nothing tells which") as caught:
        tfp.ModelStore(tmp_path).restore(model)
    assert not caught.value.report.suggestion
    for one, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(one, weight)


def test_a_private_list_is_saved_and_restored(tmp_path):
    saved, model = blocks("a", "b", held="_hidden"), blocks("a", "b", held="_hidden")
    tfp.ModelStore(tmp_path).save(saved)
    tfp.ModelStore(tmp_path).restore(model)
    assert_equal_by_name(model, saved)


# --- models in a model ----------------------------------------------------------------------------


def two_encoders(first, second):
    """Two encoders of one architecture, one after the other; only their names differ."""

    def encoder(name):
        inner = x = keras.Input((4,))
        for layer in ("one", "two"):
            x = keras.layers.Dense(4, name=layer)(x)
        return keras.Model(inner, x, name=name)

    inputs = x = keras.Input((4,))
    for name in (first, second):
        x = encoder(name)(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(x))


def test_models_in_a_model_are_told_apart_by_their_names(tmp_path):
    saved, model = two_encoders("query", "key"), two_encoders("key", "query")
    tfp.ModelStore(tmp_path).save(saved)
    assert tfp.ModelStore(tmp_path).restore(model).fits
    for name in ("query", "key"):
        mine, theirs = model.get_layer(name), saved.get_layer(name)
        for one, other in zip(mine.weights, theirs.weights, strict=True):
            np.testing.assert_array_equal(one, other)


def test_one_of_two_models_is_restored_alone(tmp_path):
    saved = two_encoders("query", "key")
    tfp.ModelStore(tmp_path).save(saved)
    inputs = x = keras.Input((4,))
    inner = keras.models.clone_model(saved.get_layer("key"))
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(inner(x)))
    tfp.ModelStore(tmp_path).restore(model)
    for one, other in zip(inner.weights, saved.get_layer("key").weights, strict=True):
        np.testing.assert_array_equal(one, other)


def trained_blocks(*names):
    model = Blocks(names)
    model.compile(keras.optimizers.Adam(), "mse")
    model.fit(np.ones((4, 4), np.float32), np.zeros((4, 4), np.float32), verbose=0)
    return model


def save(writer, model, directory):
    if writer == "tfpersist":
        tfp.ModelStore(directory).save(model)
    else:
        tf.train.Checkpoint(model).write(str(directory / "model"))


@pytest.mark.parametrize("writer", ["tfpersist", "tensorflow"])
@pytest.mark.parametrize("names", [("b", "a"), ("a", "b"), ("b",)])
def test_an_optimizer_that_lists_all_variables_does_not_hide_names(tmp_path, writer, names):
    saved, model = trained_blocks("a", "b"), trained_blocks(*names)
    save(writer, saved, tmp_path)
    tfp.ModelStore(tmp_path).restore(model)
    assert_equal_by_name(model, saved)


class Stages(keras.Model):
    """Layers in lists in a list."""

    def __init__(self, *names):
        super().__init__()
        made = [keras.layers.Dense(4, name=name) for name in names]
        self.stages = [made[:2], made[2:]]
        self.find = {layer.name: layer for layer in made}.get
        self.names = names

    def call(self, x):
        for stage in self.stages:
            for layer in stage:
                x = layer(x)
        return x


def test_layers_in_lists_in_a_list_are_saved_and_found_by_their_names(tmp_path):
    saved, model = Stages("a", "b", "c"), Stages("c", "a", "b")
    for one in (saved, model):
        one(np.zeros((1, 4), np.float32))
    tfp.ModelStore(tmp_path).save(saved)
    tfp.ModelStore(tmp_path).restore(model)
    assert_equal_by_name(model, saved)


def test_positions_of_layers_without_names_say_nothing_if_one_is_gone(tmp_path):
    def some(*names):
        model = Blocks(("a", *names, "b"))
        for at, layer in enumerate(model.blocks[1:-1]):
            layer.name = f"dense_{at + 1}"
        model(np.zeros((1, 4), np.float32))
        return model

    saved, model = some("x", "y"), some("x")
    tfp.ModelStore(tmp_path).save(saved)
    before = np.array(model.find("x").kernel)
    with pytest.raises(tfp.RestoreError) as caught:
        tfp.ModelStore(tmp_path).restore(model)
    assert not caught.value.report.suggestion
    tfp.ModelStore(tmp_path).restore(model, missing="skip", mismatched="skip")
    assert_equal_by_name(model, saved, ("a", "b"))
    np.testing.assert_array_equal(model.find("x").kernel, before)


def test_an_order_of_training_in_which_something_does_not_fit_says_nothing(tmp_path):
    def net(*layers):
        model = keras.Sequential([keras.Input((4,)), *layers])
        model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
        model.fit(np.ones((4, 4), np.float32), np.zeros((4, layers[-1].units)), verbose=0)
        return model

    dense = keras.layers.Dense
    saved = net(dense(4, name="a"), dense(4), dense(4))
    model = net(dense(4, name="a"), dense(4), dense(3, name="new"))
    before = np.array(model.layers[1].kernel)
    tfp.ModelStore(tmp_path).save(saved)
    tfp.ModelStore(tmp_path).restore(model, missing="skip", mismatched="skip")
    np.testing.assert_array_equal(model.layers[0].kernel, saved.layers[0].kernel)
    np.testing.assert_array_equal(model.layers[1].kernel, before)


# --- models in a tf.train.Checkpoint, whose roles may be called otherwise -----------------------


def trained_chain(*names):
    model = chain(*names)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def test_layers_that_swapped_in_a_model_of_another_role_are_not_taken_for_each_other(tmp_path):
    saved, model = trained_chain("a", "b", "c"), trained_chain("b", "a", "c")
    tf.train.Checkpoint(net=saved, opt=saved.optimizer).write(str(tmp_path / "model"))
    target = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    store = tfp.ModelStore(tmp_path)
    with pytest.raises(tfp.RestoreError) as caught:
        store.restore(target)
    store.rename(caught.value.report.suggestion).restore(target)
    np.testing.assert_array_equal(kernels(model, "a", "b"), kernels(saved, "a", "b"))


@pytest.mark.parametrize("roles", [("net", "target"), ("online", "slow")])
def test_of_two_models_of_one_kind_only_the_role_tells_which_is_which(tmp_path, roles):
    saved = [chain("a"), chain("a")]
    models = [chain("a"), chain("a")]
    tf.train.Checkpoint(net=saved[0], target=saved[1]).write(str(tmp_path / "model"))
    target = tf.train.Checkpoint(**dict(zip(roles, models, strict=True)))
    if roles[0] != "net":
        with pytest.raises(tfp.RestoreError, match="nothing tells which") as caught:
            tfp.ModelStore(tmp_path).restore(target)
        assert not caught.value.report.suggestion
        return
    tfp.ModelStore(tmp_path).restore(target)
    for one, other in zip(models, saved, strict=True):
        np.testing.assert_array_equal(kernels(one, "a"), kernels(other, "a"))


# --- names that nobody gave ---------------------------------------------------------------------


def test_an_automatic_name_of_tensorflow_1_is_no_evidence_beside_another_number_of_layers(tmp_path):
    with tf.Graph().as_default(), v1.Session() as session:
        for name in ("dense", "dense_1"):
            v1.get_variable(f"{name}/kernel", [4, 4])
            v1.get_variable(f"{name}/bias", [4])
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "model.ckpt"), write_meta_graph=False)
    keras.backend.clear_session()
    model = chain(None, None, None)
    assert model.layers[1].name == "dense"
    with pytest.raises(tfp.RestoreError, match="nothing tells which"):
        tfp.ModelStore(tmp_path).restore(model, missing="skip")
    keras.backend.clear_session()
    assert tfp.ModelStore(tmp_path).restore(chain(None, None)).fits


class Block(keras.layers.Layer):
    """A layer around another one; Keras calls the second one `block_1` by itself."""

    def __init__(self, **more):
        super().__init__(**more)
        self.inner = keras.layers.Dense(4, name="inner")

    def call(self, x):
        return self.inner(x)


@pytest.mark.parametrize("names", [("block_1", "block_0", "block_2"), ("block_0", "block_1")])
def test_names_that_count_from_zero_are_given_though_a_class_is_called_so(tmp_path, names):
    def net(library, kind, *names):
        class Net(library.Model):
            def __init__(self):
                super().__init__()
                self.blocks = [kind(name=name) for name in names]

            def call(self, x):
                for block in self.blocks:
                    x = block(x)
                return x

        model = Net()
        model(np.zeros((1, 4), np.float32))
        return model

    old = net(tf_keras, OldBlock, "block_0", "block_1", "block_2")
    old.save_weights(str(tmp_path / "model.ckpt"))
    model = net(keras, Block, *names)
    tfp.ModelStore(tmp_path).restore(model)
    saved = {block.name: block.inner.kernel.numpy() for block in old.blocks}
    for block in model.blocks:
        np.testing.assert_array_equal(block.inner.kernel, saved[block.name])


class OldBlock(tf_keras.layers.Layer):
    """The same in Keras 2."""

    def __init__(self, **more):
        super().__init__(**more)
        self.inner = tf_keras.layers.Dense(4, name="inner")

    def call(self, x):
        return self.inner(x)


# --- the same layers, held in another way --------------------------------------------------------


def encoder(*names):
    inner = chain(*names)
    return keras.Model(inner.input, inner.output, name="encoder")


def classifier(*names):
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(encoder(*names)(inputs)))


def flat(*names):
    inner = chain(*names)
    return keras.Model(inner.input, keras.layers.Dense(2, name="head")(inner.output))


def shared(*names):
    inputs = x = keras.Input((4,))
    for layer in [keras.layers.Dense(4, name=name) for name in names] * 2:
        x = layer(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(x))


def in_dict(*names):
    model = Blocks(())
    model.parts = {name: keras.layers.Dense(4, name=name) for name in names}
    model.parts["head"] = keras.layers.Dense(2, name="head")
    for layer in model.parts.values():
        layer.build((None, 4))
    return model


def layers_in(model):
    """{name: layer with tensors}, at any depth."""
    found = {}
    for layer in model._flatten_layers(include_self=False):
        if layer._trainable_variables:
            found[layer.name] = layer
    return found


@pytest.mark.parametrize("writer", ["tfpersist", "tensorflow"])
@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (flat, classifier),
        (classifier, flat),
        (encoder, classifier),
        (classifier, encoder),
        (flat, shared),
        (shared, classifier),
        (flat, in_dict),
    ],
)
def test_layers_are_found_wherever_they_are_held(tmp_path, before, after, names, writer):
    saved, model = before("a", "b"), after(*names)
    theirs, mine = layers_in(saved), layers_in(model)
    assert mine.keys() >= {"a", "b"} <= theirs.keys()
    head = mine.get("head")
    kept = np.array(head.kernel) if head else None
    write(saved, tmp_path, writer)
    tfp.ModelStore(tmp_path).restore(model, missing="error" if "head" in theirs else "skip")
    for name in mine.keys() & theirs.keys():
        np.testing.assert_array_equal(mine[name].kernel, theirs[name].kernel)
        np.testing.assert_array_equal(mine[name].bias, theirs[name].bias)
    if head and "head" not in theirs:
        np.testing.assert_array_equal(head.kernel, kept)


# --- modules of TensorFlow -----------------------------------------------------------------------


class Linear(tf.Module):
    """A layer as Sonnet has it."""

    def __init__(self, units, name=None):
        super().__init__(name=name)
        with self.name_scope:
            self.w = tf.Variable(tf.random.normal([4, units]), name="w")
            self.b = tf.Variable(tf.random.normal([units]), name="b")


class Linears(tf.Module):
    """Layers as attributes, made in this order."""

    def __init__(self, *names):
        super().__init__(name="net")
        self.names = names
        for name in names:
            setattr(self, name, Linear(4, name=name))

    def values(self, *names):
        return [getattr(self, name).w.numpy() for name in names or self.names]


@pytest.mark.parametrize("names", [("up", "down", "new"), ("down", "up"), ("up",)])
def test_modules_are_found_by_their_attributes(tmp_path, names):
    saved, module = Linears("up", "down"), Linears(*names)
    before = module.values("new") if "new" in names else []
    tf.train.Checkpoint(saved).write(str(tmp_path / "model"))
    tfp.ModelStore(tmp_path).restore(module, missing="skip")
    known = [name for name in names if name != "new"]
    np.testing.assert_array_equal(module.values(*known), saved.values(*known))
    assert not before or np.array_equal(module.values("new"), before)


@pytest.mark.parametrize("names", [("first", "second"), ("fc_2", "fc_1")])
def test_attributes_that_count_backwards_keep_the_order_in_which_they_were_made(tmp_path, names):
    saved, module = Linears(*names), Linears("one", "two")
    tf.train.Checkpoint(saved).write(str(tmp_path / "model"))
    store = tfp.ModelStore(tmp_path)
    store.rename(store.restore(module, dry_run=True).suggestion).restore(module)
    np.testing.assert_array_equal(module.values(), saved.values())


def test_numbers_that_an_order_contradicts_are_no_suggestion(tmp_path):
    saved, module = Linears("fc_2", "fc_1"), Linears("p1", "p2")
    tf.train.Checkpoint(saved).write(str(tmp_path / "model"))
    report = tfp.ModelStore(tmp_path).restore(module, dry_run=True)
    assert not report.suggestion
    assert "nothing tells which" in report.advice


def test_a_module_goes_into_a_keras_model_of_the_same_names(tmp_path):
    saved, model = Linears("up", "down"), chain("down", "up")
    tf.train.Checkpoint(saved).write(str(tmp_path / "model"))
    tfp.ModelStore(tmp_path).restore(model)
    np.testing.assert_array_equal(kernels(model, "up", "down"), saved.values("up", "down"))
