"""The protobuf wire format, for the few places that must not copy what they read.

message = { tag value }      tag = varint(number << 3 | wire type)
value   = varint | 8 bytes | varint(length) bytes | 4 bytes, by wire type 0, 1, 2, 5
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from tfpersist.errors import CorruptionError
from tfpersist.formats import varint

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)


@attrs.define(slots=True, frozen=True)
class Field:
    """One field of an encoded message; all positions are offsets in the buffer.

    Args:
        number: the field's number.
        wire_type: how its value is encoded.
        start: where its tag begins.
        body: where its value begins, behind the length if there is one.
        end: where the next field begins.
    """

    number: int
    wire_type: int
    start: int
    body: int
    end: int

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return self.end - self.body


def fields(data: memoryview, position: int, end: int, file: str) -> Iterator[Field]:
    """Walk the fields of the message in `data[position:end]`.

    A group, which TensorFlow never writes, comes as one last field that reaches to the end.

    Raises:
        CorruptionError: a field reaches beyond the end, or has no number.
    """
    while position < end:
        tag, body = varint.read(data, position, end, file=file)
        number, wire_type = tag >> 3, tag & 7
        if not number or wire_type > FIXED32:
            raise CorruptionError("this is no field of a message", file=file, offset=position)
        if wire_type == VARINT:
            _, after = varint.read(data, body, end, file=file)
        elif wire_type == BYTES:
            length, body = varint.read(data, body, end, file=file)
            after = body + length
        elif wire_type in (GROUP, END_GROUP):
            after = end
        else:
            after = body + (8 if wire_type == FIXED64 else 4)
        if after > end:
            raise CorruptionError(
                "a field reaches beyond the end",
                file=file,
                offset=position,
                expected=f"at most {end - body} bytes",
                found=after - body,
            )
        yield Field(number, wire_type, position, body, after)
        position = after
