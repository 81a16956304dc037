"""The checksum of TensorFlow's files: CRC-32C, masked where it is stored.

The mask keeps the checksum of bytes that contain their own checksum from degenerating:
``masked = rotate_right(crc, 15) + 0xa282ead8``, modulo 2**32.
"""

from __future__ import annotations

from typing import Any

import google_crc32c
import numpy as np

# The crc of a chunk is computed while the chunk is in the processor's cache.
CHUNK = 1 << 20

_DELTA = 0xA282EAD8
_ALL = 0xFFFFFFFF


def masked(crc: int) -> int:
    """Turn a checksum into the form in which files hold it.

    Example:
        >>> hex(masked(0)), unmasked(masked(12345))
        ('0xa282ead8', 12345)
    """
    return ((crc >> 15 | crc << 17) + _DELTA) & _ALL


def unmasked(stored: int) -> int:
    """Undo `masked`."""
    rotated = (stored - _DELTA) & _ALL
    return (rotated >> 17 | rotated << 15) & _ALL


def of(*buffers: bytes | bytearray | memoryview | np.ndarray[Any, Any], start: int = 0) -> int:
    """Compute the checksum of buffers that follow each other, without copying them.

    Args:
        buffers: contiguous bytes; arrays may have any fixed-size data type.
        start: the checksum of what came before.

    Returns:
        The plain (unmasked) checksum.

    Example:
        >>> hex(of(b"123456789")), of(b"1234", memoryview(b"56789")) == of(b"123456789")
        ('0xe3069283', True)
    """
    crc = start
    for buffer in buffers:
        if type(buffer) is bytes:
            crc = google_crc32c.extend(crc, buffer)
            continue
        if isinstance(buffer, np.ndarray):
            flat = buffer.reshape(-1).view(np.uint8)
        else:
            flat = np.frombuffer(buffer, np.uint8)
        for at in range(0, flat.size, CHUNK):
            crc = google_crc32c.extend(crc, flat[at : at + CHUNK])
    return int(crc)
