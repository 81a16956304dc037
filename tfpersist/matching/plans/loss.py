"""Measure what a tensor loses when it is cast to another float type. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np

from tfpersist.errors import counted, printable
from tfpersist.formats.tensors import Array

# float64 needs up to four times the memory of the tensors, so a part at a time is compared.
_PART = 1 << 20


@attrs.frozen
class Loss:
    """The loss of precision when one tensor was cast.

    Args:
        variable: the variable's name.
        found: the data type of the tensor.
        wanted: the data type of the variable.
        absolute: the largest difference of an element, without those that became infinite.
        relative: the largest difference of an element, divided by it; without the same.
        overflows: how many finite elements became infinite.
        underflows: how many elements became 0.

    Example:
        >>> print(Loss("w", "float32", "float16", 1e-4, 2e-4, overflows=2))
        w: float32 to float16: largest error 0.0001, relative 0.0002; 2 elements became infinite
    """

    variable: str
    found: str
    wanted: str
    absolute: float = 0.0
    relative: float = 0.0
    overflows: int = 0
    underflows: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether each element kept its value."""
        return not (self.absolute or self.overflows)

    def __str__(self) -> str:
        text = f"{printable(self.variable)}: {self.found} to {self.wanted}: "
        if self.is_exact:
            return text + "no loss"
        text += f"largest error {self.absolute:.3g}, relative {self.relative:.3g}"
        for count, became in ((self.overflows, "infinite"), (self.underflows, "0")):
            if count:
                text += f"; {counted(count, 'element')} became {became}"
        return text


def loss_of(variable: str, before: Array, after: Array) -> Loss:
    """Return what a cast has lost.

    Args:
        variable: the variable's name.
        before: the tensor.
        after: the same elements in the type of the variable.

    Example:
        >>> print(loss_of("w", np.float64([1e300, 1e-300]), np.float32([np.inf, 0])))
        w: float64 to float32: largest error 1e-300, relative 1; 1 element became infinite; 1 \
element became 0
    """
    absolute = relative = 0.0
    overflows = underflows = 0
    for old, new in _parts(before, after):
        finite = np.isfinite(old)
        became_infinite = finite & np.isinf(new)
        overflows += int(became_infinite.sum())
        underflows += int(((old != 0) & (new == 0)).sum())
        kept = finite & ~became_infinite
        difference = np.abs(old[kept] - new[kept])
        absolute = max(absolute, float(difference.max(initial=0.0)))
        size = np.abs(old[kept])
        # The difference of 0 is 0.
        ratio = np.divide(difference, size, out=np.zeros_like(size), where=size > 0)
        relative = max(relative, float(ratio.max(initial=0.0)))
    return Loss(
        variable,
        before.dtype.name,
        after.dtype.name,
        absolute,
        relative,
        overflows,
        underflows,
    )


def _parts(before: Array, after: Array) -> Iterator[tuple[Array, Array]]:
    old, new = before.reshape(-1), after.reshape(-1)
    for start in range(0, old.size, _PART):
        part = slice(start, start + _PART)
        yield old[part].astype(np.float64), new[part].astype(np.float64)
