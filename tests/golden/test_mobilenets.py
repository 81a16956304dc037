"""Short MobileNets of TF-Slim in their Keras 3 twins: the logits are those of the release.

The twins have the layers and the names of keras.applications. All compute in float32, and add in
another order than the release did.
"""

from __future__ import annotations

import pathlib
import re

import keras
import numpy as np
import pytest

import tfpersist as tfp

HERE = pathlib.Path(__file__).parent / "1.15.5" / "mobilenets"
layers = keras.layers


def norm(x, name, *, activation=True):
    x = layers.BatchNormalization(epsilon=1e-3, name=name)(x)
    return layers.ReLU(6.0)(x) if activation else x


def conv(x, size, name, kernel=1, stride=1):
    return layers.Conv2D(size, kernel, stride, padding="same", use_bias=False, name=name)(x)


def depthwise(x, name, stride):
    return layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=name)(x)


def v1():
    images = keras.Input((16, 16, 3))
    x = norm(conv(images, 4, "conv1", 3, 2), "conv1_bn")
    for number, (size, stride) in enumerate(((6, 1), (8, 2)), 1):
        x = norm(depthwise(x, f"conv_dw_{number}", stride), f"conv_dw_{number}_bn")
        x = norm(conv(x, size, f"conv_pw_{number}"), f"conv_pw_{number}_bn")
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    logits = layers.Conv2D(3, 1, name="conv_preds")(x)
    return keras.Model(images, layers.Reshape((3,))(logits))


def block(x, size, name, stride=1, expansion=6):
    inner = x
    if expansion:
        inner = conv(x, expansion * x.shape[-1], f"{name}_expand")
        inner = norm(inner, f"{name}_expand_BN")
    inner = norm(depthwise(inner, f"{name}_depthwise", stride), f"{name}_depthwise_BN")
    inner = norm(conv(inner, size, f"{name}_project"), f"{name}_project_BN", activation=False)
    return layers.Add()([x, inner]) if inner.shape == x.shape else inner


def v2():
    images = keras.Input((16, 16, 3))
    x = norm(conv(images, 4, "Conv1", 3, 2), "bn_Conv1")
    x = block(x, 3, "expanded_conv", expansion=0)
    x = block(block(x, 4, "block_1", 2), 4, "block_2")
    x = norm(conv(x, 8, "Conv_1"), "Conv_1_bn")
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, layers.Dense(3, name="predictions")(x))


@pytest.mark.parametrize("make", [v1, v2])
def test_the_logits_are_those_of_the_release(make):
    name = make.__name__
    values = np.load(HERE / "mobilenets.npz")
    store, model = tfp.ModelStore(HERE / name), make()
    report = store.restore(model, plan=store.restore(model, dry_run=True).plan)
    assert len(report.restored) == len(model.weights)
    assert report.unexpected == ()
    logits = keras.ops.convert_to_numpy(model(values["x"]))
    np.testing.assert_allclose(logits, values[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "name"),
    [(keras.applications.MobileNet, "v1"), (keras.applications.MobileNetV2, "v2")],
)
def test_the_twins_have_the_names_of_keras_applications(make, name):
    """Apart from the numbers of blocks."""

    def forms(model):
        return {re.sub(r"_\d+(?=[_/])", "_N", weight.path) for weight in model.weights}

    whole = make(input_shape=(32, 32, 3), alpha=0.35 if name == "v2" else 0.25, weights=None)
    assert forms({"v1": v1, "v2": v2}[name]()) == forms(whole)
