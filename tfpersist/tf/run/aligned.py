"""Copy arrays to addresses at which TensorFlow uses them without a further copy."""

from __future__ import annotations

from typing import Any

import numpy as np

# Eigen wants tensors at multiples of 16 to 64 bytes, which depends on how it was built.
ALIGNMENT, LEAST_ALIGNMENT = 64, 16


def address_of(array: np.ndarray[Any, Any]) -> int:
    """Return the address of the first element of an array."""
    # `array.ctypes.data` takes three times as long.
    return int(array.__array_interface__["data"][0])


def aligned_copy(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a copy in C order and native byte order at a multiple of `ALIGNMENT` bytes.

    Example:
        >>> copy = aligned_copy(np.arange(6, dtype=">i4").reshape(2, 3).T)
        >>> copy.ctypes.data % ALIGNMENT, copy.dtype.isnative, copy.tolist()
        (0, True, [[0, 3], [1, 4], [2, 5]])
    """
    memory = np.empty(array.nbytes + ALIGNMENT, np.uint8)
    start = -address_of(memory) % ALIGNMENT
    flat = memory[start : start + array.nbytes].view(array.dtype.newbyteorder("="))
    copy: np.ndarray[Any, Any] = flat.reshape(array.shape)
    copy[...] = array
    return copy
