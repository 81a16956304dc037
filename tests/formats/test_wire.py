from __future__ import annotations

import pytest

from tfpersist.errors import CorruptionError
from tfpersist.formats import wire


def walk(data, start=0, end=None):
    view = memoryview(data)
    return list(wire.fields(view, start, len(view) if end is None else end, "f"))


def test_each_wire_type_is_measured():
    data = b"\x08\x96\x01" + b"\x11" + bytes(8) + b"\x1a\x02ab" + b"\x25" + bytes(4)
    found = walk(data)
    assert [(f.number, f.wire_type, f.size) for f in found] == [
        (1, wire.VARINT, 2),
        (2, wire.FIXED64, 8),
        (3, wire.BYTES, 2),
        (4, wire.FIXED32, 4),
    ]
    assert [f.start for f in found[1:]] == [f.end for f in found[:-1]]
    assert found[-1].end == len(data)
    assert data[found[2].body : found[2].end] == b"ab"


def test_a_part_of_a_buffer():
    (field,) = walk(b"xx\x0a\x01axx", 2, 5)
    assert (field.start, field.body, field.end) == (2, 4, 5)


def test_a_group_reaches_to_the_end():
    assert [(f.number, f.end) for f in walk(b"\x08\x01\x13\x08\x01\x14")] == [(1, 2), (2, 6)]


@pytest.mark.parametrize(
    "data",
    [b"\x0a", b"\x0a\x05abc", b"\x08", b"\x08\xff", b"\x11abc", b"\x25abc", b"\x00\x01",
     b"\x0e", b"\x0f", b"\xff" * 11, b"\x0a" + b"\xff" * 9 + b"\x01"],
)  # fmt: skip
def test_damage_is_named(data):
    with pytest.raises(CorruptionError) as caught:
        walk(data)
    assert caught.value.file == "f"
