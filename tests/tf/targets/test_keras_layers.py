"""Keras preprocessing layers: what they derive follows what is restored, what they lack is said."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import RestoreError

layers = keras.layers
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3) ** 2


def normalizing():
    return keras.Sequential([keras.Input((3,)), layers.Normalization(), layers.Dense(2)])


def weighing(words):
    lookup = layers.StringLookup(output_mode="tf_idf", vocabulary=words, idf_weights=[1.0, 2.0])
    return keras.Sequential([keras.Input((2,), dtype="string"), lookup])


@pytest.fixture
def store():
    return tfp.ModelStore("memory://keras/layers")


def test_a_restored_normalization_normalizes(store):
    saved, fresh = normalizing(), normalizing()
    saved.layers[0].adapt(ROWS)
    fresh.predict(ROWS, verbose=0)  # what this has traced is traced again
    store.save(saved)
    store.restore(fresh)
    np.testing.assert_array_equal(fresh(ROWS), saved(ROWS))
    np.testing.assert_array_equal(fresh.predict(ROWS, verbose=0), saved.predict(ROWS, verbose=0))
    frozen = tfp.Freezer(fresh).freeze()
    found = frozen.run(frozen.outputs[0], {frozen.inputs[0]: ROWS})
    np.testing.assert_allclose(found, saved(ROWS), rtol=1e-5)


def test_restored_weights_of_words_are_used(store):
    saved, fresh = weighing(["a", "b"]), weighing(["a", "b"])
    saved.layers[0].idf_weights.assign([1.0, 5.0, 7.0])
    saved.layers[0].finalize_state()
    store.save(saved)
    store.restore(fresh)
    words = tf.constant([["b", "a"]])
    np.testing.assert_array_equal(fresh(words), [[0, 5, 7]])


@pytest.mark.parametrize(
    ("make", "data", "lacking"),
    [
        (layers.StringLookup, np.array(["a", "b", "b"]), "vocabulary"),
        (layers.IntegerLookup, np.array([3, 4, 4]), "vocabulary"),
        (layers.TextVectorization, np.array(["a b", "b"]), "vocabulary"),
        (lambda: layers.Discretization(num_bins=2), ROWS, "bin_boundaries"),
    ],
)
def test_a_vocabulary_is_missing_until_the_layer_has_one(store, make, data, lacking):
    def module(*, adapted):
        whole = keras.Model()
        whole.layer, whole.scale = make(), whole.add_weight(shape=(), name="scale")
        if adapted:
            whole.layer.adapt(data)
        return whole

    saved, fresh = module(adapted=True), module(adapted=False)
    saved.scale.assign(3.0)
    store.save(saved)
    with pytest.raises(RestoreError, match=r"in no TensorFlow checkpoint: call .*adapt") as caught:
        store.restore(fresh)
    assert [name.rsplit("/", 1)[-1] for name in caught.value.report.missing] == [lacking]
    assert float(fresh.scale) != 3.0
    fresh.layer.adapt(data)
    assert store.restore(fresh).fits
    assert float(fresh.scale) == 3.0
    np.testing.assert_array_equal(fresh.layer(data), saved.layer(data))


def test_words_that_were_counted_only_stay_counted(store):
    saved, fresh = layers.StringLookup(vocabulary=None), layers.StringLookup(vocabulary=None)
    for each in (saved, fresh):
        each.adapt(np.array(["a"]))
    saved.update_state(np.array(["b", "b"]))
    store.save(saved)
    store.restore(fresh)
    assert fresh.get_vocabulary() == ["[UNK]", "a"]
    fresh.finalize_state()
    assert fresh.get_vocabulary() == ["[UNK]", "b"]
