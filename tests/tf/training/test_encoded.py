"""Plain values and arrays become bytes and come back as they were; nothing else does."""

from __future__ import annotations

import random
from contextlib import suppress

import ml_dtypes
import numpy as np
import pytest

from tfpersist.errors import CorruptionError, UnsupportedError
from tfpersist.tf.training.encoded import decode, encode


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 3, 1 << 127, float("inf"), "text", b"\x00bytes"),
        *([1, [2]], (1, (2,)), {1, 2}, frozenset({"a"}), {1: "one", (2, 3): None}),
        *(
            np.float32(0.5),
            random.Random(1).getstate(),
            np.random.default_rng(1).bit_generator.state,
        ),
    ],
)
def test_plain_values_come_back(value):
    again = decode(encode(value))
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool, np.complex64, ml_dtypes.bfloat16])
def test_arrays_come_back(dtype):
    value = np.arange(6).reshape(2, 3).astype(dtype)
    _, again = decode(encode([b"before", value]))
    assert again.dtype == value.dtype
    assert np.array_equal(again, value)
    again[0, 0] = 1  # nobody shares its memory


@pytest.mark.parametrize("value", [object(), [lambda: 0], np.array([object()]), range(3)])
def test_other_values_are_refused(value):
    with pytest.raises(UnsupportedError, match="cannot be written as plain values"):
        encode(value)


def test_damaged_bytes_are_refused():
    data = encode({"a": np.arange(4), "b": (1, b"x")})
    for end in range(len(data)):
        with pytest.raises(CorruptionError):
            decode(data[:end])
    for at in range(8, data.index(b"}]]")):
        spoilt = bytearray(data)
        spoilt[at] ^= 0x15
        with suppress(CorruptionError):  # no other error
            decode(bytes(spoilt))


def test_arrays_of_another_byte_order_keep_their_values():
    for array in (np.array([1.5, 2.0], ">f4"), np.array([258, 3], ">i2"), np.float64(1.5)):
        assert decode(encode(array)).tolist() == array.tolist()
    strided = np.arange(6)[::2]
    assert decode(encode(strided)).tolist() == [0, 2, 4]
