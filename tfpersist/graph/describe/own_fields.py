"""Fields of our own in the `versions` of a GraphDef, which other readers skip as unknown.

Some readers refuse a GraphDef with a field that they do not know. None looks for unknown fields
in the messages inside.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

from tfpersist.formats import varint, wire
from tfpersist.formats.graphdef import Graph


def read_field(graph: Graph, number: int) -> bytes | None:
    """Return the first value of a field; None if the graph does not have it.

    Args:
        graph: the graph. Early files of tfpersist have the field in the GraphDef itself.
        number: the number of the field.

    Example:
        >>> from tfpersist.formats import schema
        >>> graph = Graph(schema.GraphDef())
        >>> add_field(graph, 18932, b"{}")
        >>> read_field(graph, 18932), read_field(graph, 18933)
        (b'{}', None)
    """
    for message in (graph.proto.versions, graph.proto):
        fields: Any = UnknownFieldSet(message)
        for field in fields:
            if field.field_number == number and isinstance(field.data, bytes):
                return field.data
    return None


def add_field(graph: Graph, number: int, data: bytes) -> None:
    """Add a field to a graph.

    Args:
        graph: a graph whose GraphDef is the caller's own; it is changed.
        number: the number of the field.
        data: its value.
    """
    tag = varint.encode(number << 3 | wire.BYTES)
    graph.proto.versions.MergeFromString(tag + varint.encode(len(data)) + data)
