"""Outputs of a model beside those that are expected."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tfpersist.graph.describe import golden
from tfpersist.graph.describe.parity import OutputDifference, Parity, compare

VALUES = {
    "f:0": np.float32([[1, np.nan], [-0.0, np.inf]]),
    "half:1": np.array([1.5], ml_dtypes.bfloat16),
    "whole:0": np.int64(3).reshape(()),
    "flag:0": np.array([True, False]),
    "text:0": np.array([b"", b"\x00\xff"], object),
    "empty:0": np.zeros((0, 3), np.float64),
    "complex:0": np.array([1 + 2j], np.complex64),
}


@pytest.mark.parametrize("name", VALUES)
def test_the_same_is_exact(name):
    (held,) = golden.pair({}, {name: VALUES[name]}).outputs
    assert compare(held, VALUES[name].copy(), 0.0).exact


@pytest.mark.parametrize(
    ("expected", "found", "tolerance", "beyond"),
    [
        (np.float32([1, 100]), np.float32([1.1, 110]), 0.11, 0),
        (np.float32([1, 100]), np.float32([1.1, 110]), 0.01, 2),
        (np.float32([0.0]), np.float32([-0.0]), 0.0, 0),
        (np.float32([np.nan]), np.float32([1]), 9.0, 1),
        (np.float32([1]), np.float32([np.nan]), 9.0, 1),
        (np.float32([np.inf, 1]), np.float32([np.inf, 1.1]), 0.2, 0),
        (np.float32([np.inf]), np.float32([-np.inf]), 9.0, 1),
        (np.int64([150_000]), np.int64([150_001]), 0.5, 1),
        (np.array([True]), np.array([False]), 1.0, 1),
        (np.array([b"a"], object), np.array([b"b"], object), 1.0, 1),
        (np.array([1], ml_dtypes.bfloat16), np.array([1.1], ml_dtypes.bfloat16), 0.2, 0),
        (np.complex64([1j]), np.complex64([2j]), 0.6, 0),
        (np.complex64([1j]), np.complex64([2j]), 0.4, 1),
        (np.float32([1]), np.float32([[1]]), 1.0, 1),
        (np.float32([1]), np.float64([1]), 1.0, 1),
    ],
)
def test_differences_within_the_tolerance_are_allowed(expected, found, tolerance, beyond):
    (held,) = golden.pair({}, {"y:0": expected}).outputs
    difference = compare(held, found, tolerance)
    assert difference.beyond == beyond
    assert Parity((difference,), tolerance).ok is (beyond == 0)
    assert not difference.exact
    assert "y:0" in str(difference)


def test_the_largest_differences_and_the_first_place():
    expected = np.float64([[1.0, 2.0, 4.0], [np.nan, 0.0, np.inf]])
    actual = np.float64([[1.0, 2.5, 3.0], [np.nan, 0.25, np.inf]])
    (output,) = golden.pair({}, {"y:0": expected}).outputs
    difference = compare(output, actual, 0.1)
    assert (difference.absolute, difference.relative, difference.beyond) == (1.0, np.inf, 3)
    assert (difference.index, difference.expected, difference.found) == ((0, 1), "2.0", "2.5")
    assert "[0, 1]: expected 2.0, got 2.5" in str(difference)
    assert "3 elements are" in str(difference)
    within = compare(output, actual, 1.0)
    assert (within.beyond, within.index, within.expected) == (0, None, "")
    assert str(within) == "y:0 differs by at most 1, relatively inf"


def test_the_tolerance_is_absolute_and_relative():
    (output,) = golden.pair({}, {"y:0": np.float64([0.0, 100.0])}).outputs
    assert compare(output, np.float64([0.1, 110.1]), 0.1).beyond == 0
    assert compare(output, np.float64([0.11, 110.1]), 0.1).index == (0,)
    assert compare(output, np.float64([0.1, 110.2]), 0.1).index == (1,)


def test_outputs_of_another_shape_or_digest_are_reported_without_elements():
    (output,) = golden.pair({}, {"y:0": np.float32([1, 2])}).outputs
    shape = compare(output, np.float32([[1, 2]]), 9.0)
    assert str(shape) == "y:0: expected float32[2], got float32[1,2]"
    large = np.array([b"x" * 200_000] * 2, object)
    (output,) = golden.pair({}, {"y:0": large}).outputs
    assert output.values is None
    digest = compare(output, large[::-1][:1].repeat(2) + b"y", 9.0)
    assert digest.expected == f"digest {output.digest[:12]}"
    assert digest.found != digest.expected
    assert (digest.beyond, digest.absolute) == (1, np.inf)


def test_parity_holds_if_no_element_is_beyond_the_tolerance():
    exact, close = (
        OutputDifference("y:0"),
        OutputDifference("z:0", absolute=0.1, relative=0.1, exact=False),
    )
    beyond = OutputDifference("w:0", 1, 1.0, 1.0, (0,), "1.0", "2.0", exact=False)
    assert Parity((exact,), 0.0).exact
    assert Parity((exact, close), 0.1).ok
    assert not Parity((exact, close), 0.1).exact
    assert not Parity((close, beyond), 0.1).ok
    assert str(Parity((exact, beyond), 0.1)).splitlines() == [
        "y:0 is the same, bit by bit",
        "w:0 differs by at most 1, relatively 1; 1 element is beyond the tolerance, the first at "
        "[0]: expected 1.0, got 2.0",
    ]
