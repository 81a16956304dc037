"""Read a GraphDef as a skeleton and the payloads of its large constants.

    GraphDef   = { 1: NodeDef } { 2: library } { 3: version } { 4: versions }
    NodeDef    = 1: name  2: op  3: input ...  5: { 1: "value"  2: AttrValue }
    AttrValue  = 8: TensorProto
    TensorProto= 1: dtype  2: tensor_shape  4: tensor_content

`split` walks this one path by hand, so the bytes of a large Const are never copied: the skeleton
holds the Const with an empty `tensor_content`, and a payload is a view of the bytes in the file.
The writer adds no field to GraphDef, since some readers refuse that. It pads with
further `versions` that hold nothing but the field `PADDING_FIELD`. Protobuf merges all of them into
one, and skips the unknown field in it.
"""

from __future__ import annotations

import collections
import functools
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import CorruptionError
from tfpersist.formats import dtypes, graph_checksums, schema, varint, wire
from tfpersist.formats.graph_checksums import VERSIONS_FIELD, Checksums
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload, TensorSpec

PADDING_FIELD = 18931
ALIGNMENT = 64
# A smaller constant stays in the skeleton.
APART_FROM = 1024
# No protobuf parser accepts a longer message.
LARGEST = 2**31 - 1
_META_TEXT = re.compile(
    rb"\s*(?:#[^\n]*\n\s*)*"
    rb"(?:meta_info_def|graph_def|saver_def|collection_def|signature_def|asset_file_def"
    rb"|object_graph_def)\s*[:{<]"
)
_NODE = 1 << 3 | wire.BYTES
# The number of the field with a node's op.
_OP = 2
# A node of more fields, which are inputs or attrs, stays in the skeleton.
_MOST_FIELDS = 1000


@attrs.frozen(slots=False)
class Graph:
    """A GraphDef, and its large constants apart from it.

    Args:
        proto: the skeleton, a GraphDef that nobody changes. The `value` of each Const that
            `payloads` names has a dtype and a shape, and no elements.
        payloads: the elements of these Consts, by node name.
        checksums: of the file that it was read from; None if the file has none.

    Example:
        >>> graph = parse_text(b'node { name: "x" op: "Placeholder" } node { name: "y" op: "Neg" }')
        >>> list(graph.nodes), dict(graph.payloads)
        (['x', 'y'], {})
    """

    proto: Message
    payloads: Mapping[str, Payload] = attrs.field(factory=dict)
    checksums: Checksums | None = attrs.field(default=None, eq=False, repr=False)

    @functools.cached_property
    def nodes(self) -> Mapping[str, Message]:
        """The nodes by name, in their order."""
        return {node.name: node for node in self.proto.node}

    @functools.cached_property
    def functions(self) -> Mapping[str, Message]:
        """The FunctionDefs of the library by name, in their order."""
        return {function.signature.name: function for function in self.proto.library.function}


def split(data: memoryview | bytes, file: str = "", *, larger_than: int = APART_FROM) -> Graph:
    """Decode a GraphDef without copying its large constants.

    Args:
        data: the encoded GraphDef.
        file: name of the file that the bytes come from, for errors.
        larger_than: constants of more bytes than this become payloads.

    Returns:
        The graph; its payloads are views of `data`.

    Raises:
        CorruptionError: the bytes are not a GraphDef, two of its nodes have one name, or the
            checksum of what is decoded is another one.

    Example:
        >>> graph = split(schema.GraphDef(node=[schema.NodeDef(name="a")]).SerializeToString())
        >>> [node.name for node in graph.proto.node]
        ['a']
    """
    view = memoryview(data).toreadonly().cast("B")
    kept: list[bytes | memoryview] = []
    payloads: dict[str, Payload] = {}
    copied = 0
    checksums = None
    for field in _large(view, larger_than, file):
        checksums = graph_checksums.decode(view, field, file)
        if checksums is not None:
            checksums.check_skeleton()
        if checksums is not None or _is_padding(view, field, file):
            kept.append(view[copied : field.start])
            copied = field.end
        elif field.number == 1 and field.wire_type == wire.BYTES and field.size > larger_than:
            constant = _large_const(view, field, file, larger_than)
            if constant is not None:
                kept += [view[copied : field.start], constant.skeleton]
                copied = field.end
                payloads[constant.name] = constant.payload
    kept.append(view[copied:])
    proto = schema.parse(schema.GraphDef, b"".join(kept), file=file)
    graph = Graph(proto, payloads, checksums)
    _refuse_duplicates(graph, file)
    return graph


def parse_text(data: bytes | memoryview, file: str = "") -> Graph:
    """Decode a GraphDef in text form, such as a `.pbtxt`.

    Raises:
        CorruptionError: the text is not a GraphDef.

    Example:
        >>> parse_text(b'node { name: "a" op: "NoOp" }').proto.node[0].op
        'NoOp'
    """
    graph = Graph(schema.parse_text(schema.GraphDef, data, file=file))
    _refuse_duplicates(graph, file)
    return graph


def parse_meta(data: bytes | memoryview, file: str = "") -> Message:
    """Decode a MetaGraphDef, such as a `.meta`, in binary or in text form.

    As in TensorFlow, bytes that can be both are binary.

    Raises:
        CorruptionError: the bytes are not a MetaGraphDef.

    Example:
        >>> len(parse_meta(b"").graph_def.node)
        0
    """
    try:
        return schema.parse(schema.MetaGraphDef, data, file=file)
    except CorruptionError:
        if _META_TEXT.match(bytes(data[:4096])) is None:
            raise
    return schema.parse_text(schema.MetaGraphDef, data, file=file)


def parse_saved_model(data: bytes | memoryview, file: str = "") -> Message:
    """Decode a SavedModel, such as a `saved_model.pb`.

    Raises:
        CorruptionError: the bytes are not a SavedModel.

    Example:
        >>> len(parse_saved_model(b"").meta_graphs)
        0
    """
    return schema.parse(schema.SavedModel, data, file=file)


def with_payload(node: Message, spec: TensorSpec) -> None:
    """Change a node to a Const without elements, whose elements are in a payload.

    Args:
        node: a NodeDef that belongs to the caller.
        spec: data type and full shape of the payload.

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
class _LargeConst:
    """A Const: its name, its node without the elements, and the elements."""

    name: str
    skeleton: bytes
    payload: Payload


def _large_const(
    view: memoryview, node: wire.Field, file: str, larger_than: int
) -> _LargeConst | None:
    """Return the content of a Const apart; None if the node does not have the usual form."""
    fields = _fields_of_const(view, node, file)
    name = _only(fields, 1)
    operation = _only(fields, 2)
    entries = [field for field in fields if field.number == 5]
    keys = [_key(view, field, file) for field in entries]
    if name is None or operation is None or None in keys or keys.count(b"value") != 1:
        return None
    path = [node, entries[keys.index(b"value")]]
    inner: list[wire.Field] = []
    # Protobuf ignores an entry of a map that has other fields.
    for number, most in ((2, 2), (8, 1), (4, sys.maxsize)):
        inner = list(wire.fields(view, path[-1].body, path[-1].end, file))
        field = _only(inner, number)
        if field is None or len(inner) > most:
            return None
        path.append(field)
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
    # Encode the node again, from the inside out, with the lengths that it has without the elements.
    inside = b""
    for outer, emptied in zip(path[-2::-1], path[:0:-1], strict=True):
        before, after = view[outer.body : emptied.start], view[emptied.end : outer.end]
        inside = bytes(before) + inside + bytes(after)
        inside = varint.encode(outer.number << 3 | wire.BYTES) + varint.encode(len(inside)) + inside
    return _LargeConst(label, inside, _mapped(view[content.body : content.end], spec))


def _fields_of_const(view: memoryview, node: wire.Field, file: str) -> list[wire.Field]:
    """Return the fields of a node; none as soon as it is no Const, or has more than any Const."""
    fields: list[wire.Field] = []
    for field in wire.fields(view, node.body, node.end, file):
        is_op = field.number == _OP and field.wire_type == wire.BYTES
        if len(fields) == _MOST_FIELDS or (
            is_op and bytes(view[field.body : field.end]) != b"Const"
        ):
            return []
        fields.append(field)
    return fields


def _only(fields: list[wire.Field], number: int) -> wire.Field | None:
    """Return the field of a number; None unless there is one, and it holds bytes."""
    matches = [field for field in fields if field.number == number]
    is_plain = len(matches) == 1 and matches[0].wire_type == wire.BYTES
    return matches[0] if is_plain else None


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


def _is_padding(view: memoryview, field: wire.Field, file: str) -> bool:
    """Return whether a field holds only padding. Early files have it without `versions` around."""
    if field.number == PADDING_FIELD:
        return field.wire_type == wire.BYTES
    if field.number != VERSIONS_FIELD or field.wire_type != wire.BYTES or not field.size:
        return False
    inner = wire.fields(view, field.body, field.end, file)
    return all(one.number == PADDING_FIELD and one.wire_type == wire.BYTES for one in inner)


def _large(view: memoryview, larger_than: int, file: str) -> Iterator[wire.Field]:
    """Return an iterator over the fields of a GraphDef, without its small nodes.

    Most nodes are small, so they are skipped as fast as possible.
    """
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
        raise CorruptionError(f"two nodes have the name {name!r}", file=file)
