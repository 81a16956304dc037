"""ONNX files: ONNX Runtime gives the numbers of the source, under the names of the signature."""

from __future__ import annotations

import functools

import models
import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import FreezeError, ParityError, UnsupportedError
from tfpersist.tf.onnx import onnx_model

pytest.importorskip("tf2onnx", reason="needs tf2onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")

# Of the largest element: the order of operations differs.
TOLERANCE = 1e-5


def session_of(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def of_function(function, *specs):
    return tfp.Freezer(tf.function(function, input_signature=specs, autograph=False))


def ends_of(session):
    return (
        [(each.name, each.type, each.shape) for each in session.get_inputs()],
        [each.name for each in session.get_outputs()],
    )


@pytest.fixture(scope="module")
def made():
    return functools.cache(lambda name: models.MODELS[name]())


# tf2onnx converts no graph without an input.
NAMES = sorted(set(models.MODELS) - {"sum"})


@pytest.mark.parametrize("form", models.FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_computes_the_same_as_its_source(made, name, form, tmp_path):
    model = made(name)
    path = tmp_path / "model.onnx"
    models.FORMS[form](model.freezer, model.feeds).write(path)
    session = session_of(path)
    inputs, outputs = ends_of(session)
    assert ([each[0] for each in inputs], outputs) == (list(model.feeds), [model.output])
    (result,) = session.run(None, model.feeds)
    assert (result.dtype, result.shape) == (model.expected.dtype, model.expected.shape)
    tolerance = TOLERANCE * np.abs(model.expected).max()
    np.testing.assert_allclose(result, model.expected, rtol=0, atol=tolerance)


def test_each_case_of_freezing_is_right_or_refused(cases, tmp_path):
    right = 0
    for name, case in cases.items():
        path = tmp_path / f"{right}.onnx"
        try:
            frozen = case.freezer().write(path)
        except (UnsupportedError, FreezeError):
            assert not path.exists()
            continue
        inputs = {frozen[name].name: label for label, name in frozen.signature.inputs.items()}
        feeds = {
            inputs[frozen[key].name]: np.asarray(value)
            for key, value in case.feeds.items()
            if frozen[key].name in inputs
        }
        results = session_of(path).run(list(frozen.signature.outputs), feeds)
        for result, expected in zip(results, case.expected, strict=True):
            wanted = np.asarray(expected)
            assert (result.dtype, result.shape) == (wanted.dtype, wanted.shape), name
            np.testing.assert_allclose(result, wanted, rtol=0, atol=TOLERANCE, err_msg=name)
        right += 1
    assert right > 30


def test_inputs_and_outputs_have_the_names_of_the_signature(tmp_path):
    def net(image, unused, flag):
        del unused
        return {"twice": image * 2.0, "the same": image, "no": ~flag, "also twice": image * 2.0}

    frozen = of_function(
        net,
        tf.TensorSpec((None, 3), name="image"),
        tf.TensorSpec((2,), tf.int64, name="unused"),
        tf.TensorSpec((), tf.bool, name="flag"),
    ).write(tmp_path / "net.onnx")
    assert isinstance(frozen, tfp.FrozenModel)
    session = session_of(tmp_path / "net.onnx")
    inputs, outputs = ends_of(session)
    assert [each[:2] for each in inputs] == [
        ("image", "tensor(float)"),
        ("unused", "tensor(int64)"),
        ("flag", "tensor(bool)"),
    ]
    assert inputs[0][2][1] == 3
    assert outputs == list(frozen.signature.outputs)
    feeds = {"image": np.ones((2, 3), np.float32), "flag": np.array(True)}
    found = dict(
        zip(outputs, session.run(None, {**feeds, "unused": np.zeros(2, int)}), strict=True)
    )
    expected = frozen.run({label: label for label in outputs}, feeds)
    for label, value in expected.items():
        np.testing.assert_array_equal(found[label], value)


def test_parity_is_run_in_onnx_runtime_too(tmp_path, monkeypatch):
    freezer = of_function(lambda x: x * 2.0, tf.TensorSpec((2,), name="x"))
    path = tmp_path / "net.onnx"
    assert freezer.parity({"x": [1.0, 2.0]}).write(path).verify().ok
    before = path.read_bytes()
    run = onnx_model.OnnxModel.run
    monkeypatch.setattr(
        onnx_model.OnnxModel, "run", lambda *args: [value + 1 for value in run(*args)]
    )
    with pytest.raises(ParityError, match="the outputs of ONNX Runtime differ"):
        freezer.parity({"x": [1.0, 2.0]}, 1e-3).write(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]


def test_the_values_are_those_of_the_moment(tmp_path):
    weight = tf.Variable([1.0, 2.0])
    model = of_function(lambda x: x * weight, tf.TensorSpec((2,), name="x")).write(
        tmp_path / "net.onnx"
    )
    weight.assign([0.0, 0.0])
    feeds = {"x": np.ones(2, np.float32)}
    assert model.run(model.outputs[0], feeds).tolist() == [1, 2]
    assert session_of(tmp_path / "net.onnx").run(None, feeds)[0].tolist() == [1, 2]


@pytest.mark.parametrize("form", ["float16", "int8"])
def test_compressed_weights_are_decoded(form, tmp_path):
    large = tf.constant(models.random(256, 64))
    freezer = of_function(lambda x: x @ large, tf.TensorSpec((None, 256), name="x"))
    model = freezer.weights(form).write(tmp_path / "net.onnx")
    feeds = {"x": models.random(2, 256, seed=3)}
    (found,) = session_of(tmp_path / "net.onnx").run(None, feeds)
    expected = model.run(model.outputs[0], feeds)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def test_what_onnx_runtime_cannot_load_is_refused_with_its_node(tmp_path):
    freezer = of_function(tf.math.erf, tf.TensorSpec((None, 4), tf.float64, name="x"))
    with pytest.raises(UnsupportedError, match=r"ONNX Runtime cannot load.*Erf"):
        freezer.write(tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_data_types_that_onnx_has_not_are_refused_before(tmp_path):
    freezer = of_function(lambda x: tf.cast(x, tf.bfloat16) * 2, tf.TensorSpec((None, 4), name="x"))
    with pytest.raises(FreezeError, match=r"node Cast \(Cast\) has data type bfloat16"):
        freezer.write(tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []
