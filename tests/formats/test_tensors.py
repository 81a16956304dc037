"""Specs and payloads."""

import numpy as np
import pytest

from tfpersist.errors import UnsupportedError
from tfpersist.formats.tensors import TensorSpec, payload_of, spec_of


@pytest.mark.parametrize(
    ("shape", "elements", "nbytes", "text"),
    [
        ((), 1, 4, "float32[]"),
        ((2, 3), 6, 24, "float32[2,3]"),
        ((0, 3), 0, 0, "float32[0,3]"),
        ((None, 3), None, None, "float32[?,3]"),
        (None, None, None, "float32[...]"),
    ],
)
def test_elements_bytes_and_text_of_a_spec(shape, elements, nbytes, text):
    spec = TensorSpec("float32", shape)
    assert (spec.elements, spec.nbytes, str(spec)) == (elements, nbytes, text)


@pytest.mark.parametrize("shape", [None, (None,), (2, None)])
def test_an_unknown_shape_is_not_known(shape):
    with pytest.raises(UnsupportedError, match="expected the size of every dimension, got float32"):
        _ = TensorSpec("float32", shape).known_shape
    assert TensorSpec("float32", (2, 0)).known_shape == (2, 0)


def test_strings_have_no_fixed_number_of_bytes():
    assert TensorSpec("string", (2,)).nbytes is None
    assert TensorSpec("variant", ()).nbytes is None


@pytest.mark.parametrize(
    ("mine", "theirs", "accepted"),
    [
        ((2, 3), (2, 3), True),
        ((2, 3), (3, 2), False),
        ((2, 3), (2,), False),
        ((None, 3), (7, 3), True),
        ((7, 3), (None, 3), True),
        (None, (1, 2), True),
        ((1, 2), None, True),
        ((), (), True),
        ((), (1,), False),
    ],
)
def test_which_shapes_fit(mine, theirs, accepted):
    assert TensorSpec("int8", mine).accepts(TensorSpec("int8", theirs)) is accepted
    assert not TensorSpec("int8", mine).accepts(TensorSpec("uint8", theirs))


def test_a_payload_loads_its_array():
    array = np.zeros((2, 2), np.int8)
    assert payload_of(array).load() is array
    assert payload_of(array).spec == spec_of(array) == TensorSpec("int8", (2, 2))
    assert payload_of(array, "qint8").spec.dtype == "qint8"


def test_payloads_of_one_spec_are_equal_for_all_elements():
    assert payload_of(np.zeros(2)) == payload_of(np.ones(2))
