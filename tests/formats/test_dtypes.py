"""Data types are TensorFlow's."""

import numpy as np
import pytest

from tfpersist.errors import UnsupportedError
from tfpersist.formats import dtypes


def test_names_and_numbers_are_tensorflows():
    import tensorflow as tf

    for name, dtype in dtypes.BY_NAME.items():
        try:
            theirs = tf.dtypes.as_dtype(dtype.number)
        except TypeError:
            assert dtype.number >= 26, f"this TensorFlow should know {name}"
            continue
        assert theirs.name == name
        if dtype.size and not name.startswith(("qint", "quint")):
            assert theirs.as_numpy_dtype == dtype.numpy.type


def test_a_quantized_type_is_the_integer_that_it_is_stored_as():
    assert {name: str(dtype.numpy) for name, dtype in dtypes.BY_NAME.items() if name[0] == "q"} == {
        "qint8": "int8",
        "quint8": "uint8",
        "qint16": "int16",
        "quint16": "uint16",
        "qint32": "int32",
    }


@pytest.mark.parametrize("name", [n for n, d in dtypes.BY_NAME.items() if d.size and n[0] != "q"])
def test_numpy_types_lead_back(name):
    dtype = dtypes.BY_NAME[name]
    assert dtypes.by_numpy(dtype.numpy) is dtype
    assert dtypes.by_number(dtype.number) is dtype
    assert dtypes.by_number(dtype.number + dtypes.REF_OFFSET) is dtype


@pytest.mark.parametrize("kind", [">f4", ">i8", ">c16", "<u2"])
def test_byte_order_does_not_matter(kind):
    native = np.dtype(kind).newbyteorder("=")
    assert dtypes.by_numpy(np.dtype(kind)) is dtypes.by_numpy(native)


@pytest.mark.parametrize("kind", ["S5", "U3", "O"])
def test_text_is_string(kind):
    assert dtypes.by_numpy(np.dtype(kind)).name == "string"


@pytest.mark.parametrize("kind", ["M8[s]", "m8[s]", "V7", "f4,i4"])
def test_types_that_tensorflow_lacks_are_refused(kind):
    with pytest.raises(UnsupportedError):
        dtypes.by_numpy(np.dtype(kind))


def test_types_without_bytes():
    assert dtypes.BY_NAME["variant"].numpy is None
    assert dtypes.BY_NAME["resource"].size == dtypes.BY_NAME["string"].size == 0
    assert dtypes.by_number(0) is dtypes.by_number(100) is None
