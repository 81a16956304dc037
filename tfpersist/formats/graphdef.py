"""GraphDef bytes to skeleton and payloads.

    GraphDef   = { 1: NodeDef } { 2: library } { 3: version } { 4: versions }
    NodeDef    = 1: name  2: op  3: input ...  5: { 1: "value"  2: AttrValue }
    AttrValue  = 8: TensorProto
    TensorProto= 1: dtype  2: tensor_shape  4: tensor_content

`split` walks this one path by hand, so the bytes of a large Const are never copied: the skeleton
holds the Const with an empty `tensor_content`, and a payload looks at the bytes where they lie.
Fields 1 to 5 of GraphDef are TensorFlow's; `graphdef_writer` adds fields of number `PADDING_FIELD`,
which readers skip as any unknown field.
"""

from __future__ import annotations

import collections
import functools
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import CorruptionError
from tfpersist.formats import dtypes, schema, varint, wire
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload, TensorSpec

PADDING_FIELD = 18931
ALIGNMENT = 64
# Constants of fewer bytes are not worth a payload.
APART_FROM = 1024
# No protobuf parser accepts a longer message.
LARGEST = 2**31 - 1
_NODE = 1 << 3 | wire.BYTES


@attrs.frozen(slots=False)
class Graph:
    """A GraphDef whose large constants are apart from it.

    Args:
        proto: the skeleton, a GraphDef that nobody changes. The `value` of each Const that is
            named in `payloads` has a dtype and a shape, and no elements.
        payloads: the elements of those Consts, by node name.
    """

    proto: Message
    payloads: Mapping[str, Payload] = attrs.field(factory=dict)

    @functools.cached_property
    def nodes(self) -> Mapping[str, Message]:
        """The nodes by name, in their order."""
        return {node.name: node for node in self.proto.node}

    @functools.cached_property
    def functions(self) -> Mapping[str, Message]:
        """The FunctionDefs of the library by name, in their order."""
        return {function.signature.name: function for function in self.proto.library.function}


def split(data: memoryview | bytes, file: str = "", *, larger_than: int = APART_FROM) -> Graph:
    """Take a GraphDef apart without copying its large constants.

    Args:
        data: the encoded GraphDef.
        file: name of the file that the bytes come from, for errors.
        larger_than: constants of more bytes than this become payloads.

    Returns:
        The graph; its payloads look at `data`.

    Raises:
        CorruptionError: the bytes are no GraphDef, or two of its nodes have one name.

    Example:
        >>> graph = split(schema.GraphDef(node=[schema.NodeDef(name="a")]).SerializeToString())
        >>> [node.name for node in graph.proto.node]
        ['a']
    """
    view = memoryview(data).toreadonly().cast("B")
    kept: list[bytes | memoryview] = []
    payloads: dict[str, Payload] = {}
    copied = 0
    for field in _large(view, larger_than, file):
        if field.number == PADDING_FIELD and field.wire_type == wire.BYTES:
            kept.append(view[copied : field.start])
            copied = field.end
        elif field.number == 1 and field.wire_type == wire.BYTES and field.size > larger_than:
            hole = _hole(view, field, file, larger_than)
            if hole is not None and hole.name not in payloads:
                kept += [view[copied : field.start], hole.skeleton]
                copied = field.end
                payloads[hole.name] = hole.payload
    kept.append(view[copied:])
    graph = Graph(schema.parse(schema.GraphDef, b"".join(kept), file=file), payloads)
    _refuse_duplicates(graph, file)
    return graph


def parse_text(data: bytes | memoryview, file: str = "") -> Graph:
    """Read a GraphDef in text form, as a `.pbtxt` holds it.

    Raises:
        CorruptionError: the text is no GraphDef.

    Example:
        >>> parse_text(b'node { name: "a" op: "NoOp" }').proto.node[0].op
        'NoOp'
    """
    graph = Graph(schema.parse_text(schema.GraphDef, data, file=file))
    _refuse_duplicates(graph, file)
    return graph


def parse_meta(data: bytes | memoryview, file: str = "") -> Message:
    """Read a MetaGraphDef, as a `.meta` holds it.

    Raises:
        CorruptionError: the bytes are no MetaGraphDef.

    Example:
        >>> len(parse_meta(b"").graph_def.node)
        0
    """
    return schema.parse(schema.MetaGraphDef, data, file=file)


def parse_saved_model(data: bytes | memoryview, file: str = "") -> Message:
    """Read a SavedModel, as a `saved_model.pb` holds it.

    Raises:
        CorruptionError: the bytes are no SavedModel.

    Example:
        >>> len(parse_saved_model(b"").meta_graphs)
        0
    """
    return schema.parse(schema.SavedModel, data, file=file)


def with_payload(node: Message, spec: TensorSpec) -> None:
    """Make a node the hole that a payload of this spec belongs in.

    Args:
        node: a NodeDef of the caller's own, which becomes a Const.
        spec: dtype and full shape of the payload.

    Example:
        >>> node = schema.NodeDef(name="w")
        >>> with_payload(node, TensorSpec("float32", (2,)))
        >>> node.op, node.attr["value"].tensor.tensor_shape.dim[0].size
        ('Const', 2)
    """
    number = dtypes.BY_NAME[spec.dtype].number
    node.op = "Const"
    node.attr["dtype"].type = number
    tensor = node.attr["value"].tensor
    tensor.dtype = number
    for extent in spec.shape or ():
        tensor.tensor_shape.dim.add(size=extent)
    tensor.tensor_shape.SetInParent()


@attrs.frozen
class _Hole:
    name: str
    skeleton: bytes
    payload: Payload


def _hole(  # noqa: PLR0911
    view: memoryview, node: wire.Field, file: str, larger_than: int
) -> _Hole | None:
    """Look for the content of a Const; None where the node is not of the plain, usual form."""
    fields = list(wire.fields(view, node.body, node.end, file))
    name = _only(fields, 1)
    operation = _only(fields, 2)
    entries = [field for field in fields if field.number == 5]
    keys = [_key(view, field, file) for field in entries]
    if name is None or operation is None or None in keys or keys.count(b"value") != 1:
        return None
    if bytes(view[operation.body : operation.end]) != b"Const":
        return None
    path = [node, entries[keys.index(b"value")]]
    inner: list[wire.Field] = []
    # Protobuf takes an entry of a map with any other field for none.
    for number, most in ((2, 2), (8, 1), (4, sys.maxsize)):
        inner = list(wire.fields(view, path[-1].body, path[-1].end, file))
        found = _only(inner, number)
        if found is None or len(inner) > most:
            return None
        path.append(found)
    tensor, content = path[-2], path[-1]
    if content.size <= larger_than or any(field.number > 4 for field in inner):
        return None
    without = bytes(view[tensor.body : content.start]) + bytes(view[content.end : tensor.end])
    spec = _spec(schema.parse(schema.TensorProto, without, file=file, offset=tensor.body))
    if spec is None or spec.nbytes != content.size:
        return None
    try:
        label = bytes(view[name.body : name.end]).decode()
    except UnicodeDecodeError:
        return None
    inside = b""
    for outer, hollow in zip(path[-2::-1], path[:0:-1], strict=True):
        before, after = view[outer.body : hollow.start], view[hollow.end : outer.end]
        inside = bytes(before) + inside + bytes(after)
        inside = varint.encode(outer.number << 3 | wire.BYTES) + varint.encode(len(inside)) + inside
    return _Hole(label, inside, _mapped(view[content.body : content.end], spec))


def _only(fields: list[wire.Field], number: int) -> wire.Field | None:
    found = [field for field in fields if field.number == number]
    plain = len(found) == 1 and found[0].wire_type == wire.BYTES
    return found[0] if plain else None


def _key(view: memoryview, entry: wire.Field, file: str) -> bytes | None:
    if entry.wire_type != wire.BYTES:
        return None
    key = _only(list(wire.fields(view, entry.body, entry.end, file)), 1)
    return None if key is None else bytes(view[key.body : key.end])


def _spec(tensor: Message) -> TensorSpec | None:
    dtype = dtypes.by_number(tensor.dtype)
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if (
        dtype is None
        or not dtype.size
        or tensor.tensor_shape.unknown_rank
        or min(shape, default=0) < 0
    ):
        return None
    return TensorSpec(dtype.name, shape)


def _mapped(content: memoryview, spec: TensorSpec) -> Payload:
    def load() -> np.ndarray[Any, Any]:
        flat = np.frombuffer(content, dtypes.BY_NAME[spec.dtype].numpy)
        return flat.reshape(spec.shape)

    return Payload(spec, load)


def _large(view: memoryview, larger_than: int, file: str) -> Iterator[wire.Field]:
    """Give the fields of a GraphDef but for its small nodes, which most are."""
    at, end = 0, len(view)
    while at < end:
        if view[at] == _NODE and at + 2 < end:
            size, body = view[at + 1], at + 2
            if size > 0x7F and view[body] <= 0x7F:
                size, body = size & 0x7F | view[body] << 7, body + 1
            elif size > 0x7F:
                size = larger_than + 1
            if size <= larger_than and body + size <= end:
                at = body + size
                continue
        field = next(wire.fields(view, at, end, file))
        yield field
        at = field.end


def _refuse_duplicates(graph: Graph, file: str) -> None:
    if len(graph.nodes) < len(graph.proto.node):
        counted = collections.Counter(node.name for node in graph.proto.node)
        name = counted.most_common(1)[0][0]
        raise CorruptionError(f"two nodes are called {name!r}", file=file)
