"""Whether one model gives what another gave, tensor by tensor."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from tfpersist.errors import printable
from tfpersist.formats.tensors import spec_of
from tfpersist.graph.describe.golden import Array, GoldenTensor, digest

_NUMBERS = frozenset("fc")


@attrs.frozen
class Difference:
    """How one output of a model differs from what it should be.

    Args:
        output: the tensor's name.
        beyond: how many of its elements differ by more than the tolerance; of an output that is
            not wholly known, of those that are.
        absolute: the largest difference; infinite for what is no number.
        relative: the largest difference in relation to what it should be.
        index: where the first element is that differs by more than the tolerance; None where none
            does.
        expected: that element, or the output's type and shape where these differ.
        found: the same of the model.
        exact: whether it is the same bit by bit.
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
            return f"{self.output} should be {self.expected} and is {self.found}"
        at = f"[{', '.join(map(str, self.index))}]"
        count = "1 element is" if self.beyond == 1 else f"{self.beyond:,} elements are"
        more = f"; {count} beyond the tolerance, the first at {at}"
        return f"{self.output} {largest}{more}: {self.found} instead of {self.expected}"


@attrs.frozen
class Parity:
    """Whether a model gives what it should.

    Args:
        differences: what each output shows.
        tolerance: how much a number may differ: by so much, and by that part of itself.

    Example:
        >>> print(Parity((Difference("y:0"),), 0.0))
        y:0 is the same, bit by bit
    """

    differences: tuple[Difference, ...]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether no output differs by more than the tolerance."""
        return not any(each.beyond for each in self.differences)

    @property
    def exact(self) -> bool:
        """Whether all outputs are the same bit by bit."""
        return all(each.exact for each in self.differences)

    def __str__(self) -> str:
        return "\n".join(printable(str(each)) for each in self.differences)


def compare(expected: GoldenTensor, found: Array, tolerance: float) -> Difference:
    """Compare an output with what is known of how it should be.

    Numbers may differ by `tolerance * (1 + |expected|)`; NaN equals NaN. Integers, truth values and
    strings may not differ.

    Args:
        expected: what is known.
        found: what the model gives.
        tolerance: see above.

    Example:
        >>> from tfpersist.graph.describe.golden import pair
        >>> (known,) = pair({}, {"y:0": np.float32([1, 2, 3])}).outputs
        >>> print(compare(known, np.float32([1, 2.5, 3]), 0.1))
        y:0 differs by at most 0.5, relatively 0.25; 1 element is beyond the tolerance, the first \
at [1]: 2.5 instead of 2.0
    """
    spec = spec_of(found)
    if spec != expected.spec:
        return Difference(
            expected.name, 1, np.inf, np.inf, None, str(expected.spec), str(spec), exact=False
        )
    if digest(found) == expected.digest:
        return Difference(expected.name)
    if expected.values is None:
        told = f"digest {expected.digest[:12]}"
        return Difference(
            expected.name,
            1,
            np.inf,
            np.inf,
            None,
            told,
            f"digest {digest(found)[:12]}",
            exact=False,
        )
    wanted = expected.values.reshape(-1)
    given = found.reshape(-1)[:: expected.stride]
    absolute, relative, beyond = _distances(wanted, given, tolerance)
    first = int(np.argmax(beyond)) if beyond.any() else None
    return Difference(
        expected.name,
        int(np.count_nonzero(beyond)),
        float(absolute.max(initial=0.0)),
        float(relative.max(initial=0.0)),
        None
        if first is None
        else tuple(int(i) for i in np.unravel_index(first * expected.stride, found.shape)),
        "" if first is None else str(wanted[first]),
        "" if first is None else str(given[first]),
        exact=False,
    )


def _distances(wanted: Array, given: Array, tolerance: float) -> tuple[Array, Array, Array]:
    """Give absolute and relative distances, and which elements are beyond the tolerance."""
    if wanted.dtype.kind not in _NUMBERS and not _is_small_float(wanted):
        same = np.asarray(wanted == given, bool)
        distance = np.where(same, 0.0, np.inf)
        return distance, distance, ~same
    wide = np.complex128 if wanted.dtype.kind == "c" else np.float64
    wanted, given = wanted.astype(wide), given.astype(wide)
    same = (wanted == given) | (np.isnan(wanted) & np.isnan(given))
    with np.errstate(all="ignore"):
        absolute = np.where(same, 0.0, np.abs(given - wanted))
        absolute = np.where(np.isnan(absolute), np.inf, absolute)
        size = np.abs(wanted)
        relative = np.where(same, 0.0, absolute / np.where(np.isfinite(size), size, 1.0))
        allowed = tolerance * (1.0 + np.where(np.isfinite(size), size, 0.0))
    return absolute, relative, ~same & ~(absolute <= allowed)


def _is_small_float(values: Array) -> bool:
    name: Any = values.dtype.name
    return str(name).startswith(("bfloat", "float"))
