"""Write a skeleton and its payloads as one GraphDef.

Every length is computed first, then the bytes are written in order. Padding before a node moves its
payload to a multiple of 64 bytes. So a program that maps the file can use the payload without a
copy. The checksums of all that was written come last (`graph_checksums.py`).

    Padding = 4: VersionDef { 18931: zeros }
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import GraphError, UnsupportedError
from tfpersist.formats import crc32c, graph_checksums, schema, varint, wire
from tfpersist.formats.bundle_writer import Sink
from tfpersist.formats.graph_checksums import VERSIONS_FIELD
from tfpersist.formats.graphdef import (
    ALIGNMENT,
    APART_FROM,
    LARGEST,
    PADDING_FIELD,
    Graph,
)
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload

_CHUNK = 1 << 20
_VERSIONS_TAG = varint.encode(VERSIONS_FIELD << 3 | wire.BYTES)
_PADDING_TAG = varint.encode(PADDING_FIELD << 3 | wire.BYTES)
# Two tags, and two lengths of one byte.
_LEAST_PADDING = len(_VERSIONS_TAG) + len(_PADDING_TAG) + 2


def size(graph: Graph, *, large: bool = False) -> int:
    """Return the number of bytes that `join` writes.

    Args:
        graph: the graph.
        large: whether more than 2 GB are allowed.

    Raises:
        UnsupportedError: there are more than 2 GB, which no protobuf parser reads.

    Example:
        >>> size(Graph(schema.GraphDef(node=[schema.NodeDef(name="a")])))
        19
    """
    return _total(graph, _layout(graph), large)


def join(graph: Graph, sink: Sink, *, large: bool = False) -> None:
    """Write a graph as one GraphDef.

    The same graph gives the same bytes in any process. One payload is in memory at a time.

    Args:
        graph: the graph.
        sink: the file to write to; `reserve` is called first, with the size.
        large: whether more than 2 GB are allowed, which `split` reads and no protobuf parser does.

    Raises:
        UnsupportedError: the file would be larger than 2 GB; nothing has been written.
        GraphError: a payload does not fit its spec.
    """
    pieces = list(_layout(graph))
    sink.reserve(_total(graph, pieces, large))
    checked = _Checked(sink)
    small: list[bytes] = []
    pending = 0
    for piece in pieces:
        if isinstance(piece, bytes):
            small.append(piece)
            pending += len(piece)
        if small and (pending > _CHUNK or not isinstance(piece, bytes)):
            checked.write(b"".join(small))
            small, pending = [], 0
        if not isinstance(piece, bytes):
            elements = _elements(*piece)
            # A reader takes no smaller payload apart, so the next writer would have fewer.
            if elements.nbytes > APART_FROM:
                checked.write_payload(elements)
            else:
                checked.write(elements)
            piece[1].release()
    if small:
        checked.write(b"".join(small))
    sink.write(graph_checksums.encode(checked.payloads, crc32c.masked(checked.crc)))


@attrs.define(eq=False)
class _Checked:
    """A sink, and the checksums of what it was given."""

    sink: Sink
    size: int = 0
    crc: int = 0
    payloads: list[tuple[int, int, int]] = attrs.field(factory=list)

    def write(self, data: bytes | memoryview) -> None:
        """Write what is not a payload, or a small one."""
        self.crc = crc32c.of(data, start=self.crc)
        self.sink.write(data)
        self.size += memoryview(data).nbytes

    def write_payload(self, data: memoryview) -> None:
        """Write a payload."""
        self.payloads.append((self.size, data.nbytes, crc32c.masked(crc32c.of(data))))
        self.sink.write(data)
        self.size += data.nbytes


def _layout(graph: Graph) -> Iterator[bytes | tuple[str, Payload]]:
    """Return the pieces of the file in order: bytes, and payloads with their names."""
    # The nodes come first, in their order.
    whole = graph.proto.SerializeToString(deterministic=True)
    position = start = after = 0
    for node in graph.proto.node if graph.payloads else ():
        before = after
        length, body = varint.read(whole, before + 1, len(whole), file=node.name)
        after = body + length
        payload = graph.payloads.get(node.name)
        if payload is None:
            continue
        if start < before:
            position += before - start
            yield whole[start:before]
        start = after
        nbytes = payload.spec.nbytes
        if nbytes is None:
            raise GraphError(
                f"a payload of type {payload.spec} has no fixed size", where=f"node {node.name}"
            )
        head = _header(node, nbytes)
        if nbytes >= APART_FROM:
            head = _padding(position + len(head)) + head
        position += len(head) + nbytes
        yield head
        yield node.name, payload
    yield whole[start:]


def _header(node: Message, nbytes: int) -> bytes:
    """Encode a Const up to its elements."""
    plain = schema.NodeDef()
    plain.CopyFrom(node)
    tensor = schema.TensorProto()
    tensor.CopyFrom(node.attr["value"].tensor)
    tensor.ClearField("tensor_content")
    del plain.attr["value"]
    head: bytes = tensor.SerializeToString(deterministic=True) + b"\x22" + varint.encode(nbytes)
    for before, tag in ((b"", b"\x42"), (b"\x0a\x05value", b"\x12"), (b"", b"\x2a")):
        head = before + tag + varint.encode(len(head) + nbytes) + head
    body: bytes = plain.SerializeToString(deterministic=True)
    return b"\x0a" + varint.encode(len(body) + len(head) + nbytes) + body + head


def _padding(end: int) -> bytes:
    """Encode padding that moves the position `end` to a multiple of `ALIGNMENT`."""
    missing = -end % ALIGNMENT
    if not missing:
        return b""
    if missing < _LEAST_PADDING:
        missing += ALIGNMENT
    zeros = missing - _LEAST_PADDING
    # Both lengths are below 128, so they take one byte each.
    inner = _PADDING_TAG + varint.encode(zeros) + bytes(zeros)
    return _VERSIONS_TAG + varint.encode(len(inner)) + inner


def _total(graph: Graph, pieces: Any, large: bool) -> int:
    total = payloads = 0
    for piece in pieces:
        payloads += not isinstance(piece, bytes) and (piece[1].spec.nbytes or 0) > APART_FROM
        total += len(piece) if isinstance(piece, bytes) else piece[1].spec.nbytes or 0
    total += graph_checksums.nbytes(payloads)
    if total > LARGEST and not large:
        largest = sorted(graph.payloads.items(), key=lambda item: -(item[1].spec.nbytes or 0))[:5]
        raise UnsupportedError(
            "the frozen graph is larger than any protobuf parser reads",
            expected=f"at most {LARGEST:,} bytes",
            found=f"{total:,}; the largest are "
            + ", ".join(f"{name} {item.spec} {item.spec.nbytes:,}" for name, item in largest),
            advice="Store float32 weights in a half or a quarter of the bytes with"
            ' weights("float16") or weights("int8"), or write it with large=True: then only'
            " tfpersist reads it.",
        )
    return total


def _elements(name: str, payload: Payload) -> memoryview:
    array = payload.load()
    if array.nbytes != payload.spec.nbytes:
        raise GraphError(
            "the elements do not fill the constant",
            where=f"node {name}",
            expected=payload.spec,
            found=f"{array.dtype}{list(array.shape)}",
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    flat: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return memoryview(flat).toreadonly()
