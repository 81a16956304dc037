import io

import pytest

from tfpersist.checkpoint.views import ViewFile


def test_reads_what_is_there_and_no_more():
    file = ViewFile(memoryview(b"abcdef"))
    assert (file.read(2), file.read(), file.read(3)) == (b"ab", b"cdef", b"")


@pytest.mark.parametrize(
    ("offset", "whence", "place"),
    [(2, io.SEEK_SET, 2), (-1, io.SEEK_END, 3), (-9, io.SEEK_END, 0), (9, io.SEEK_SET, 9)],
)
def test_seeks_as_a_file_in_memory_does(offset, whence, place):
    file, other = ViewFile(memoryview(b"abcd")), io.BytesIO(b"abcd")
    assert file.seek(offset, whence) == other.seek(offset, whence) == file.tell() == place
    assert file.read() == other.read()


def test_fills_a_buffer_of_another_shape():
    file, buffer = ViewFile(memoryview(b"abcd")), bytearray(3)
    file.seek(2)
    assert file.readinto(buffer) == 2
    assert buffer == b"cd\0"
