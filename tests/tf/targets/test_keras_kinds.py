"""Models of tf-keras, the Keras 2 of old: as sources and as targets."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras

import tfpersist as tfp

layers = tf_keras.layers
RANDOM = np.random.default_rng(0)
SERIES = RANDOM.random((4, 5, 3), np.float32)


def recurrent():
    return tf_keras.Sequential(
        [
            tf_keras.Input((5, 3), name="series"),
            layers.LSTM(4, return_sequences=True),
            layers.GRU(3),
            layers.Dense(2, name="result"),
        ]
    )


def masked():
    words = tf_keras.Input((5,), dtype="int32", name="words")
    vectors = layers.Embedding(10, 4, mask_zero=True)(words)
    return tf_keras.Model(words, layers.Dense(1)(layers.Bidirectional(layers.LSTM(3))(vectors)))


def normalized():
    given = tf_keras.Input((6, 6, 1), name="image")
    maps = layers.BatchNormalization()(layers.Conv2D(3, 3)(given))
    return tf_keras.Model(given, layers.Dropout(0.5)(layers.Flatten()(maps)))


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (recurrent, SERIES),
        (masked, np.int32([[1, 2, 3, 0, 0], [4, 0, 0, 0, 0]])),
        (normalized, RANDOM.random((2, 6, 6, 1), np.float32)),
    ],
)
def test_a_model_is_frozen(make, data):
    model = make()
    frozen = tfp.Freezer(model).freeze()
    (given,), (result,) = frozen.inputs, frozen.outputs
    assert given.operation == model.inputs[0].name
    found = frozen.run(result, {given: data})
    np.testing.assert_allclose(found, model.predict(data, verbose=0), rtol=1e-4, atol=1e-6)


def test_several_ends_have_their_names(tmp_path):
    a, b = tf_keras.Input((3,), name="a"), tf_keras.Input((2,), name="b")
    both = layers.Concatenate()([a, b])
    model = tf_keras.Model([a, b], {"p": layers.Dense(2)(both), "q": layers.Dense(1)(both)})
    frozen = tfp.Freezer(model).write(tmp_path / "net.pb")
    feeds = {"a": np.ones((4, 3), np.float32), "b": np.ones((4, 2), np.float32)}
    found, expected = frozen.run(["p", "q"], feeds), model.predict(feeds, verbose=0)
    np.testing.assert_allclose(found[0], expected["p"], rtol=1e-5)
    np.testing.assert_allclose(found[1], expected["q"], rtol=1e-5)


def test_words_are_looked_up():
    words = tf_keras.Input((), dtype="string")
    model = tf_keras.Model(words, layers.StringLookup(vocabulary=["a", "b"])(words))
    frozen = tfp.Freezer(model).freeze()
    found = frozen.run(frozen.outputs[0], {frozen.inputs[0]: ["b", "z"]})
    np.testing.assert_array_equal(found, [2, 0])


@pytest.mark.parametrize("kind", ["Adam", "legacy.Adam", "SGD"])
def test_training_continues_where_it_was(kind, tmp_path):
    def compiled():
        model = recurrent()
        room = tf_keras.optimizers.legacy if "legacy" in kind else tf_keras.optimizers
        options = {"momentum": 0.9} if kind == "SGD" else {}
        model.compile(getattr(room, kind.rpartition(".")[2])(0.01, **options), "mse")
        return model

    saved, fresh = compiled(), compiled()
    saved.fit(SERIES, np.ones((4, 2)), verbose=0, epochs=2)
    store = tfp.ModelStore(tmp_path)
    store.save(saved, step=2)
    store.restore(fresh)
    for model in (saved, fresh):
        model.fit(SERIES, np.ones((4, 2)), verbose=0, shuffle=False)
    assert int(fresh.optimizer.iterations) == 3
    for one, other in zip(saved.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_an_optimizer_without_a_model_is_built_for_what_was_trained(tmp_path):
    model = recurrent()
    model.compile("adam", "mse")
    model.fit(SERIES, np.ones((4, 2)), verbose=0)
    store = tfp.ModelStore(tmp_path)
    store.save({"model": model, "optimizer": model.optimizer})
    other = tf_keras.optimizers.Adam()
    assert store.restore({"model": recurrent(), "optimizer": other}).fits
    for one, restored in zip(model.optimizer.variables, other.variables, strict=True):
        np.testing.assert_array_equal(one, restored)


def test_checkpoints_are_those_of_tf_keras(tmp_path):
    saved, fresh = recurrent(), recurrent()
    saved.save_weights(tmp_path / "theirs" / "weights")
    tfp.ModelStore(tmp_path / "theirs").restore(fresh)
    checkpoint = tfp.ModelStore(tmp_path / "ours").save(fresh)
    again = recurrent()
    again.load_weights(checkpoint.prefix).assert_consumed()
    for one, other in zip(saved.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_of_keras_3_takes_it(tmp_path):
    import keras

    saved = recurrent()
    new = keras.layers
    parts = [keras.Input((5, 3)), new.LSTM(4, return_sequences=True), new.GRU(3), new.Dense(2)]
    store, fresh = tfp.ModelStore(tmp_path), keras.Sequential(parts)
    store.save(saved)
    store.restore(fresh)
    np.testing.assert_allclose(
        fresh.predict(SERIES, verbose=0), saved.predict(SERIES, verbose=0), rtol=1e-5, atol=1e-6
    )


def test_a_sparse_input_is_three():
    given = tf_keras.Input((3,), sparse=True, name="s")
    model = tf_keras.Model(given, layers.Dense(1)(given))
    assert len(tfp.Freezer(model).freeze().inputs) == 3
