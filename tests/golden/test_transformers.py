"""Transformers of TensorFlow 1 in their Keras 3 twins: the outputs are those of the release.

The twins have the layers and the names of BertBackbone, AlbertBackbone, TransformerEncoder and
TransformerDecoder of keras_hub, which is not installed for the tests. All compute in float32, and
add in another order than the release did.
"""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import pytest

import tfpersist as tfp

RELEASE = pathlib.Path(__file__).parent / "1.15.5"
HERE = RELEASE / "transformers"


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


class TransformerEncoder(keras.layers.Layer):
    """A layer of tensor2tensor: its norms come first."""

    attention_name = "self_attention_layer"

    def __init__(self, **options):
        super().__init__(**options)
        layers, norm = keras.layers, {"epsilon": 1e-6}
        self.attention = layers.MultiHeadAttention(2, 4, name=self.attention_name)
        self.first = layers.LayerNormalization(name="self_attention_layer_norm", **norm)
        self.last = layers.LayerNormalization(name="feedforward_layer_norm", **norm)
        self.inner = layers.Dense(12, "relu", name="feedforward_intermediate_dense")
        self.outer = layers.Dense(8, name="feedforward_output_dense")

    def call(self, x):
        inner = self.first(x)
        return self.fed_forward(x + self.attention(inner, inner))

    def fed_forward(self, x):
        return x + self.outer(self.inner(self.last(x)))


class TransformerDecoder(TransformerEncoder):
    attention_name = "self_attention"

    def __init__(self, **options):
        super().__init__(**options)
        self.cross = keras.layers.MultiHeadAttention(2, 4, name="cross_attention")
        self.middle = keras.layers.LayerNormalization(
            epsilon=1e-6, name="cross_attention_layer_norm"
        )

    def call(self, x, memory):
        inner = self.first(x)
        x = x + self.attention(inner, inner, use_causal_mask=True)
        return self.fed_forward(x + self.cross(self.middle(x), memory))


def t2t(encoders=2, decoders=2):
    x, y = (keras.Input((length, 8)) for length in (5, 4))
    encoded, decoded = x, y
    for _ in range(encoders):
        encoded = TransformerEncoder()(encoded)
    encoded = keras.layers.LayerNormalization(epsilon=1e-6)(encoded)
    for _ in range(decoders):
        decoded = TransformerDecoder()(decoded, encoded)
    decoded = keras.layers.LayerNormalization(epsilon=1e-6)(decoded)
    return keras.Model([x, y], [encoded, decoded])


def test_a_transformer_of_tensor2tensor_goes_into_layers_without_names():
    values, store = np.load(RELEASE / "t2t" / "t2t.npz"), tfp.ModelStore(RELEASE / "t2t")
    t2t()  # the numbers of the next one begin later
    model = t2t()
    for weight in model.weights:
        weight.assign(keras.ops.ones(weight.shape))
    report = store.restore(model, plan=store.restore(model, dry_run=True).plan)
    assert report.unexpected == ("transformer/symbol_modality_9_8/shared/weights_0",)
    outputs = model([values["x"], values["y"]])
    for output, kind in zip(outputs, ("encoded", "decoded"), strict=True):
        array = keras.ops.convert_to_numpy(output)
        np.testing.assert_allclose(array, values[kind], rtol=0, atol=1e-6)


def test_a_transformer_with_fewer_layers_is_another_one():
    report = tfp.ModelStore(RELEASE / "t2t").restore(t2t(encoders=1), dry_run=True)
    pairs = {pair.variable: pair for pair in report.plan}
    encoder = [pair for name, pair in pairs.items() if name.startswith("transformer_encoder")]
    assert encoder
    assert not any(pair.key or pair.recipe for pair in encoder)
