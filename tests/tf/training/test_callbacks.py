"""The Keras callback: what it saves while `fit` runs, and how a training goes on from it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.errors import RestoreError, SaveError

X = np.random.default_rng(0).random((64, 4), np.float32)
Y = X.sum(axis=1, keepdims=True)


class Stop(Exception):
    """An exception that ends a training early."""


def network(**options):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"], **options)
    return model


def stop_at(epoch=None, batch=None):
    """A callback that stops at the end of an epoch, or of a batch in it."""

    class Stopping(keras.callbacks.Callback):
        now = 0

        def on_epoch_begin(self, number, logs=None):
            self.now = number

        def on_epoch_end(self, number, logs=None):
            if batch is None and number == epoch:
                raise Stop

        def on_train_batch_end(self, number, logs=None):
            if batch is not None and (self.now, number) == (epoch, batch):
                raise Stop

    return Stopping()


def fit(model, *callbacks, epochs=4, **options):
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, **options}
    return model.fit(X, Y, epochs=epochs, callbacks=list(callbacks), **options)


def same(one, two):
    values = [
        [np.asarray(each) for each in (*model.variables, *model.optimizer.variables)]
        for model in (one, two)
    ]
    return all(np.array_equal(a, b) for a, b in zip(*values, strict=True))


@pytest.fixture
def store(tmp_path):
    return tfp.ModelStore(tmp_path).background(in_flight=2)


def test_every_epoch_is_saved_with_what_was_measured(store):
    history = fit(network(), store.callback(), validation_data=(X, Y))
    found = store.checkpoints()
    assert [each.step for each in found] == [8, 16, 24, 32]
    assert [each.metrics["epoch"] for each in found] == [1, 2, 3, 4]
    assert [each.metrics["batch"] for each in found] == [0, 0, 0, 0]
    for name in ("loss", "mae", "val_loss"):
        assert [each.metrics[name] for each in found] == pytest.approx(history.history[name])
    assert all(each.verify().ok for each in found)


def test_an_interrupted_training_ends_as_one_that_was_not(store, tmp_path):
    whole = network()
    fit(whole)
    with pytest.raises(Stop):
        fit(network(), store.callback(), stop_at(1))
    model, callback = network(), store.callback()
    history = fit(model, callback)
    assert callback.resumed.step == 16
    assert history.epoch == [2, 3]
    assert same(model, whole)


@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_training_continues_in_the_middle_of_an_epoch(store, steps_per_execution):
    options = {"steps_per_execution": steps_per_execution}
    whole = network(**options)
    fit(whole)
    with pytest.raises(Stop):
        fit(network(**options), store.callback(every=2), stop_at(1, 5))
    newest = store.latest()
    assert newest.step == 14
    assert (newest.metrics["epoch"], newest.metrics["batch"]) == (1, 6)
    model, callback = network(**options), store.callback(every=2)
    history = fit(model, callback)
    assert callback.resumed.step == 14
    assert history.epoch == [1, 2, 3]
    assert set(history.history) == {"loss", "mae"}
    assert same(model, whole)
    assert [each.step for each in store.checkpoints()] == list(range(2, 33, 2))
    last = store.latest()
    assert (last.metrics["epoch"], last.metrics["batch"]) == (3, 8)


def test_a_saved_epoch_that_is_over_but_for_its_end_is_not_repeated(store):
    whole = network()
    fit(whole)
    with pytest.raises(Stop):
        fit(network(), store.callback(every=8), stop_at(1, 7))
    assert store.latest().metrics["batch"] == 8
    model = network()
    fit(model, store.callback(every=8))
    assert same(model, whole)


def test_data_of_unknown_size(store):
    def batches():
        for at in range(0, 64, 8):
            yield X[at : at + 8], Y[at : at + 8]

    def fit_batches(model, *callbacks):
        import tensorflow as tf

        spec = (tf.TensorSpec((8, 4)), tf.TensorSpec((8, 1)))
        data = tf.data.Dataset.from_generator(batches, output_signature=spec)
        return model.fit(data, epochs=2, verbose=0, callbacks=list(callbacks))

    with pytest.raises(Stop):
        fit_batches(network(), store.callback(every=8), stop_at(0, 7))
    assert store.latest().metrics["batch"] == 8
    model, callback = network(), store.callback(every=8)
    assert fit_batches(model, callback).epoch == [0, 1]
    assert callback.resumed.step == 8
    # Keras itself counts one step more where it meets the end of the data.
    fit_batches(whole := network())
    assert same(model, whole)


def test_batches_are_counted_across_epochs(store):
    fit(network(), store.callback(every=5))
    assert [each.step for each in store.checkpoints()] == [5, 10, 15, 20, 25, 30]


def test_only_improvements_are_saved(store):
    noisy = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update(score=[0.5, 0.25, 0.75, float("nan")][epoch])
    )
    fit(network(), noisy, store.callback(monitor="score", mode="max"))
    assert [each.metrics["score"] for each in store.checkpoints()] == [0.5, 0.75]
    low = tfp.ModelStore(store.location / "low")
    fit(network(), noisy, low.callback(monitor="score"))
    assert [each.metrics["score"] for each in low.checkpoints()] == [0.5, 0.25]


def test_the_best_before_a_restart_counts(store):
    store.save(network(), 1, {"mae": -1.0, "epoch": 1})
    history = fit(network(), store.callback(monitor="mae"))
    assert history.epoch == [1, 2, 3]
    assert [each.step for each in store.checkpoints()] == [1]


@pytest.mark.parametrize(
    ("monitor", "larger"),
    [("val_accuracy", True), ("auc", True), ("loss", False), ("val_mae", False), ("f1", True)],
)
def test_the_direction_of_a_metric_is_known_by_its_name(tmp_path, monitor, larger):
    assert tfp.ModelStore(tmp_path).callback(monitor=monitor).larger is larger


def test_without_resume_training_starts_from_the_beginning(store):
    fit(network(), store.callback(), epochs=2)
    callback = store.callback(resume=False)
    history = fit(network(), callback, epochs=2)
    assert callback.resumed is None
    assert history.epoch == [0, 1]


def test_the_next_fit_of_the_same_model_begins_where_it_says(store):
    fit(network(), store.callback(), epochs=2)
    model = network()
    assert fit(model, store.callback(), epochs=3).epoch == [2]
    assert fit(model, epochs=2).epoch == [0, 1]


def test_a_damaged_checkpoint_is_skipped(tmp_path):
    store = tfp.ModelStore(tmp_path)
    fit(network(), store.callback(), epochs=2)
    data = tmp_path / "model.ckpt-16.data-00000-of-00001"
    spoilt = bytearray(data.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    data.write_bytes(bytes(spoilt))
    callback = store.callback()
    assert fit(network(), callback, epochs=3).epoch == [1, 2]
    assert callback.resumed.step == 8


def test_a_model_that_is_not_built_cannot_resume(store):
    fit(network(), store.callback(), epochs=1)
    model = keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    with pytest.raises(RestoreError, match="not built"):
        model.fit(X, Y, verbose=0, callbacks=[store.callback()])


def test_wrong_arguments_are_refused(store):
    for wrong in (0, -1, "batch", 2.5, True):
        with pytest.raises(SaveError, match='expected "epoch", or a number of batches, 1 or more'):
            store.callback(every=wrong)
    with pytest.raises(SaveError, match='expected "min", "max" or "auto", got \'best\''):
        store.callback(monitor="loss", mode="best")
    with pytest.raises(SaveError, match='expected True, False or "weights", got'):
        store.callback(resume="bits")
    with pytest.raises(SaveError, match="`monitor` must be the name of one metric"):
        store.callback(monitor=["loss", "mae"])
    with pytest.raises(SaveError, match="does not measure 'val_mae'"):
        fit(network(), store.callback(every=2, monitor="val_mae"), validation_data=(X, Y))


@pytest.mark.parametrize("monitor", ["f1", "val_f1"])
def test_a_missing_metric_warns_after_the_first_epoch_and_raises_at_the_end(store, monitor):
    names = "one of loss, mae, val_loss, val_mae"
    with (
        pytest.warns(UserWarning, match=names),
        pytest.raises(SaveError, match=f"does not measure '{monitor}'.*{names}"),
    ):
        fit(network(), store.callback(monitor=monitor), validation_data=(X, Y))
    assert store.latest() is None


def test_a_missing_validation_raises_at_the_end(store):
    with pytest.raises(SaveError, match="does not measure 'val_mae'"):
        fit(network(), store.callback(monitor="val_mae"))


def test_epochs_without_validation_are_skipped(store):
    validation = {"validation_data": (X, Y), "validation_freq": 2}
    history = fit(network(), store.callback(monitor="val_loss", mode="min"), **validation)
    assert history.epoch == [0, 1, 2, 3]
    assert [each.metrics["epoch"] for each in store.checkpoints()] == [2, 4]


def test_metrics_that_are_not_one_number_are_left_out(store):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    scores = [keras.metrics.F1Score(name="each"), keras.metrics.F1Score("micro", name="whole")]
    model.compile("adam", "categorical_crossentropy", metrics=scores)
    classes = np.eye(3, dtype=np.float32)[np.arange(64) % 3]
    model.fit(X, classes, verbose=0, callbacks=[store.callback()])
    assert set(store.latest().metrics) == {"loss", "whole", "epoch", "batch"}


def test_a_metric_that_is_nan_is_not_the_best(store):
    store.save(network(), 0, {"loss": float("nan")})
    callback = store.callback(monitor="loss")
    fit(network(), callback, epochs=2)
    assert [each.step for each in store.checkpoints()] == [0, 8, 16]
    assert callback.best == store.latest().metrics["loss"]


def test_the_best_of_a_damaged_checkpoint_does_not_count(tmp_path):
    store = tfp.ModelStore(tmp_path)
    for step, loss in ((1, 1e9), (2, -1.0)):
        store.save(network(), step, {"loss": loss, "epoch": step})
    data = tmp_path / "model.ckpt-2.data-00000-of-00001"
    spoilt = bytearray(data.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    data.write_bytes(bytes(spoilt))
    callback = store.callback(monitor="loss")
    fit(network(), callback, epochs=2)
    assert callback.resumed.step == 1
    assert [each.metrics["epoch"] for each in store.checkpoints()] == [1, 2]


def test_a_training_that_is_stopped_as_it_begins_again_leaves_the_model_as_it_was(store):
    model = network()
    fit(model, store.callback(), epochs=3)
    stop = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(model, store.callback(), stop, epochs=5)
    assert fit(model, epochs=2).epoch == [0, 1]


@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_a_training_that_is_stopped_while_it_skips_leaves_the_model_as_it_was(
    store, steps_per_execution
):
    model = network(steps_per_execution=steps_per_execution)
    with pytest.raises(Stop):
        fit(model, store.callback(every=6), stop_at(0, 7))
    with pytest.raises(Stop):
        fit(model, store.callback(every=6), stop_at(0, 3))
    before = int(model.optimizer.iterations)
    fit(model, epochs=1)
    assert int(model.optimizer.iterations) - before == 8


def test_an_error_of_a_background_save_ends_the_training(tmp_path):
    store = tfp.ModelStore(tmp_path, name="bad/name").background()
    with pytest.raises(SaveError, match="cannot have this name"):
        fit(network(), store.callback(resume=False))


class OwnOptimizer(keras.Model):
    """A model that is trained by an optimizer that Keras does not know, as GANs are."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.own = keras.optimizers.SGD(0.1)

    def call(self, inputs):
        return self.dense(inputs)

    def train_step(self, data):
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(data[0]) - data[1]) ** 2)
        weights = self.dense.trainable_variables
        self.own.apply(tape.gradient(loss, weights), weights)
        return {"loss": loss}


@pytest.mark.parametrize(("every", "steps"), [("epoch", [8, 16]), (4, [4, 8, 12, 16])])
def test_steps_are_counted_without_the_optimizer_of_the_model(tmp_path, every, steps):
    store = tfp.ModelStore(tmp_path)
    model = OwnOptimizer()
    model.compile(optimizer=None)
    fit(model, store.callback(every), epochs=2)
    assert [each.step for each in store.checkpoints()] == steps
