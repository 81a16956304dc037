"""Layers of Keras 3 in lists, which TensorFlow's object graph holds by their positions alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import tfpersist as tfp


class Blocks(keras.Model):
    """Dense layers in a list, called in its order."""

    def __init__(self, names, held="blocks"):
        super().__init__()
        layers = [keras.layers.Dense(4, name=name) for name in names]
        setattr(self, held, layers)
        self.find = {layer.name: layer for layer in layers}.get
        self.names = tuple(names)

    def call(self, x):
        for name in self.names:
            x = self.find(name)(x)
        return x


def blocks(*names, **more):
    model = Blocks(names, **more)
    model(np.zeros((1, 4), np.float32))
    return model


def assert_equal_by_name(model, saved, names=None):
    for name in names or model.names:
        np.testing.assert_array_equal(model.find(name).kernel, saved.find(name).kernel)
        np.testing.assert_array_equal(model.find(name).bias, saved.find(name).bias)


@pytest.mark.parametrize(
    "names", [("up_3", "up_2", "up_1"), ("stem", "body"), ("stage_5", "stage_6")]
)
def test_the_same_model_needs_no_help_whatever_the_names_count(tmp_path, names):
    saved, model = blocks(*names), blocks(*names)
    tfp.ModelStore(tmp_path).save(saved)
    assert tfp.ModelStore(tmp_path).restore(model).fits
    for one, other in zip(saved.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "names",
    [
        ("layer_2", "layer_0", "layer_1"),
        ("layer_0", "layer_2"),
        ("layer_1",),
    ],
)
def test_names_in_the_sidecar_decide_over_positions(tmp_path, names):
    saved, model = blocks("layer_0", "layer_1", "layer_2"), blocks(*names)
    tfp.ModelStore(tmp_path).save(saved)
    tfp.ModelStore(tmp_path).restore(model)
    assert_equal_by_name(model, saved)


def test_a_new_layer_in_the_middle_is_left_alone(tmp_path):
    saved, model = blocks("a", "b"), blocks("a", "adapter", "b")
    before = np.array(model.find("adapter").kernel)
    tfp.ModelStore(tmp_path).save(saved)
    with pytest.raises(tfp.RestoreError):
        tfp.ModelStore(tmp_path).restore(model)
    report = tfp.ModelStore(tmp_path).restore(model, missing="skip")
    assert len(report.kept) == 2
    assert_equal_by_name(model, saved, ("a", "b"))
    np.testing.assert_array_equal(model.find("adapter").kernel, before)


def test_without_the_sidecar_a_position_that_names_contradict_is_refused(tmp_path):
    saved, model = blocks("layer_0", "layer_1", "layer_2"), blocks("layer_2", "layer_0", "layer_1")
    tfp.ModelStore(tmp_path).save(saved)
    for sidecar in tmp_path.glob("*.tfpersist.json"):
        sidecar.unlink()
    before = [np.array(weight) for weight in model.weights]
    with pytest.raises(tfp.RestoreError, match="nothing tells which") as caught:
        tfp.ModelStore(tmp_path).restore(model)
    assert not caught.value.report.suggestion
    for one, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(one, weight)


def test_a_private_list_is_saved_and_restored(tmp_path):
    saved, model = blocks("a", "b", held="_hidden"), blocks("a", "b", held="_hidden")
    tfp.ModelStore(tmp_path).save(saved)
    tfp.ModelStore(tmp_path).restore(model)
    assert_equal_by_name(model, saved)
