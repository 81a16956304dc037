"""A `fit` that was stopped at any batch goes on to the bit, or the report says what it loses."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfpersist as tfp
from tfpersist.errors import RestoreError, SaveError
from tfpersist.tf.training.callbacks import progress_of
from tfpersist.tf.training.encoded import decode

X = np.random.default_rng(0).random((24, 4), np.float32)
Y = X.sum(axis=1, keepdims=True)
PER_EPOCH = 6


class Stop(Exception):
    """An exception that ends a training early."""


def stop_after(batches, keras=keras):
    class Stopping(keras.callbacks.Callback):
        done = 0

        def on_train_batch_end(self, batch, logs=None):
            self.done += 1
            if self.done == batches:
                raise Stop

    return Stopping()


def network(*layers, **options):
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), "mse", metrics=["mae"], **options)
    return model


def dropout():
    return network(keras.layers.Dense(3), keras.layers.Dropout(0.4))


def arrays():
    return {"x": X, "y": Y, "batch_size": 4}


def tf_data(*, repeat=False):
    data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(12, seed=5)
    data = data.repeat() if repeat else data
    more = {"steps_per_epoch": PER_EPOCH} if repeat else {}
    return {"x": data.batch(4, drop_remainder=True).prefetch(2), **more}


def unknown_length():
    data = tf_data()["x"].unbatch().filter(lambda x, y: True).batch(4)
    return {"x": data}


def stateful():
    noisy = tf.data.Dataset.from_tensor_slices((X, Y)).map(
        lambda x, y: (x + tf.random.normal((4,), seed=4), y)
    )
    return {"x": noisy.shuffle(12, seed=5).batch(4)}  # under a shuffle, TensorFlow overlooks it


def train(make, data, *callbacks, epochs=3):
    """Train as a fresh process would; return all final numbers and the last epoch's metrics."""
    keras.utils.set_random_seed(7)
    model = make()
    history = model.fit(**data(), epochs=epochs, verbose=0, callbacks=list(callbacks))
    variables = [*model.variables, *model.optimizer.variables]
    last = {name: values[-1:] for name, values in history.history.items()}
    return [np.asarray(v) for v in variables], last


def same(one, other):
    assert one[1] == other[1]
    assert len(one[0]) == len(other[0])
    return all(np.array_equal(a, b) for a, b in zip(one[0], other[0], strict=True))


def resumed(store, make, data, others=tuple, *, at, every=2, **options):
    """Train until a batch, and go on; return the result and the callback that went on."""
    with pytest.raises(Stop):
        train(make, data, *others(), store.callback(every, **options), stop_after(at))
    callback = store.callback(every, **options)
    return train(make, data, *others(), callback, stop_after(99)), callback


@pytest.fixture
def store(tmp_path):
    return tfp.ModelStore(tmp_path, durable=False)


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (dropout, arrays),
        (dropout, tf_data),
        (network, lambda: tf_data(repeat=True)),
        (network, stateful),
        (network, unknown_length),
        (lambda: network(steps_per_execution=2), arrays),
    ],
    ids=["dropout", "tf.data", "steps_per_epoch", "replayed", "unknown length", "two at once"],
)
def test_a_training_that_was_stopped_ends_with_the_same_bits(store, make, data):
    whole = train(make, data)
    at = 4 if data is arrays and make is not dropout else 9
    result, callback = resumed(store, make, data, at=at)
    assert callback.resumed.step == 8
    assert same(result, whole)
    assert callback.report.resume.not_covered == ()


def scheduler():
    return [keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)]


def plateau():
    return [keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=10.0)]


def early():
    return [
        keras.callbacks.EarlyStopping("loss", patience=2, min_delta=9.0, restore_best_weights=True)
    ]


class Drawing(keras.callbacks.Callback):
    """Draws from generators of its own and of the host, and changes a variable."""

    def __init__(self):
        super().__init__()
        self.own = np.random.default_rng(3)
        self.sums = [0.0]

    def on_train_batch_end(self, batch, logs=None):
        self.sums[0] += random.random() + np.random.random() + self.own.random()
        self.model.optimizer.learning_rate.assign(0.01 * self.sums[0])


@pytest.mark.parametrize("others", [scheduler, plateau, early, lambda: [Drawing()]])
@pytest.mark.parametrize("at", [9, 13])
def test_the_state_of_other_callbacks_goes_on(store, others, at):
    whole = train(network, arrays, *others())
    result, callback = resumed(store, network, arrays, others, at=at)
    assert same(result, whole)
    assert callback.report.resume.not_covered == ()


def test_callbacks_after_ours_go_on_too(store):
    def run(*middle):
        return train(network, arrays, *middle, *plateau(), Drawing(), epochs=4)

    whole = run()
    with pytest.raises(Stop):
        run(store.callback(), stop_after(13))
    assert same(run(store.callback()), whole)


@pytest.mark.parametrize("after", [False, True])
def test_a_training_that_has_stopped_early_is_over(store, after):
    def run(*callbacks):
        order = [*callbacks, *early()] if after else [*early(), *callbacks]
        return train(network, arrays, *order, epochs=9)

    whole = run()
    run(store.callback())
    steps = [each.step for each in store.checkpoints()]
    result = run(store.callback())
    assert all(np.array_equal(a, b) for a, b in zip(result[0], whole[0], strict=True))
    assert [each.step for each in store.checkpoints()] == steps


def test_validation_data_that_are_shuffled_are_named(store):
    data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(12, seed=5).batch(4)
    train(network, lambda: {**arrays(), "validation_data": data}, store.callback(), epochs=1)
    (fact,) = store.latest().resume.not_covered
    assert fact.what == "the order of the validation data"


def test_capturing_draws_nothing(store):
    assert same(train(dropout, arrays, store.callback(1)), train(dropout, arrays))


def test_a_batch_that_is_complete_counts_before_the_callbacks_are_called(store):
    seen = []

    class Before(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append(("begin", progress_of(self.model)))

        def on_train_batch_end(self, batch, logs=None):
            seen.append(("end", progress_of(self.model)))

    train(network, arrays, Before(), store.callback(), epochs=2)
    steps = [(name, step) for name, (step, _) in seen]
    assert steps == [pair for n in range(12) for pair in (("begin", n), ("end", n + 1))]
    assert seen[-1][1] == (12, {"epoch": 1, "batch": 6})


def test_a_loop_of_train_on_batch_goes_on(store):
    def run(*callbacks, stop=None):
        keras.utils.set_random_seed(7)
        model = dropout()
        listed = keras.callbacks.CallbackList([*callbacks], model=model, epochs=2, steps=PER_EPOCH)
        listed.on_train_begin()
        for epoch in range(callbacks[0].progress.epoch if callbacks else 0, 2):
            listed.on_epoch_begin(epoch)
            for batch in range(PER_EPOCH):
                rows = slice(batch * 4, batch * 4 + 4)
                listed.on_train_batch_begin(batch)
                loss = np.ravel(model.train_on_batch(X[rows], Y[rows]))[0]
                listed.on_train_batch_end(batch, {"loss": loss})
                if (epoch, batch) == stop:
                    return None
            listed.on_epoch_end(epoch, {"loss": loss})
        listed.on_train_end()
        return [np.asarray(v) for v in (*model.variables, *model.optimizer.variables)], {}

    whole = run()
    run(store.callback(2), stop=(1, 2))
    callback = store.callback(2)
    assert same(run(callback), whole)
    assert callback.resumed.step == 8
    lost = [fact.what for fact in callback.report.resume.not_covered]
    assert lost == ["the order of the data", "the metrics of the epoch"]


def test_given_generators_go_on(store):
    def run(generator, *callbacks):
        def draw(epoch, rate):
            return 0.1 * float(generator.random())

        schedule = keras.callbacks.LearningRateScheduler(draw)
        return train(network, arrays, schedule, *callbacks)

    whole = run(np.random.default_rng(1))
    for _ in range(2):
        mine = np.random.default_rng(1)
        callback = store.callback(generators=[mine])
        last = run(mine, callback) if callback is None or store.checkpoints() else None
        if last is None:
            with pytest.raises(Stop):
                run(mine, callback, stop_after(13))
    assert same(last, whole)
    with pytest.raises(RestoreError, match=r"other random generators in generators=.* got 0"):
        train(network, arrays, store.callback())
    with pytest.raises(TypeError, match="generators= takes random generators"):
        store.callback(generators=[3])


def test_a_store_with_the_old_checkpoints_goes_on_from_their_weights(store):
    keras.utils.set_random_seed(7)
    store.save(network(), 6, {"epoch": 1, "batch": 0})
    callback = store.callback()
    train(network, arrays, callback)
    assert [each.step for each in store.checkpoints()] == [6, 12, 18]
    assert callback.report.resume.not_covered[0].what == "all but the variables"


def test_other_data_are_refused_with_a_table(store):
    resumed(store, network, arrays, at=9)
    other = {**arrays(), "x": X + 1}
    with pytest.raises(RestoreError, match=r"the tensors that it holds: .* in the checkpoint"):
        train(network, lambda: other, store.callback(), epochs=4)
    with pytest.raises(RestoreError, match="batches of an epoch: 6 in the checkpoint, 3 now"):
        train(network, lambda: {**arrays(), "batch_size": 8}, store.callback(), epochs=4)
    callback = store.callback(resume="weights")
    train(network, lambda: other, callback, epochs=4)
    assert callback.resumed.step == 18


def test_what_is_not_covered_is_named_and_refused_where_asked(store):
    class Opaque(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.queue = object()

    @tf.function
    def draws():
        return tf.random.normal((2,), seed=3)

    callback = store.callback()
    train(network, arrays, Opaque(), callback, epochs=1)
    facts = store.latest().resume.not_covered
    assert [fact.where for fact in facts if "callback" in fact.what] == ["Opaque.queue"]
    with pytest.raises(SaveError, match=r"cannot go on to the bit:\n.*Opaque\.queue"):
        train(network, arrays, Opaque(), store.callback(strict=True))
    draws()
    with pytest.raises(SaveError, match="RandomStandardNormal in __inference_draws"):
        train(network, arrays, store.callback(strict=True))


def test_data_made_by_python_are_named(store):
    spec = (tf.TensorSpec((4,)), tf.TensorSpec((1,)))

    def data():
        made = tf.data.Dataset.from_generator(lambda: zip(X, Y, strict=True), output_signature=spec)
        return {"x": made.batch(4)}

    whole = train(network, data)
    result, callback = resumed(store, network, data, at=9)
    assert same(result, whole)
    facts = callback.report.resume
    assert [one.what for one in facts.replayed] == ["the order of the data"]
    assert "Python" in facts.not_covered[0].what


def test_a_checkpoint_says_which_environment_has_changed(store):
    train(network, arrays, store.callback(), epochs=1)
    saved = store.latest().resume
    assert saved.environment["tensorflow"] == tf.__version__
    assert saved.now({**saved.environment, "numpy": "0"}).changed[0].endswith("and is 0")


@pytest.mark.parametrize("data", [arrays, tf_data])
def test_tf_keras_goes_on_too(store, data):
    def run(*callbacks):
        keras.utils.set_random_seed(7)
        tf_keras.utils.set_random_seed(7)
        model = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(1)])
        model.compile(tf_keras.optimizers.Adam(0.05), "mse", metrics=["mae"])
        history = model.fit(**data(), epochs=3, verbose=0, callbacks=list(callbacks))
        last = {name: values[-1:] for name, values in history.history.items()}
        return [v.numpy() for v in (*model.variables, *model.optimizer.variables)], last

    whole = run()
    with pytest.raises(Stop):
        run(store.callback(2), stop_after(9, tf_keras))
    callback = store.callback(2)
    result = run(callback)
    assert callback.resumed.step == 8
    assert same(result, whole)


def test_a_mirrored_strategy_goes_on_too(store):
    def run(*callbacks):
        keras.utils.set_random_seed(7)
        with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
            model = network()
        model.fit(**tf_data(), epochs=3, verbose=0, callbacks=list(callbacks))
        return [np.asarray(v) for v in model.variables], {}

    whole = run()
    with pytest.raises(Stop):
        run(store.callback(2), stop_after(9))
    callback = store.callback(2)
    assert same(run(callback), whole)
    assert callback.report.resume.replayed


def test_tensorflow_restores_the_model_alone(store):
    train(dropout, arrays, store.callback(), epochs=1)
    keras.utils.set_random_seed(9)
    one, other = dropout(), dropout()
    store.restore(one)
    other.optimizer.build(other.trainable_variables)
    tf.train.Checkpoint(other).read(store.latest().prefix).assert_existing_objects_matched()
    assert all(np.array_equal(a, b) for a, b in zip(one.weights, other.weights, strict=True))


class Counts(keras.callbacks.Callback):
    """Another callback, with an attribute that is set in the middle of a training."""


def test_what_is_added_between_two_saves_is_in_the_second(tmp_path):
    class Inner(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    model = keras.Sequential([keras.Input((4,)), Inner(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    counts = Counts()

    class Adding(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                layer = model.layers[0]
                layer._tracker.unlock()
                layer.below = keras.layers.Dense(2, name="late")
                layer.below.build((None, 4))
                layer.drop = keras.layers.Dropout(0.5)
                counts.best = 7

    store = tfp.ModelStore(tmp_path, keep=None)
    store_callback = store.callback(2)
    callbacks = [Adding(), counts, store_callback]
    model.fit(X, Y, batch_size=4, verbose=0, callbacks=callbacks)
    steps = {checkpoint.step: checkpoint for checkpoint in store.checkpoints()}
    second, third = steps[2], steps[4]
    late = {key for key in third if key not in second}
    names = {key.split("/.")[0].rsplit("/", 1)[1].strip("_") for key in late}
    assert names == {"kernel", "bias"}

    def of(checkpoint):
        return decode(checkpoint["resume/.ATTRIBUTES/py_state"].item())

    assert len(of(second)["seeds"]["owned"]) + 1 == len(of(third)["seeds"]["owned"])
    name = ("Counts", "", 0)
    assert "best" not in of(second)["callbacks"][name]
    assert of(third)["callbacks"][name]["best"] == {"value": 7}


def test_another_fit_of_one_callback_notes_its_own_data(tmp_path):
    store = tfp.ModelStore(tmp_path, keep=None)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    callback = store.callback(2, resume=False)
    model.fit(X, Y, batch_size=4, verbose=0, callbacks=[callback])
    model.fit(X + 1, Y, batch_size=4, verbose=0, callbacks=[callback])
    first, last = store.checkpoints()[0], store.checkpoints()[-1]
    states = [decode(one["resume/.ATTRIBUTES/py_state"].item()) for one in (first, last)]
    digests = [state["data"]["data"]["the tensors that it holds"] for state in states]
    assert digests[0] != digests[1]
