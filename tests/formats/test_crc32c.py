"""The checksum and its mask."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.formats import crc32c

# RFC 3720, B.4.
VECTORS = {
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
    bytes(reversed(range(32))): 0x113FDB5C,
}


def test_the_vectors_of_the_standard():
    assert {data: crc32c.of(data) for data in VECTORS} == VECTORS


@given(st.integers(0, 0xFFFFFFFF))
def test_a_mask_can_be_undone(crc):
    assert crc32c.unmasked(crc32c.masked(crc)) == crc
    assert crc32c.masked(crc) != crc


def test_any_buffer_of_any_alignment_and_length():
    data = bytes(range(256)) * 8193
    whole = crc32c.of(data)
    assert len(data) > crc32c._CHUNK
    assert crc32c.of(memoryview(data)) == whole
    assert crc32c.of(bytearray(data)) == whole
    assert crc32c.of(np.frombuffer(data, np.float64)) == whole
    assert crc32c.of(memoryview(data)[:3], memoryview(data)[3:]) == whole
    assert crc32c.of(data[7:], start=crc32c.of(data[:7])) == whole
    assert crc32c.of() == crc32c.of(b"") == crc32c.of(np.zeros((0, 3))) == 0
