"""Compare two checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import ml_dtypes  # noqa: F401  (lets numpy convert bfloat16 and its kin)
import numpy as np

from tfpersist.errors import counted, printable
from tfpersist.formats.read_only import ReadOnly
from tfpersist.formats.tensors import TensorSpec, spec_of

_SHOWN = 20
_CHUNK = 1 << 18


@attrs.frozen
class Difference:
    """The differences between two checkpoints.

    Args:
        added: tensors that only the second has.
        removed: tensors that only the first has.
        mismatched: tensors of another data type or shape: the spec in the first and in the second.
        changed: tensors with other elements: the largest absolute difference; None for strings and
            booleans, NaN if only one of two elements is NaN.
        same: the number of tensors that are equal bit by bit.

    Example:
        >>> print(Difference(("b",), (), {}, {"a": 0.5}, 3))
        3 tensors are equal, 1 added, 1 changed
          + b
          ~ a  by up to 0.5
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    mismatched: Mapping[str, tuple[TensorSpec, TensorSpec]]
    changed: Mapping[str, float | None]
    same: int

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.mismatched or self.changed)

    def __str__(self) -> str:
        counts = {
            "added": len(self.added),
            "removed": len(self.removed),
            "of another type or shape": len(self.mismatched),
            "changed": len(self.changed),
        }
        head = [counted(self.same, "tensor is equal", "tensors are equal")]
        head += [f"{count} {change}" for change, count in counts.items() if count]
        groups = (
            [f"  + {key}" for key in self.added],
            [f"  - {key}" for key in self.removed],
            [f"  ≠ {key}  {one} → {other}" for key, (one, other) in self.mismatched.items()],
            [
                f"  ~ {key}" if largest is None else f"  ~ {key}  by up to {largest:.6g}"
                for key, largest in self.changed.items()
            ],
        )
        lines = [line for group in groups for line in _shortened(group)]
        return "\n".join(map(printable, [", ".join(head), *lines]))


def _shortened(lines: list[str]) -> list[str]:
    excess = len(lines) - _SHOWN
    return [*lines[:_SHOWN], f"  … and {excess} more"] if excess > 0 else lines


def compare(
    one: Mapping[str, np.ndarray[Any, Any]], other: Mapping[str, np.ndarray[Any, Any]]
) -> Difference:
    """Compare two checkpoints, one tensor at a time.

    Args:
        one: the first.
        other: the second.

    Returns:
        The differences.

    Example:
        >>> compare({"a": np.zeros(2)}, {"a": np.float64([0, 3])}).changed["a"]
        3.0
    """
    mismatched, changed, same = {}, {}, 0
    for key in sorted(one.keys() & other.keys()):
        specs = _spec(one, key), _spec(other, key)
        if specs[0] != specs[1]:
            mismatched[key] = specs
            continue
        left, right = np.asarray(one[key]), np.asarray(other[key])
        if _equal(left, right):
            same += 1
        else:
            changed[key] = _largest_difference(left, right)
    return Difference(
        tuple(sorted(other.keys() - one.keys())),
        tuple(sorted(one.keys() - other.keys())),
        ReadOnly(mismatched),
        ReadOnly(changed),
        same,
    )


def _spec(mapping: Mapping[str, np.ndarray[Any, Any]], key: str) -> TensorSpec:
    specs: Mapping[str, TensorSpec] = getattr(mapping, "specs", {})
    return specs[key] if key in specs else spec_of(np.asarray(mapping[key]))


def _pieces(
    left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]
) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    one, other = left.reshape(-1), right.reshape(-1)
    for at in range(0, one.size, _CHUNK):
        yield one[at : at + _CHUNK], other[at : at + _CHUNK]


def _equal(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    if left.dtype.kind in "OSU":
        return bool((left == right).all())
    return all(
        bool((one.view(np.uint8) == other.view(np.uint8)).all())
        for one, other in _pieces(left, right)
    )


def _largest_difference(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> float | None:
    if left.dtype.kind in "OSUb":
        return None
    wide = np.complex128 if left.dtype.kind == "c" else np.float64
    largest = 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        for one, other in _pieces(left, right):
            a, b = one.astype(wide), other.astype(wide)
            difference = np.abs(a - b)
            # Equal infinities do not differ, and NaN does not differ from NaN.
            difference[(a == b) | (np.isnan(a) & np.isnan(b))] = 0
            if np.isnan(difference).any():
                return float("nan")
            largest = max(largest, float(difference.max()))
    return largest
