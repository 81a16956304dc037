"""Trainings of TensorFlow 1 go on in Keras 3: two steps later the kernel is that of the release.

All compute in float32, and add in another order than the release did.
"""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import pytest

import tfpersist as tfp

HERE = pathlib.Path(__file__).parent / "1.15.5" / "optimizers"
OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.01, epsilon=1e-7),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, momentum=0.5, epsilon=1e-7),
    "adagrad": lambda: keras.optimizers.Adagrad(0.01, epsilon=0.0),
    "adadelta": lambda: keras.optimizers.Adadelta(0.5, epsilon=1e-7),
    "ftrl": lambda: keras.optimizers.Ftrl(0.1),
}


def data():
    x = np.sin(np.arange(60)).reshape(4, 5, 3).astype(np.float32)
    return x, np.cos(np.arange(4)).reshape(4, 1).astype(np.float32)


def made(optimizer, first=None):
    layers = [first or keras.layers.LSTM(4), keras.layers.Dense(1, name="head")]
    model = keras.Sequential([keras.Input((5, 3)), *layers])
    model.compile(optimizer, "mse", run_eagerly=True)
    return model


def by_plan(store, model):
    return store.restore(model, plan=store.restore(model, dry_run=True).plan)


@pytest.mark.parametrize(
    ("name", "is_built"), [*((name, False) for name in OPTIMIZERS), ("adam", True)]
)
def test_a_training_goes_on(name, is_built):
    first = keras.layers.GlobalAveragePooling1D() if name == "ftrl" else None
    model, (x, y) = made(OPTIMIZERS[name](), first), data()
    if is_built:
        model.optimizer.build(model.trainable_variables)
    report = by_plan(tfp.ModelStore(HERE / name), model)
    assert report.kept == (model.optimizer.variables[1].path,)  # the learning rate
    assert int(model.optimizer.iterations) == 3
    for _ in range(2):
        model.train_on_batch(x, y)
    expected = np.load(HERE / "optimizers.npz")[name]
    np.testing.assert_allclose(model.layers[-1].kernel, expected, rtol=0, atol=2e-6)


def test_a_momentum_that_lacks_the_learning_rate_is_kept_with_the_reason():
    model = made(keras.optimizers.SGD(0.01, momentum=0.9))
    store = tfp.ModelStore(HERE / "momentum")
    report = store.restore(model, dry_run=True)
    by_plan(store, model)
    rows = [row for row in report.rows if row.outcome == "kept"]
    assert {row.variable.partition("/")[2] for row in rows} == {"iteration", "learning_rate"}
    assert all("lacks the learning rate" in row.reason for row in rows)
