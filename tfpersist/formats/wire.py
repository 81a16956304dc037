"""Walk the fields of an encoded protobuf message without copying them.

message = { tag value }      tag = varint(number << 3 | wire type)
value   = varint | 8 bytes | varint(length) bytes | 4 bytes, by wire type 0, 1, 2, 5
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from tfpersist.errors import CorruptionError
from tfpersist.formats import varint

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)


@attrs.frozen
class Field:
    """One field of an encoded message; all positions are offsets in the buffer.

    Args:
        number: the field's number.
        wire_type: how its value is encoded.
        start: where its tag begins.
        body: where its value begins, after the length if there is one.
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
    """Return an iterator over the fields of the message in `data[position:end]`.

    TensorFlow never writes a group. A group counts as one last field that reaches to the end.

    Args:
        data: bytes that contain the message.
        position: where the message begins in `data`.
        end: where the message ends in `data`.
        file: name of the file that `data` comes from, for the error.

    Raises:
        CorruptionError: a field reaches beyond the end, or its number is 0.
    """
    while position < end:
        tag, body = varint.read(data, position, end, file=file)
        number, wire_type = tag >> 3, tag & 7
        if not number or wire_type > FIXED32:
            raise CorruptionError(
                "these bytes are not a field of a message", file=file, offset=position
            )
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
