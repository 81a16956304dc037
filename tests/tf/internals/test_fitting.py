"""The private parts of a running `fit`."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfpersist.tf.internals import fitting

ONES = np.ones((4, 1), np.float32)


@pytest.fixture(params=[keras, tf_keras], ids=["keras", "tf_keras"])
def package(request):
    return request.param


def made(package, **options):
    model = package.Sequential([package.Input((1,)), package.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"], **options)
    return model


def test_a_fit_begins_at_an_epoch(package):
    model = made(package)

    class Begin(package.callbacks.Callback):
        def on_train_begin(self, logs=None):
            fitting.begin_at_epoch(self.model, 2)

        def on_epoch_begin(self, epoch, logs=None):
            fitting.begin_at_epoch(self.model, None)

    assert model.fit(ONES, ONES, epochs=3, verbose=0, callbacks=[Begin()]).epoch == [2]
    assert model.fit(ONES, ONES, epochs=1, verbose=0).epoch == [0]
    assert fitting.is_tf_keras(model) == (package is tf_keras)


def test_a_callback_finds_the_others_and_a_call_is_replaced_once(package):
    model, found, calls = made(package), [], []

    def train(real, iterator):
        calls.append(type(iterator).__name__)
        return real(iterator)

    class Look(package.callbacks.Callback):
        def on_train_begin(self, logs=None):
            found.extend(fitting.callbacks_beside(self))
            fitting.make_train_function(self.model)
            fitting.call_once(self.model, train)

    one, other = Look(), package.callbacks.TerminateOnNaN()
    model.fit(ONES, ONES, epochs=2, verbose=0, callbacks=[one, other])
    assert found[:2] == [one, other]
    assert calls == ["OwnedIterator"]
    assert fitting.callbacks_beside(one) is None


@pytest.mark.parametrize("at_once", [1, 3])
def test_how_many_batches_are_trained_at_once(package, at_once):
    assert fitting.steps_at_once(made(package, steps_per_execution=at_once)) == at_once


def test_metrics_are_made_without_data(package):
    one, other = made(package), made(package)
    one.fit(ONES, ONES, verbose=0)

    spec = (tf.TensorSpec((None, 1)), tf.TensorSpec((None, 1)))
    fitting.make_metrics(other, spec)
    assert len(fitting.metric_variables(other)) == len(fitting.metric_variables(one)) > 0
    assert fitting.distributed_dataset() is None
