"""String tensors in a data shard."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import CorruptionError
from tfpersist.formats import string_tensor


def array(values):
    found = np.empty(len(values), object)
    found[:] = values
    return found


def decoded(data, count, offset=10):
    return string_tensor.decode(memoryview(data), count, big_endian=False, file="d", offset=offset)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_strings_survive(values):
    data, crc = string_tensor.encode(array(values))
    found, found_crc = decoded(data, len(values))
    assert found.tolist() == values
    assert found_crc == crc


def test_a_string_tensor_without_elements():
    assert decoded(b"", 0)[0].size == 0
    assert decoded(string_tensor.encode(array([]))[0], 0)[0].size == 0


def test_text_becomes_utf8():
    assert string_tensor.encode(array(["ä"])) == string_tensor.encode(array(["ä".encode()]))


@pytest.mark.parametrize("count", [0, 1, 3, 1 << 62])
def test_another_number_of_strings_is_refused(count):
    data, _ = string_tensor.encode(array([b"a", b"bc"]))
    with pytest.raises(CorruptionError) as caught:
        decoded(data, count)
    assert caught.value.offset >= 10


def test_bytes_after_the_strings_are_refused():
    data, _ = string_tensor.encode(array([b"a", b"bc"]))
    with pytest.raises(CorruptionError, match="do not fill its bytes"):
        decoded(data + b"x", 2)


def test_every_damage_is_noticed_by_one_of_the_checksums(survives):
    values = [b"a", b"", b"b" * 130, b"cd"]
    data, crc = string_tensor.encode(array(values))

    def read(damaged):
        found, found_crc = decoded(damaged, len(values), offset=0)
        return found.tolist() if found_crc == crc else None

    assert survives(read, data, lambda found: found in (None, values))
