"""Optimizers of Keras models: their state follows the variables, in whatever form these are."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfpersist as tfp

X = np.sin(np.arange(32)).reshape(8, 4).astype(np.float32)
Y = np.cos(np.arange(8)).reshape(8, 1).astype(np.float32)


def fused(library):
    inputs = library.layers.Input((4,))
    x = library.layers.Dense(6, name="qkv")(inputs)
    return library.Model(inputs, library.layers.Dense(1, name="head")(x))


def split():
    inputs = keras.Input((4,))
    parts = [keras.layers.Dense(2, name=name)(inputs) for name in ("query", "key", "value")]
    x = keras.layers.Concatenate()(parts)
    return keras.Model(inputs, keras.layers.Dense(1, name="head")(x))


def compiled(model, library=keras, **options):
    model.compile(library.optimizers.Adam(0.05), "mse", **options)
    return model


@pytest.mark.parametrize("library", [tf_keras, keras])
def test_the_state_of_a_kernel_that_is_split_is_split(library, tmp_path):
    old = compiled(fused(library), library)
    old.fit(X, Y, epochs=3, verbose=0)
    store = tfp.ModelStore(tmp_path)
    store.save(old)
    new = compiled(split())
    plan = store.restore(new, dry_run=True).plan
    report = store.restore(new, plan=plan)
    assert len(report.restored) == len(new.weights) + len(new.optimizer.variables)
    for model in (old, new):
        for _ in range(2):
            model.train_on_batch(X, Y)
    # In float32, three kernels may be computed in another order than one.
    np.testing.assert_allclose(np.asarray(new(X)), np.asarray(old(X)), rtol=0, atol=1e-5)


def test_of_a_split_kernel_no_state_is_carried_out_without_a_plan(tmp_path):
    old = compiled(fused(keras))
    old.fit(X, Y, verbose=0)
    store = tfp.ModelStore(tmp_path)
    store.save(old)
    report = store.restore(compiled(split()), missing="skip")
    assert not any("query" in name for name in report.restored)
    assert "12 states of the optimizer would follow" in report.advice
    assert "Only slots" not in report.advice


@pytest.fixture
def names(tmp_path):
    """Return a checkpoint of names, as TensorFlow 1 writes them, with the slots of Adam."""
    arrays = {"head/kernel": np.ones((4, 1), np.float32), "head/bias": np.ones(1, np.float32)}
    slots = {
        f"{key}/{slot}": value + number
        for key, value in arrays.items()
        for number, slot in enumerate(("Adam", "Adam_1"), 1)
    }
    store = tfp.ModelStore(tmp_path)
    store.save({**arrays, **slots, "global_step": np.int64(7)})
    return store


def head():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="head")])


def test_an_optimizer_is_built_for_the_slots_of_names(names):
    model = compiled(head())
    report = names.restore(model)
    assert report.kept == (f"{model.optimizer.name}/learning_rate",)
    first, second = (np.asarray(model.optimizer.variables[at]) for at in (2, 3))
    assert (int(model.optimizer.iterations), first[0, 0], second[0, 0]) == (7, 2, 3)


def test_an_optimizer_of_another_kind_stays_as_it_is(names):
    model = head()
    model.compile(keras.optimizers.Adagrad(0.1), "mse")
    report = names.restore(model)
    assert not model.optimizer.built
    assert len(report.restored) == 2
    kept = [row for row in report.rows if row.outcome == "kept"]
    assert [row.reason for row in kept] == [
        "the checkpoint has no such state of this optimizer"
    ] * 2


def test_a_used_optimizer_of_another_kind_is_missing_its_state(names):
    model = head()
    model.compile(keras.optimizers.Adagrad(0.1), "mse")
    model.optimizer.build(model.trainable_variables)
    with pytest.raises(tfp.RestoreError) as caught:
        names.restore(model)
    assert len(caught.value.report.missing) == 4


SCALED = tf_keras.mixed_precision.LossScaleOptimizer
KINDS = {
    "plain": (keras, lambda: keras.optimizers.Adam(0.05)),
    "scaled": (
        keras,
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.05), initial_scale=8.0),
    ),
    "old": (tf_keras, lambda: tf_keras.optimizers.Adam(0.05)),
    "old scaled": (
        tf_keras,
        lambda: SCALED(tf_keras.optimizers.Adam(0.05), initial_scale=8.0),
    ),
    "legacy": (tf_keras, lambda: tf_keras.optimizers.legacy.Adam(0.05)),
    "legacy scaled": (
        tf_keras,
        lambda: SCALED(tf_keras.optimizers.legacy.Adam(0.05), initial_scale=8.0),
    ),
}


def net(kind):
    library, optimizer = KINDS[kind]
    layers = library.layers
    dense = [layers.Dense(3, "tanh", name="first"), layers.Dense(1, name="last")]
    model = library.Sequential([layers.Input((4,)), *dense])
    model.compile(optimizer(), "mse", run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a store for each kind of optimizer, and what its model computes two steps later."""
    found = {}
    for kind in KINDS:
        model, folder = net(kind), tmp_path_factory.mktemp(kind.replace(" ", "-"))
        for _ in range(3):
            model.train_on_batch(X, Y)
        store = tfp.ModelStore(folder)
        store.save(model)
        for _ in range(2):
            model.train_on_batch(X, Y)
        found[kind] = store, np.asarray(model(X))
    return found


def _scale(model):
    optimizer = model.optimizer
    found = getattr(optimizer, "loss_scale", None)
    return float(optimizer.dynamic_scale if found is None else found)


@pytest.mark.parametrize("there", KINDS)
@pytest.mark.parametrize("here", KINDS)
def test_a_training_goes_on_with_and_without_loss_scaling(here, there, trained):
    store, expected = trained[there]
    model = net(here)
    report = store.restore(model)
    kept = [row for row in report.rows if row.outcome == "kept"]
    reasons = {row.reason for row in kept}
    assert all("configuration" in one or "of loss scaling" in one for one in reasons)
    if "scaled" in here and "scaled" in there:
        assert not any("scale/" in row.variable or "dynamic" in row.variable for row in kept)
        assert _scale(model) == 8.0
    for _ in range(2):
        model.train_on_batch(X, Y)
    # In float32, the kinds do not all compute in the same order, and Adam divides by the root of
    # small numbers. Without the momentums the results differ by 0.3.
    np.testing.assert_allclose(np.asarray(model(X)), expected, rtol=0, atol=1e-5)


# --- each kind of optimizer, from tf-keras and from Keras 3 ---------------------------------------


def steps(library, optimizer, variables, count):
    """Train variables by gradients that are known; no function is compiled."""
    for step in range(count):
        gradients = [tf.ones(one.shape) * (0.5 + at + step) for at, one in enumerate(variables)]
        if library is keras:
            optimizer.apply(gradients, variables)
        else:
            optimizer.apply_gradients(zip(gradients, variables, strict=True))


def squares(library, optimizer):
    layers = library.layers
    # Two kernels of one shape: a state that is shifted by one would fit.
    parts = [layers.Dense(4, use_bias=False, name=name) for name in ("alpha", "beta")]
    model = library.Sequential([layers.Input((4,)), *parts])
    model.compile(optimizer, "mse")
    return model


def optimizer_of(library, kind, **options):
    room = library.optimizers
    for part in kind.split(".")[:-1]:
        room = getattr(room, part)
    return getattr(room, kind.rpartition(".")[2])(0.05, **options)


OPTIONS = {
    "Adam": {},
    "AdamW": {},
    "Adamax": {},
    "Adagrad": {},
    "Adadelta": {},
    "Ftrl": {},
    "Lion": {},
    "RMSprop": {"momentum": 0.5, "centered": True},
    "SGD": {"momentum": 0.9},
    "legacy.Adam": {"amsgrad": True},
    "legacy.Adagrad": {},
    "legacy.Ftrl": {},
    "legacy.RMSprop": {"momentum": 0.5},
    "legacy.SGD": {"momentum": 0.9},
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_checkpoint_of_tf_keras_has_the_state_that_goes_on(kind, tmp_path):
    options = OPTIONS[kind]
    old = squares(tf_keras, optimizer_of(tf_keras, kind, **options))
    steps(tf_keras, old.optimizer, old.trainable_variables, 3)
    old.save_weights(str(tmp_path / "model.ckpt"))
    new = squares(keras, optimizer_of(keras, kind.rpartition(".")[2], **options))
    tfp.ModelStore(tmp_path).restore(new)
    assert int(new.optimizer.iterations) == 3
    for library, model in ((tf_keras, old), (keras, new)):
        steps(library, model.optimizer, model.trainable_variables, 2)
    for one, other in zip(old.weights, new.weights, strict=True):
        # Both compute in float32, in another order.
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


VARIANTS = {
    "as it was": (("Adam", {}), ("Adam", {})),
    "averages": (("Adam", {"use_ema": True}), ("Adam", {"use_ema": True})),
    "accumulated": (
        ("Adam", {"gradient_accumulation_steps": 2}),
        ("Adam", {"gradient_accumulation_steps": 2}),
    ),
    "three moments": (("Adam", {"amsgrad": True}), ("Adam", {"amsgrad": True})),
    "weight decay from now on": (("Adam", {}), ("AdamW", {"weight_decay": 0.0})),
    "Nadam": (("Nadam", {}), ("Nadam", {})),
}


@pytest.mark.parametrize("is_built", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_layers_that_swapped_take_the_state_along(variant, is_built, tmp_path):
    (kind, options), (later, more) = VARIANTS[variant]

    def model_of(optimizer, *names):
        parts = [keras.layers.Dense(4, use_bias=False, name=name) for name in names]
        model = keras.Sequential([keras.Input((4,)), *parts])
        model.compile(optimizer, "mse")
        return model

    old = model_of(optimizer_of(keras, kind, **options), "alpha", "beta")
    steps(keras, old.optimizer, old.trainable_variables, 3)
    new = model_of(optimizer_of(keras, later, **more), "beta", "alpha")
    if is_built:
        new.optimizer.build(new.trainable_variables)
    store = tfp.ModelStore(tmp_path)
    store.save(old)
    store.restore(new)
    steps(keras, old.optimizer, old.trainable_variables, 2)
    # The same gradients for the same layers, which the new model has in the other order.
    kernels = [new.get_layer(name).kernel for name in ("alpha", "beta")]
    steps(keras, new.optimizer, kernels, 2)
    for one, other in zip(old.trainable_variables, kernels, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_optimizers_take_the_numbers_of_a_legacy_one_without_slots(tmp_path):
    def model(optimizer):
        made = tf_keras.Sequential([tf_keras.layers.Dense(2, name="head", input_shape=(3,))])
        made.compile(optimizer, "mse")
        return made

    saved = model(tf_keras.optimizers.legacy.SGD(0.25))
    saved.optimizer._create_all_weights(saved.trainable_variables)
    built, fresh = (model(tf_keras.optimizers.legacy.SGD(0.5)) for _ in range(2))
    built.optimizer._create_all_weights(built.trainable_variables)
    new = model(tf_keras.optimizers.SGD(0.5))
    store = tfp.ModelStore(tmp_path)
    store.save(saved)
    for one in (built, fresh, new):
        store.restore(one)
        assert float(one.optimizer.learning_rate) == 0.25
        assert [w.numpy().tolist() for w in one.weights] == [
            w.numpy().tolist() for w in saved.weights
        ]
