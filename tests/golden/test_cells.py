"""Recurrent cells of old releases in layers of Keras 3: the outputs are those of the release.

All compute in float32, and add in another order than the release did. The outputs lie between -1
and 1, after five steps.
"""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import pytest

import tfpersist as tfp

HERE = pathlib.Path(__file__).parent
CLOSE = {"rtol": 0, "atol": 1e-6}


def lstm(**options):
    return keras.layers.LSTM(3, return_sequences=True, **options)


def gru(**options):
    return keras.layers.GRU(3, return_sequences=True, **options)


CELLS = {
    "0.12.1/basic_lstm": lambda: [lstm()],
    "0.12.1/lstm": lambda: [lstm()],
    "0.12.1/lstm_stacked": lambda: [lstm(), lstm()],
    "0.12.1/lstm_bidirectional": lambda: [keras.layers.Bidirectional(lstm())],
    "0.12.1/gru": lambda: [gru(reset_after=False)],
    "1.15.5/basic_lstm": lambda: [lstm()],
    "1.15.5/lstm": lambda: [lstm(name="encoder")],
    "1.15.5/lstm_block": lambda: [lstm()],
    "1.15.5/lstm_fused": lambda: [lstm()],
    "1.15.5/lstm_stacked": lambda: [lstm(), lstm()],
    "1.15.5/lstm_bidirectional": lambda: [keras.layers.Bidirectional(lstm())],
    "1.15.5/lstm_cudnn": lambda: [lstm(), lstm()],
    "1.15.5/conv_lstm": lambda: [
        keras.layers.Reshape((5, 4, 1)),
        keras.layers.ConvLSTM1D(2, 3, padding="same", return_sequences=True),
    ],
    "1.15.5/gru": lambda: [gru(reset_after=False)],
    "1.15.5/gru_block": lambda: [gru(reset_after=False)],
    "1.15.5/gru_block_old": lambda: [gru(reset_after=False)],
    "1.15.5/gru_bidirectional": lambda: [
        keras.layers.Bidirectional(gru(reset_after=False), name="bi")
    ],
    "1.15.5/gru_cudnn": lambda: [
        keras.layers.RNN([keras.layers.GRUCell(3) for _ in range(2)], return_sequences=True)
    ],
    "2.4.4/cudnn_lstm": lambda: [lstm()],
    "2.4.4/cudnn_gru": lambda: [gru()],
}
# Cells that no layer of Keras computes, or another one.
REFUSED = {
    "1.15.5/lstm_peepholes": (lambda: [lstm()], "has peepholes"),
    "1.15.5/lstm_projection": (lambda: [lstm()], "has a projection"),
    "1.15.5/gru": (lambda: [gru()], "build the layer with reset_after=False"),
    "2.4.4/cudnn_gru": (
        lambda: [gru(reset_after=False)],
        "build the layer with reset_after=True",
    ),
}


def files_of(case):
    release, name = case.split("/")
    folder = HERE / release / "cells"
    values = np.load(folder / "cells.npz")
    return tfp.ModelStore(folder / name), values["x"], values.get(name)


def model_of(layers):
    return keras.Sequential([keras.Input((5, 4)), *layers])


@pytest.mark.parametrize("case", CELLS)
def test_the_outputs_are_those_of_the_release(case):
    store, x, expected = files_of(case)
    model = model_of(CELLS[case]())
    plan = store.restore(model, dry_run=True).plan
    assert all(pair.proposed and pair.recipe is not None for pair in plan)
    with pytest.raises(tfp.RestoreError, match=r"in another form .* restore\(plan=\.\.\.\)"):
        store.restore(model)
    report = store.restore(model, plan=tfp.Plan.from_json(plan.to_json()))
    assert len(report.restored) == len(model.weights)
    assert report.unexpected in ((), ("save_counter/.ATTRIBUTES/VARIABLE_VALUE",))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(x)), expected, **CLOSE)


@pytest.mark.parametrize("case", REFUSED)
def test_what_computes_something_else_is_refused(case):
    store, _, _ = files_of(case)
    layers, words = REFUSED[case]
    model = model_of(layers())
    with pytest.raises(tfp.RestoreError, match=words) as error:
        store.restore(model, missing="skip", mismatched="slice")
    plan = error.value.report.plan
    assert not any(pair.proposed or pair.key for pair in plan)


@pytest.mark.parametrize(
    "case", [case for case in CELLS if case[0] != "2" and "_cudnn" not in case]
)
def test_the_way_back_leads_to_the_tensors_of_the_release(case, tmp_path):
    """Cells of cuDNN are left out: Keras keeps one sum of their two biases."""
    store, _, _ = files_of(case)
    model = model_of(CELLS[case]())
    store.restore(model, plan=store.restore(model, dry_run=True).plan)
    tfp.ModelStore(tmp_path).save(model)
    saved = dict(store.latest())
    arrays = {key: np.zeros_like(value) for key, value in saved.items()}
    back = tfp.ModelStore(tmp_path)
    plan = back.restore(arrays, dry_run=True).plan
    assert all(pair.recipe is not None for pair in plan)
    back.restore(arrays, plan=plan)
    for key, value in saved.items():
        # To add and to subtract the forget bias rounds once each.
        np.testing.assert_allclose(arrays[key], value, rtol=0, atol=2e-7, err_msg=key)
