"""Compute the checksum of TensorFlow's files: CRC-32C, stored in a masked form.

``masked = rotate_right(crc, 15) + 0xa282ead8``, modulo 2**32. Without the mask, the checksum of
bytes that contain their own checksum would be weak.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import google_crc32c
import numpy as np

# A chunk that fits in the processor's cache.
_CHUNK = 1 << 20

_DELTA = 0xA282EAD8
_ALL = 0xFFFFFFFF

# A copy of so few bytes costs less than an array over them.
_SMALL = 1 << 12
# From this size on, other threads run meanwhile. For less, the switch costs more than it saves.
_LARGE = 1 << 18


def _unlocked() -> Callable[[int, int, int], int] | None:
    """Return the C function below google_crc32c, which does not block the other threads.

    google_crc32c itself holds the interpreter lock. None if the C function cannot be found.
    """
    try:
        extension = importlib.import_module("google_crc32c._crc32c")
        extend = ctypes.CDLL(extension.__file__).crc32c_extend
    except (ImportError, AttributeError, OSError):
        return None
    extend.argtypes = [ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t]
    extend.restype = ctypes.c_uint32
    # The check value of CRC-32C.
    return extend if extend(0, b"123456789", 9) == 0xE3069283 else None


_EXTEND = _unlocked()
# Whether it is worth a thread to compute the checksum of many bytes.
LETS_OTHERS_RUN = _EXTEND is not None


def masked(crc: int) -> int:
    """Return a checksum in its stored, masked form.

    Example:
        >>> hex(masked(0)), unmasked(masked(12345))
        ('0xa282ead8', 12345)
    """
    return ((crc >> 15 | crc << 17) + _DELTA) & _ALL


def all_masked(crcs: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Return many checksums in their stored, masked form.

    Example:
        >>> hex(all_masked(np.array([0], np.uint32))[0])
        '0xa282ead8'
    """
    plain = crcs.astype(np.uint32)
    return (plain >> np.uint32(15) | plain << np.uint32(17)) + np.uint32(_DELTA)


def unmasked(stored: int) -> int:
    """Return the checksum whose masked form is `stored`."""
    rotated = (stored - _DELTA) & _ALL
    return (rotated >> 17 | rotated << 15) & _ALL


def of_bytes(data: bytes) -> int:
    """Return the checksum of a few bytes; faster than `of` where there are few.

    Example:
        >>> hex(of_bytes(b"123456789"))
        '0xe3069283'
    """
    return int(google_crc32c.value(data))


def of_each(buffers: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Return the plain checksum of each of many short buffers.

    Args:
        buffers: bytes, or contiguous arrays of Python's own data types.

    Example:
        >>> hex(of_each([b"123456789"])[0])
        '0xe3069283'
    """
    return np.fromiter(map(google_crc32c.value, buffers), np.uint32, len(buffers))


def of(*buffers: bytes | bytearray | memoryview | np.ndarray[Any, Any], start: int = 0) -> int:
    """Return the plain checksum of the bytes of several buffers, without copying them.

    Args:
        buffers: contiguous bytes, one after the other; arrays of any data type of a fixed size.
        start: the plain checksum of the bytes before them.

    Example:
        >>> hex(of(b"123456789")), of(b"1234", memoryview(b"56789")) == of(b"123456789")
        ('0xe3069283', True)
    """
    crc = start
    for buffer in buffers:
        if type(buffer) is bytes:
            crc = google_crc32c.extend(crc, buffer)
            continue
        if type(buffer) is memoryview and buffer.nbytes <= _SMALL:
            crc = google_crc32c.extend(crc, bytes(buffer))
            continue
        if isinstance(buffer, np.ndarray):
            if buffer.nbytes < _LARGE and buffer.flags.c_contiguous:
                crc = google_crc32c.extend(crc, buffer)
                continue
            flat = buffer.reshape(-1).view(np.uint8)
        else:
            flat = np.frombuffer(buffer, np.uint8)
        if _EXTEND is not None and flat.size >= _LARGE:
            crc = _EXTEND(crc, flat.ctypes.data, flat.size)
            continue
        for at in range(0, flat.size, _CHUNK):
            crc = google_crc32c.extend(crc, flat[at : at + _CHUNK])
    return int(crc)
