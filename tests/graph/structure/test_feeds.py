"""Values that may be fed to a tensor, and values that are refused before TensorFlow runs."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfpersist.errors import FeedError
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.structure.feeds import fit


def spec(dtype: str, *shape: int | None) -> TensorSpec:
    return TensorSpec(dtype, shape)


FITS = {
    "floats": ([1.0, 2.5], spec("float32", 2), np.float32([1, 2.5])),
    "python ints as floats": ([[1], [2]], spec("float32", None, 1), np.float32([[1], [2]])),
    "a python number": (3, spec("float64"), np.float64(3)),
    "float64 to float32": (np.float64([1.5]), spec("float32", 1), np.float32([1.5])),
    "float64 to half": (np.float64([1.5]), spec("float16", 1), np.float16([1.5])),
    "float64 to bfloat16": ([1.5], spec("bfloat16", 1), np.array([1.5], ml_dtypes.bfloat16)),
    "bfloat16 to float32": (
        np.array([1.5], ml_dtypes.bfloat16),
        spec("float32", 1),
        np.float32([1.5]),
    ),
    "infinity stays": (np.float64([np.inf]), spec("float32", 1), np.float32([np.inf])),
    "int64 to int32": (np.int64([7]), spec("int32", 1), np.int32([7])),
    "int64 to uint8": (np.int64([255]), spec("uint8", 1), np.uint8([255])),
    "uint8 to int64": (np.uint8([255]), spec("int64", 1), np.int64([255])),
    "int4": ([-8, 7], spec("int4", 2), np.array([-8, 7], ml_dtypes.int4)),
    "a quantized type": (np.int64([3]), spec("quint8", 1), np.uint8([3])),
    "bool": ([True, False], spec("bool", 2), np.array([True, False])),
    "float as complex": ([1.0], spec("complex64", 1), np.complex64([1])),
    "complex": (np.complex128([1j]), spec("complex64", 1), np.complex64([1j])),
    "an empty list": ([], spec("int32", None), np.int32([])),
    "an empty list of strings": ([], spec("string", None), np.array([], object)),
    "big endian": (np.array([1, 2], ">f4"), spec("float32", 2), np.float32([1, 2])),
    "str": ("grün", spec("string"), np.array("grün".encode(), object)),
    "bytes with zeros": ([b"a\0", "b"], spec("string", 2), np.array([b"a\0", b"b"], object)),
    "numpy strings": (
        np.array([["a", "bc"]]),
        spec("string", 1, 2),
        np.array([[b"a", b"bc"]], object),
    ),
    "numpy bytes": (np.array([b"a", b"bc"]), spec("string", 2), np.array([b"a", b"bc"], object)),
    "an unknown rank": ([[1.0]], TensorSpec("float32", None), np.float32([[1]])),
}


@pytest.mark.parametrize(("value", "wanted", "expected"), FITS.values(), ids=FITS)
def test_a_value_of_the_kind_is_cast(value, wanted, expected):
    result = fit(value, wanted, "feed:0")
    assert result.dtype == expected.dtype
    assert result.dtype.isnative
    assert result.flags.c_contiguous
    assert result.shape == expected.shape
    assert result.tolist() == expected.tolist()


REFUSED = {
    "int array as float": (np.array([1]), spec("float32", 1), "int64[1]"),
    "float as int": ([1.0], spec("int32", 1), "float64[1]"),
    "bool as float": (np.array([True]), spec("float32", 1), "bool[1]"),
    "bool as int": (True, spec("int32"), "bool[]"),
    "int as bool": ([1], spec("bool", 1), "int64[1]"),
    "complex as float": ([1j], spec("float32", 1), "complex128[1]"),
    "float array as complex": (np.float32([1]), spec("complex64", 1), "float32[1]"),
    "string as float": (["a"], spec("float32", 1), "string[1]"),
    "number as string": ([1], spec("string", 1), "int at element 0"),
    "None": (None, spec("float32"), "NoneType"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), spec("int64", 1), "datetime64[D][1]"),
    "a rank too few": ([1.0], spec("float32", None, 1), "float64[1]"),
    "another extent": ([[1.0, 2.0]], spec("float32", None, 3), "float64[1,2]"),
    "not ours to broadcast": (1.0, spec("float32", 1), "float64[]"),
    "ragged": ([[1.0], [1.0, 2.0]], spec("float32", None, None), "list"),
    "ragged strings": ([["a"], ["b", "c"]], spec("string", None, None), "objects such as list[2]"),
    "too large for int32": (np.int64([2**31]), spec("int32", 1), "2147483648"),
    "negative for uint8": ([-1], spec("uint8", 1), "-1"),
    "too large for int4": ([8], spec("int4", 1), "8 to 8"),
    "too large for int64": ([2**63], spec("int64", 1), "9223372036854775808"),
    "too large for any integer": ([2**70], spec("int64", 1), "int"),
    "too large for float32": (np.float64([1e39]), spec("float32", 1), "1e+39"),
    "too large for half": ([70000.0], spec("float16", 1), "70000.0"),
    "too large for a float": ([10**400], spec("float32", 1), "int"),
    "masked": (np.ma.array([1.0, 2.0], mask=[0, 1]), spec("float32", 2), "masked"),
    "a resource": ([1], spec("resource", 1), "cannot be fed"),
}


@pytest.mark.parametrize(("value", "wanted", "found"), REFUSED.values(), ids=REFUSED)
def test_a_value_of_another_kind_is_refused(value, wanted, found):
    with pytest.raises(FeedError) as caught:
        fit(value, wanted, "Net/feed:0")
    assert str(caught.value).startswith("Net/feed:0: ")
    assert found in str(caught.value)


def test_an_array_that_fits_is_not_copied():
    value = np.float32([1, 2])
    assert fit(value, spec("float32", 2), "x:0") is value


def test_an_array_that_is_not_contiguous_is_copied():
    value = np.arange(6, dtype=np.float32).reshape(2, 3).T
    result = fit(value, spec("float32", 3, 2), "x:0")
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, value)


def test_an_array_of_weak_type_is_not_a_python_number():
    with pytest.raises(FeedError, match="wrong data type"):
        fit([np.int32(1)], spec("float32", 1), "x:0")


@given(hnp.arrays(st.sampled_from(["int8", "int16", "int32", "int64", "uint64"]), (3,)))
def test_an_integer_is_unchanged_or_refused(value):
    try:
        result = fit(value, spec("int16", None), "x:0")
    except FeedError:
        assert min(value.tolist()) < -(2**15) or max(value.tolist()) >= 2**15
    else:
        assert result.tolist() == value.tolist()
