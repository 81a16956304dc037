"""Check the heaps of an HDF5 file, in which its library would search without end.

A global heap holds texts of any length: "GCOL", a version, its size, then objects one after the
other, each with its size (HDF5 File Format Specification, III.E). The HDF5 library walks from one
object to the next. If a size is zero, or so large that a sum
of 64 bits overflows, it never arrives.
"""

from __future__ import annotations

import re
import struct

from tfpersist.errors import CorruptionError

_HEAP = re.compile(rb"GCOL\x01")
_SIZE = struct.Struct("<Q")
_HEAD = 16
# Number, references, four unused bytes, size.
_OBJECT = struct.Struct("<HHIQ")


def check_heaps(data: memoryview, file: str) -> None:
    """Raise an error for a heap whose objects have no end.

    Args:
        data: the HDF5 file.
        file: its path, for the error.

    Raises:
        CorruptionError: there is such a heap.

    Example:
        >>> heap = b"GCOL\\x01\\0\\0\\0" + bytes([48]) + bytes(7) + bytes(32)
        >>> check_heaps(memoryview(heap), "f")
        Traceback (most recent call last):
        tfpersist.errors.CorruptionError: f, byte 16: an object in a heap has a wrong size...
    """
    for match in _HEAP.finditer(data):
        start = match.start()
        if start + _HEAD > len(data):
            return
        (size,) = _SIZE.unpack_from(data, start + 8)
        end = start + size
        # The library itself refuses a heap that ends after the file.
        at = start + _HEAD if end <= len(data) else end
        while at + _OBJECT.size <= end:
            number, _, _, length = _OBJECT.unpack_from(data, at)
            step = length if number == 0 else _OBJECT.size + (length + 7) // 8 * 8
            if not 0 < step <= end - at:
                raise CorruptionError(
                    "an object in a heap has a wrong size",
                    file=file,
                    offset=at,
                    expected=f"1 to {end - at} bytes",
                    found=step,
                )
            at += step
