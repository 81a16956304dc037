"""Forms of ops that other runtimes cannot compute, with the reasons."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import parse_text
from tfpersist.freezer.freezer import Freezer
from tfpersist.graph.runtimes import portability


def of_function(function, *specs):
    return Freezer(tf.function(function, input_signature=specs, autograph=False))


VECTOR = tf.TensorSpec((None, 3), name="x")


def gelu_with_erfc(x):
    """Return what TensorFlow 2.21 computes for `tf.nn.gelu`."""
    return 0.5 * x * tf.math.erfc(-x * tf.cast(0.7071067811865476, x.dtype))


@pytest.mark.parametrize("gelu", [gelu_with_erfc, tf.nn.gelu, keras.activations.gelu])
def test_the_erfc_of_gelu_is_known_to_tensorflow_lite(gelu):
    freezer = of_function(gelu, VECTOR)
    if "Erfc" not in freezer.freeze().summary().operations and gelu is not gelu_with_erfc:
        pytest.skip("this release computes GELU with Erf")
    assert freezer.check("tflite").ok
    assert freezer.optimize().check("tflite").ok
    # TensorFlow.js has Erf.
    assert "Erf" in freezer.portable("tfjs").freeze().summary().operations


@pytest.mark.parametrize(
    "other",
    [
        tf.math.erfc,
        lambda x: tf.math.erfc(-x * 0.70710678) * x,
        lambda x: 0.5 * x * tf.math.erfc(-x * 0.7),
        lambda x: 0.4 * x * tf.math.erfc(-x * 0.70710678),
        lambda x: 0.5 * x * tf.math.erfc(x * 0.70710678),
        lambda x: 0.5 * (x + 1.0) * tf.math.erfc(-x * 0.70710678),
    ],
)
def test_another_erfc_is_not(other):
    (blocker,) = of_function(other, VECTOR).check("tflite").blockers
    assert "(Erfc) is not the one of GELU" in str(blocker)


def test_an_erfc_with_two_readers_is_not_the_one_of_gelu():
    def net(x):
        erfc = tf.math.erfc(-x * 0.70710678)
        return 0.5 * x * erfc + erfc

    (blocker,) = of_function(net, VECTOR).check("tflite").blockers
    assert blocker.op == "Erfc"


@pytest.mark.parametrize("target", ["tflite", "tfjs"])
@pytest.mark.parametrize("dtype", ["DT_STRING", "DT_INT64"])
def test_tables_stay_empty(target, dtype):
    graph = parse_text(
        f"""node {{ name: "t" op: "HashTableV2"
          attr {{ key: "key_dtype" value {{ type: {dtype} }} }}
          attr {{ key: "value_dtype" value {{ type: DT_INT64 }} }} }}""".encode()
    )
    found = str(portability.check(graph, target))
    assert "node t (HashTableV2) is a table, which stays empty in TensorFlow" in found
    assert "inputs() can cut behind it" in found


def test_lists_of_elements_of_unknown_shape_need_a_fixed_batch():
    net = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4)])
    (blocker,) = Freezer(net).check("tflite").blockers
    assert "(TensorListReserve) has elements of unknown shape" in str(blocker)
    assert "batch()" in str(blocker)
    assert Freezer(net).batch(1).check("tflite").ok


@pytest.mark.parametrize(
    ("target", "dtype", "ok"),
    [
        *(("tflite", dtype, False) for dtype in ("float16", "float64", "bfloat16", "int8")),
        *(("tflite", dtype, True) for dtype in ("float32", "int32", "int64")),
        *(("tfjs", dtype, False) for dtype in ("float64", "bfloat16", "int8", "uint8")),
        *(("tfjs", dtype, True) for dtype in ("float32", "int32", "int64")),
        *(("onnx", dtype, False) for dtype in ("bfloat16", "complex64")),
        *(("onnx", dtype, True) for dtype in ("float16", "float64", "int64")),
    ],
)
def test_data_types(target, dtype, ok):
    found = of_function(lambda x: x + x, tf.TensorSpec((2,), dtype)).check(target)
    assert found.ok == ok
    assert ok or f"has data type {dtype}, which it does not compute with" in str(found)


def test_weights_of_fewer_bits_for_tensorflow_js():
    """Its converter stores weights of float16, and knows no int8."""
    large = tf.constant(np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32))
    freezer = of_function(lambda x: x @ large, tf.TensorSpec((None, 64), name="x"))
    assert freezer.weights("float16").check("tfjs").ok
    assert freezer.weights("int8").check("tflite").ok
    assert "(Const) has data type int8" in str(freezer.weights("int8").check("tfjs"))
    with pytest.raises(FreezeError, match=r"TensorFlow\.js 4\.22 cannot load .*int8"):
        freezer.weights("int8").portable("tfjs").freeze()


def test_integers_beyond_32_bits_for_tensorflow_js():
    wide = of_function(lambda x: x + (1 << 31), tf.TensorSpec((2,), tf.int64))
    assert "(Const) has integers beyond 32 bits" in str(wide.check("tfjs"))
    assert wide.check("tflite").ok
    narrow = of_function(lambda x: x + ((1 << 31) - 1), tf.TensorSpec((2,), tf.int64))
    assert narrow.check("tfjs").ok


def test_axes_from_the_end_for_tensorflow_js():
    assert of_function(lambda x: tf.transpose(x, [1, 0]), VECTOR).check("tfjs").ok
    lacking = of_function(lambda x: tf.raw_ops.Transpose(x=x, perm=[-1, 0]), VECTOR)
    assert "(Transpose) counts axes from the end" in str(lacking.check("tfjs"))
    assert lacking.check("tflite").ok


@pytest.mark.parametrize("groups", [1, 2, 16])
def test_grouped_convolutions_for_tensorflow_js(groups):
    layers = keras.layers
    given = keras.Input((12, 12, 3))
    x = layers.Conv2D(16, 4, 4)(given)
    y = layers.Conv2D(16, 3, padding="same", groups=groups, name="second")(x)
    freezer = Freezer(keras.Model(given, layers.GlobalAveragePooling2D()(y)))
    for form in (freezer, freezer.optimize(), freezer.weights("float16")):
        found = form.check("tfjs")
        assert found.ok == (groups == 1)
        assert found.ok or "is a grouped convolution" in str(found)
    assert freezer.check("tflite").ok
