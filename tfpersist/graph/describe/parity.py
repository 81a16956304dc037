"""Parity: compare the outputs of a model with those that another model computed."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from tfpersist.errors import printable
from tfpersist.formats.tensors import Array, spec_of
from tfpersist.graph.describe.golden import GoldenTensor, digest

# numpy kinds of the numbers that may differ by a tolerance.
_NUMBERS = frozenset("fc")


@attrs.frozen
class OutputDifference:
    """The difference between one output of a model and the expected output.

    Args:
        output: the name of the tensor.
        beyond: how many elements differ by more than the tolerance, among the elements whose
            expected values are known.
        absolute: the largest difference; infinite if the values are not numbers.
        relative: the largest difference divided by the size of the expected value.
        index: the index of the first element that differs by more than the tolerance; None if
            there is none.
        expected: the expected value of that element. If type, shape or digest differ: the expected
            one.
        found: the value, type and shape, or digest of the model's output.
        exact: whether the outputs are the same bit by bit.

    Example:
        >>> print(OutputDifference("y:0", absolute=1e-6, relative=5e-7, exact=False))
        y:0 differs by at most 1e-06, relatively 5e-07
    """

    output: str
    beyond: int = 0
    absolute: float = 0.0
    relative: float = 0.0
    index: tuple[int, ...] | None = None
    expected: str = ""
    found: str = ""
    exact: bool = True

    def __str__(self) -> str:
        if self.exact:
            return f"{self.output} is the same, bit by bit"
        largest = f"differs by at most {self.absolute:.3g}, relatively {self.relative:.3g}"
        if not self.beyond:
            return f"{self.output} {largest}"
        if self.index is None:
            return f"{self.output}: expected {self.expected}, got {self.found}"
        index = f"[{', '.join(map(str, self.index))}]"
        count = "1 element is" if self.beyond == 1 else f"{self.beyond:,} elements are"
        more = f"{count} beyond the tolerance, the first at {index}"
        return f"{self.output} {largest}; {more}: expected {self.expected}, got {self.found}"


@attrs.frozen
class Parity:
    """The comparison of a model's outputs with the expected outputs.

    Args:
        differences: the difference of each output.
        tolerance: numbers may differ by `tolerance * (1 + |expected|)`.
        note: what `FrozenModel.verify` says of the bytes of the file.

    Example:
        >>> print(Parity((OutputDifference("y:0"),), 0.0))
        y:0 is the same, bit by bit
    """

    differences: tuple[OutputDifference, ...]
    tolerance: float
    note: str = ""

    @property
    def ok(self) -> bool:
        """True if no output differs by more than the tolerance."""
        return not any(difference.beyond for difference in self.differences)

    @property
    def exact(self) -> bool:
        """True if all outputs are the same bit by bit."""
        return all(difference.exact for difference in self.differences)

    def __str__(self) -> str:
        lines = [*map(str, self.differences), *filter(None, [self.note])]
        return "\n".join(map(printable, lines))


def compare(expected: GoldenTensor, actual: Array, tolerance: float) -> OutputDifference:
    """Compare an output with the expected output, as far as its values are known.

    Floats and complex numbers may differ by `tolerance * (1 + |expected|)`; NaN equals NaN. Values
    of other types may not differ.

    Args:
        expected: the expected output.
        actual: the output of the model.
        tolerance: see above.

    Example:
        >>> from tfpersist.graph.describe.golden import pair
        >>> (known,) = pair({}, {"y:0": np.float32([1, 2, 3])}).outputs
        >>> print(compare(known, np.float32([1, 2.5, 3]), 0.1))
        y:0 differs by at most 0.5, relatively 0.25; 1 element is beyond the tolerance, the first \
at [1]: expected 2.0, got 2.5
    """
    spec = spec_of(actual)
    if spec != expected.spec:
        return _another(expected.name, str(expected.spec), str(spec))
    actual_digest = digest(actual)
    if actual_digest == expected.digest:
        return OutputDifference(expected.name)
    if expected.values is None:
        digests = (f"digest {sha256[:12]}" for sha256 in (expected.digest, actual_digest))
        return _another(expected.name, *digests)
    expected_values = expected.values.reshape(-1)
    values = actual.reshape(-1)[:: expected.stride]
    absolute, relative, beyond = _distances(expected_values, values, tolerance)
    first = int(np.argmax(beyond)) if beyond.any() else None
    return OutputDifference(
        expected.name,
        int(np.count_nonzero(beyond)),
        float(absolute.max(initial=0.0)),
        float(relative.max(initial=0.0)),
        None
        if first is None
        else tuple(int(i) for i in np.unravel_index(first * expected.stride, actual.shape)),
        "" if first is None else str(expected_values[first]),
        "" if first is None else str(values[first]),
        exact=False,
    )


def _another(output: str, expected: str, found: str) -> OutputDifference:
    """Return the difference of an output that cannot be compared element by element."""
    return OutputDifference(output, 1, np.inf, np.inf, None, expected, found, exact=False)


def _distances(expected: Array, actual: Array, tolerance: float) -> tuple[Array, Array, Array]:
    """Return absolute and relative distances, and which elements are beyond the tolerance."""
    if expected.dtype.kind not in _NUMBERS and not _is_small_float(expected):
        same = np.asarray(expected == actual, bool)
        distance = np.where(same, 0.0, np.inf)
        return distance, distance, ~same
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    expected, actual = expected.astype(wide), actual.astype(wide)
    same = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
    with np.errstate(all="ignore"):
        absolute = np.where(same, 0.0, np.abs(actual - expected))
        absolute = np.where(np.isnan(absolute), np.inf, absolute)
        size = np.abs(expected)
        relative = np.where(same, 0.0, absolute / np.where(np.isfinite(size), size, 1.0))
        allowed = tolerance * (1.0 + np.where(np.isfinite(size), size, 0.0))
    return absolute, relative, ~same & ~(absolute <= allowed)


def _is_small_float(values: Array) -> bool:
    name: Any = values.dtype.name
    return str(name).startswith(("bfloat", "float"))
