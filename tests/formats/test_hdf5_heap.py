import struct

import pytest

from tfpersist.errors import CorruptionError
from tfpersist.formats.hdf5_heap import check_heaps


def heap(*objects, size=128):
    """Return a heap: (number, size) of each object."""
    data = b"GCOL\x01\0\0\0" + struct.pack("<Q", size)
    for number, length in objects:
        data += struct.pack("<HHIQ", number, 1, 0, length)
        data += bytes(min((length + 7) // 8 * 8 if number else max(length - 16, 0), size))
    return memoryview(data.ljust(size, b"\0"))


@pytest.mark.parametrize(
    "data",
    [
        heap((1, 3), (2, 8), (0, 128 - 16 - 24 - 24)),
        heap((1, 96)),
        heap((1, 3), size=1 << 12)[:100],
        memoryview(b"GCOL\x01"),
        memoryview(b""),
    ],
    ids=["free space", "full", "cut off", "only its name", "empty"],
)
def test_what_has_an_end_is_left_to_the_library(data):
    assert check_heaps(data, "f") is None


@pytest.mark.parametrize("size", [0, 1 << 20, (1 << 64) - 1])
@pytest.mark.parametrize("before", [b"", b"GCOL\x01GCOL", bytes(40)])
def test_an_object_with_a_wrong_size_is_damage(before, size):
    data = memoryview(before + bytes(heap((1, 3), (0, size))))
    with pytest.raises(CorruptionError) as caught:
        check_heaps(data, "model.h5")
    assert caught.value.offset == len(before) + 16 + 24
