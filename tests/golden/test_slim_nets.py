"""Narrow networks of TF-Slim in their Keras 3 twins: the logits are those of the release.

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

HERE = pathlib.Path(__file__).parent / "1.15.5" / "slim_nets"
layers = keras.layers


def images(size):
    return np.sin(np.arange(2 * size * size * 3)).reshape(2, size, size, 3).astype(np.float32)


def norm(x, name, *, activation=True):
    x = layers.BatchNormalization(epsilon=1.001e-5, name=name)(x)
    return layers.ReLU()(x) if activation else x


def conv(x, size, name, kernel=1, stride=1, **options):
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)
    return layers.Conv2D(size, kernel, stride, name=name, **options)(x)


def residual_v1(x, size, name, stride, *, shortcut):
    """Return a block with the stride where TF-Slim has it."""
    if shortcut:
        straight = norm(conv(x, 4 * size, f"{name}_0_conv"), f"{name}_0_bn", activation=False)
    else:
        straight = layers.MaxPooling2D(1, stride)(x)
    x = norm(conv(x, size, f"{name}_1_conv"), f"{name}_1_bn")
    x = norm(conv(x, size, f"{name}_2_conv", 3, stride), f"{name}_2_bn")
    x = norm(conv(x, 4 * size, f"{name}_3_conv"), f"{name}_3_bn", activation=False)
    return layers.ReLU()(layers.Add()([straight, x]))


def residual_v2(x, size, name, stride, *, shortcut):
    before = norm(x, f"{name}_preact_bn")
    if shortcut:
        straight = conv(before, 4 * size, f"{name}_0_conv")
    else:
        straight = layers.MaxPooling2D(1, stride)(x)
    x = norm(conv(before, size, f"{name}_1_conv", use_bias=False), f"{name}_1_bn")
    x = norm(conv(x, size, f"{name}_2_conv", 3, stride, use_bias=False), f"{name}_2_bn")
    return layers.Add()([straight, conv(x, 4 * size, f"{name}_3_conv")])


def resnet(residual, blocks=(2, 2, 2, 2)):
    inputs = keras.Input((65, 65, 3))
    x = conv(inputs, 64, "conv1_conv", 7, 2)
    if residual is residual_v1:
        x = norm(x, "conv1_bn")
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for at, number in enumerate(blocks):
        for block in range(1, number + 1):
            stride = 2 if block == number and at < 3 else 1
            name = f"conv{at + 2}_block{block}"
            x = residual(x, at + 1, name, stride, shortcut=block == 1)
    if residual is residual_v2:
        x = norm(x, "post_bn")
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, name="predictions")(x))


def narrow(size):
    return max(int(size * 0.01), 2)


def unnamed(x, size, *kernel, stride=1, padding="same"):
    """Return a convolution without a name, as those of Inception are."""
    options = {"padding": padding, "use_bias": False}
    x = layers.Conv2D(narrow(size), kernel, stride, **options)(x)
    return layers.ReLU()(layers.BatchNormalization(scale=False)(x))


def chain(x, *convolutions):
    """Return the end of a branch: (channels, height, width) of each; the last may have a stride."""
    for size, *kernel in convolutions:
        options = {"stride": 2, "padding": "valid"} if kernel[2:] else {}
        x = unnamed(x, size, *kernel[:2], **options)
    return x


def stem(x):
    x = unnamed(x, 32, 3, 3, stride=2, padding="valid")
    x = unnamed(unnamed(x, 32, 3, 3, padding="valid"), 64, 3, 3)
    x = unnamed(layers.MaxPooling2D(3, 2)(x), 80, 1, 1, padding="valid")
    return layers.MaxPooling2D(3, 2)(unnamed(x, 192, 3, 3, padding="valid"))


def average(x):
    return layers.AveragePooling2D(3, 1, padding="same")(x)


def join(*ends):
    return layers.Concatenate()(ends)


HALVED = (3, 3, True)


def inception_v3():
    inputs = keras.Input((107, 107, 3))
    x = stem(inputs)
    for size in (32, 64, 64):
        x = join(
            chain(x, (64, 1, 1)),
            chain(x, (48, 1, 1), (64, 5, 5)),
            chain(x, (64, 1, 1), (96, 3, 3), (96, 3, 3)),
            chain(average(x), (size, 1, 1)),
        )
    x = join(
        chain(x, (384, *HALVED)),
        chain(x, (64, 1, 1), (96, 3, 3), (96, *HALVED)),
        layers.MaxPooling2D(3, 2)(x),
    )
    for size in (128, 160, 160, 192):
        turns = [(size, 7, 1), (size, 1, 7), (size, 7, 1)]
        x = join(
            chain(x, (192, 1, 1)),
            chain(x, (size, 1, 1), (size, 1, 7), (192, 7, 1)),
            chain(x, (size, 1, 1), *turns, (192, 1, 7)),
            chain(average(x), (192, 1, 1)),
        )
    x = join(
        chain(x, (192, 1, 1), (320, *HALVED)),
        chain(x, (192, 1, 1), (192, 1, 7), (192, 7, 1), (192, *HALVED)),
        layers.MaxPooling2D(3, 2)(x),
    )
    for _ in range(2):
        ends = [chain(x, (320, 1, 1))]
        for before in ([(384, 1, 1)], [(448, 1, 1), (384, 3, 3)]):
            end = chain(x, *before)
            ends += [chain(end, (384, 1, 3)), chain(end, (384, 3, 1))]
        x = join(*ends, chain(average(x), (192, 1, 1)))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, name="predictions")(x))


def residual(x, name, scale, *branches, activation=True):
    mixed = join(*(chain(x, *branch) for branch in branches))
    up = layers.Conv2D(x.shape[-1], 1, name=f"{name}_conv")(mixed)
    x = layers.Add()([x, layers.Rescaling(scale)(up)])
    return layers.ReLU()(x) if activation else x


def inception_resnet_v2():
    inputs = keras.Input((107, 107, 3))
    x = stem(inputs)
    x = join(
        chain(x, (96, 1, 1)),
        chain(x, (48, 1, 1), (64, 5, 5)),
        chain(x, (64, 1, 1), (96, 3, 3), (96, 3, 3)),
        chain(average(x), (64, 1, 1)),
    )
    block = [(32, 1, 1)], [(32, 1, 1), (32, 3, 3)], [(32, 1, 1), (48, 3, 3), (64, 3, 3)]
    for at in range(1, 11):
        x = residual(x, f"block35_{at}", 0.17, *block)
    x = join(
        chain(x, (384, *HALVED)),
        chain(x, (256, 1, 1), (256, 3, 3), (384, *HALVED)),
        layers.MaxPooling2D(3, 2)(x),
    )
    for at in range(1, 21):
        long = [(128, 1, 1), (160, 1, 7), (192, 7, 1)]
        x = residual(x, f"block17_{at}", 0.1, [(192, 1, 1)], long)
    x = join(
        chain(x, (256, 1, 1), (384, *HALVED)),
        chain(x, (256, 1, 1), (288, *HALVED)),
        chain(x, (256, 1, 1), (288, 3, 3), (320, *HALVED)),
        layers.MaxPooling2D(3, 2)(x),
    )
    long = [(192, 1, 1), (224, 1, 3), (256, 3, 1)]
    for at in range(1, 10):
        x = residual(x, f"block8_{at}", 0.2, [(192, 1, 1)], long)
    x = residual(x, "block8_10", 1.0, [(192, 1, 1)], long, activation=False)
    x = layers.Conv2D(narrow(1536), 1, use_bias=False, name="conv_7b")(x)
    x = layers.ReLU()(layers.BatchNormalization(scale=False, name="conv_7b_bn")(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, name="predictions")(x))


TWINS = {
    "resnet_v1": lambda: resnet(residual_v1),
    "resnet_v2": lambda: resnet(residual_v2),
    "inception_v3": inception_v3,
    "inception_resnet_v2": inception_resnet_v2,
}


@pytest.mark.parametrize("name", TWINS)
def test_the_logits_are_those_of_the_release(name):
    # The numbers of layers without names go on from model to model.
    layers.Conv2D(1, 1), layers.BatchNormalization()
    store, model = tfp.ModelStore(HERE / name), TWINS[name]()
    report = store.restore(model, plan=store.restore(model, dry_run=True).plan)
    assert len(report.restored) == len(model.weights)
    assert all("AuxLogits" in key or key == "global_step" for key in report.unexpected)
    logits = keras.ops.convert_to_numpy(model(images(model.input_shape[1])))
    expected = np.load(HERE / "slim_nets.npz")[name]
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_a_deeper_net_is_refused():
    store, model = tfp.ModelStore(HERE / "resnet_v2"), resnet(residual_v2, (2, 2, 3, 2))
    report = store.restore(model, dry_run=True)
    assert "the model has 3 blocks where the checkpoint has 2 (stage 3)" in report.advice
    assert not any(pair.key or pair.recipe for pair in report.plan)


def test_of_a_net_that_differs_in_strides_the_advice_says_so():
    report = tfp.ModelStore(HERE / "resnet_v1").restore(resnet(residual_v1), dry_run=True)
    assert "TF-Slim has the stride 2 in the last block of a stage" in report.advice


UNNAMED = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?/(.*)")


def described(model, width):
    """Return the names of the variables, and the sizes of the unnamed kernels in their order."""
    names, kernels = set(), {}
    for one in model.weights:
        unnamed = UNNAMED.match(one.path)
        if unnamed is None:
            names.add(re.sub(r"_block\d+_", "_blockN_", one.path))
        else:
            names.add((unnamed[1], unnamed[3]))
            if unnamed[3] == "kernel":
                kernels[int(unnamed[2] or 0)] = (*one.shape[:2], width(one.shape[3]))
    return names, [kernels[number] for number in sorted(kernels)]


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("resnet_v1", keras.applications.ResNet50),
        ("resnet_v2", keras.applications.ResNet50V2),
        ("inception_v3", keras.applications.InceptionV3),
        ("inception_resnet_v2", keras.applications.InceptionResNetV2),
    ],
)
def test_the_twins_have_the_layers_of_keras_applications(name, whole):
    """In such a scope no variable gets a value, which saves time."""
    with keras.StatelessScope():
        wanted = described(whole(weights=None), narrow)
        assert described(TWINS[name](), int) == wanted
