"""Variable-length integers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import CorruptionError
from tfpersist.formats import varint


@given(st.integers(0, (1 << 64) - 1), st.binary(max_size=3))
def test_an_integer_survives(number, tail):
    encoded = varint.encode(number)
    assert len(encoded) == max(1, -(-number.bit_length() // 7))
    assert varint.read(b"x" + encoded + tail, 1, 99, file="f") == (number, 1 + len(encoded))


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\x80", b"\xff" * 9, b"\xff" * 10 + b"\x01", b"\xff" * 9 + b"\x02"),
        *(b"\x80" * 20, b"\x80" * 10 + b"\0"),
    ],
)
def test_a_cut_or_long_integer_is_refused_with_its_place(data):
    with pytest.raises(CorruptionError) as caught:
        varint.read(memoryview(data), 0, len(data), file="f", offset=7)
    assert (caught.value.file, caught.value.offset) == ("f", 7)


def test_it_does_not_read_over_the_end_it_is_given():
    with pytest.raises(CorruptionError, match="cut off"):
        varint.read(b"\xac\x02", 0, 1, file="f")
