import ml_dtypes
import numpy as np
import pytest

from tfpersist.checkpoint import diff
from tfpersist.checkpoint.diff import compare


@pytest.mark.parametrize(
    ("one", "other", "most"),
    [
        (np.uint8([0, 255]), np.uint8([255, 255]), 255.0),
        (np.int64([-(2**62)]), np.int64([2**62]), 2.0**63),
        (np.float32([np.inf]), np.float32([-np.inf]), np.inf),
        (np.float32([0.0]), np.float32([-0.0]), 0.0),
        (np.float32([np.nan, 1]), np.float32([np.nan, 3]), 2.0),
        (np.array([1.5], ml_dtypes.float8_e5m2), np.array([2.0], ml_dtypes.float8_e5m2), 0.5),
        (np.array([1], ml_dtypes.int4), np.array([-8], ml_dtypes.int4), 9.0),
        (np.bool_([True]), np.bool_([False]), None),
        (np.array([b"a"], object), np.array([b"b"], object), None),
        (np.array(b"a", object), np.array(b"b", object), None),
        (np.zeros(600_000), np.append(np.zeros(599_999), 7), 7.0),
    ],
)
def test_largest_difference(one, other, most):
    assert dict(compare({"v": one}, {"v": other}).changed) == {"v": most}
    assert not compare({"v": one}, {"v": one})


def test_an_element_that_is_nan_in_one_checkpoint():
    assert np.isnan(compare({"v": np.float32([np.nan])}, {"v": np.float32([1])}).changed["v"])


def test_empty_and_scalar_tensors():
    both = {"e": np.zeros((0, 2)), "s": np.float32(1), "es": np.array([], object)}
    assert compare(both, both).same == 3


def test_long_lists_are_cut():
    text = str(compare({}, {f"v{number:03}": np.zeros(1) for number in range(50)}))
    assert text.splitlines()[0] == "0 tensors are equal, 50 added"
    assert text.splitlines()[-1] == "  … and 30 more"
    assert len(text.splitlines()) == 22


def test_equal_shapes_of_other_types_are_not_compared():
    difference = compare({"v": np.zeros(3, np.float32)}, {"v": np.zeros(3, np.int32)})
    assert [spec.dtype for spec in difference.mismatched["v"]] == ["float32", "int32"]
    assert not difference.changed
    assert difference.same == 0


def test_the_largest_difference_of_all_pieces_counts(monkeypatch):
    monkeypatch.setattr(diff, "_CHUNK", 4)
    one = np.zeros(12)
    for place in (1, 6, 11):
        other = np.full(12, 0.5)
        other[place] = 3.0
        assert compare({"v": one}, {"v": other}).changed["v"] == 3.0
