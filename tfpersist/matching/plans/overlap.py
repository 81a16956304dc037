"""Assign a tensor to a variable of another shape, where the shapes overlap. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfpersist.formats.tensors import Slice


def overlaid(
    present: np.ndarray[Any, Any], tensor: np.ndarray[Any, Any], part: Slice | None = None
) -> np.ndarray[Any, Any]:
    """Return a value with the elements of a tensor where both shapes overlap.

    Args:
        present: the value; elements outside of the tensor stay.
        tensor: a tensor of the same data type and rank.
        part: the part of the variable that the value is; None if it is the whole.

    Returns:
        A copy.

    Example:
        >>> overlaid(np.zeros((2, 3)), np.ones((1, 9)))
        array([[1., 1., 1.],
               [0., 0., 0.]])
    """
    starts = part.start if part is not None else (0,) * present.ndim
    pairs = list(zip(starts, present.shape, tensor.shape, strict=True))
    sizes = [max(0, min(size, length - start)) for start, size, length in pairs]
    value = present.copy()
    value[tuple(map(slice, sizes))] = tensor[
        tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
    ]
    return value
