"""BERT and ALBERT of TensorFlow 1 in their Keras 3 twins: the outputs are those of the release.

The twins have the layers and the names of BertBackbone and AlbertBackbone of keras_hub, which is
not installed for the tests. All compute in float32, and add in another order than the release did.
"""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import pytest

import tfpersist as tfp

HERE = pathlib.Path(__file__).parent / "1.15.5" / "transformers"


class PositionEmbedding(keras.layers.Layer):
    def __init__(self, length, size, **options):
        super().__init__(**options)
        self.table = self.add_weight(shape=(length, size), name="embeddings")

    def call(self, x):
        return x + self.table


class Encoder(keras.layers.Layer):
    def __init__(self, name):
        super().__init__(name=name)
        norm = {"epsilon": 1e-12}
        layers = keras.layers
        self.attention = layers.MultiHeadAttention(2, 4, name="self_attention_layer")
        self.first = layers.LayerNormalization(name="self_attention_layer_norm", **norm)
        self.last = layers.LayerNormalization(name="feedforward_layer_norm", **norm)
        self.inner = layers.Dense(12, gelu, name="feedforward_intermediate_dense")
        self.outer = layers.Dense(8, name="feedforward_output_dense")

    def call(self, x):
        x = self.first(self.attention(x, x) + x)
        return self.last(self.outer(self.inner(x)) + x)


def gelu(x):
    return keras.activations.gelu(x, approximate=True)


def backbone(size, encoders, *, projected):
    layers = keras.layers
    ids, segments = (keras.Input((5,), dtype="int32") for _ in range(2))
    x = layers.Embedding(9, size, name="token_embedding")(ids)
    x = PositionEmbedding(5, size, name="position_embedding")(x)
    x = layers.Add()([x, layers.Embedding(2, size, name="segment_embedding")(segments)])
    x = layers.LayerNormalization(epsilon=1e-12, name="embeddings_layer_norm")(x)
    if projected:
        x = layers.Dense(8, name="embedding_projection")(x)
    for encoder in encoders:
        x = encoder(x)
    pooled = layers.Dense(8, "tanh", name="pooled_dense")(x[:, 0])
    return keras.Model([ids, segments], [x, pooled])


def bert():
    encoders = [Encoder(f"transformer_layer_{number}") for number in range(2)]
    return backbone(8, encoders, projected=False)


def albert():
    return backbone(6, [Encoder("group_0_inner_layer_0")] * 2, projected=True)


@pytest.mark.parametrize("make", [bert, albert])
def test_the_outputs_are_those_of_the_release(make):
    name = make.__name__
    values = np.load(HERE / "transformers.npz")
    store, model = tfp.ModelStore(HERE / name), make()
    with pytest.raises(tfp.RestoreError, match=f"This is {name.upper()} of Google in"):
        store.restore(model)
    plan = store.restore(model, dry_run=True).plan
    assert all(pair.proposed for pair in plan)
    report = store.restore(model, plan=tfp.Plan.from_json(plan.to_json()))
    assert report.unexpected == ("cls/predictions/output_bias",)
    outputs = model([values["ids"], values["segments"]])
    for output, kind in zip(outputs, ("sequence", "pooled"), strict=True):
        array = keras.ops.convert_to_numpy(output)
        # The outputs lie between -3 and 3.
        np.testing.assert_allclose(array, values[f"{name}/{kind}"], rtol=0, atol=3e-6)
