"""A golden pair: what was fed to a model when it was frozen, and what it gave.

It travels beside the signature, in another field of the GraphDef that other readers skip:

GraphDef = ... { 18933: GraphDef of one node for each tensor, op "feed" or "output" }

A node has the digest, type and shape of its tensor, and the elements: all of them, every
`stride`-th one, or none.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from google.protobuf.unknown_fields import UnknownFieldSet

from tfpersist.errors import CorruptionError, TFPersistError
from tfpersist.formats import dtypes, schema, tensor_proto, varint, wire
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import TensorSpec, spec_of

FIELD = 18933
# The feeds are all in the file if they have no more bytes together; so are the outputs.
MOST_HELD = 128 << 10
# Of larger outputs, so many elements of each.
_SAMPLED = 4096
_LARGEST = 1 << 22
_FEED, _OUTPUT = "feed", "output"

Array = np.ndarray[Any, Any]


@attrs.frozen(eq=False)
class GoldenTensor:
    """What a file holds of one tensor.

    Args:
        name: the tensor's name in the frozen graph.
        spec: its data type and shape.
        digest: SHA-256 of its canonical bytes.
        values: its elements in its shape if `stride` is 1, every `stride`-th of them in a row if it
            is more; None where the file has none.
        stride: how many elements stand from one that is held to the next.
    """

    name: str
    spec: TensorSpec
    digest: str
    values: Array | None
    stride: int = 1


@attrs.frozen(eq=False)
class Golden:
    """A golden pair.

    Args:
        feeds: what was fed.
        outputs: what the source gave.
    """

    feeds: tuple[GoldenTensor, ...]
    outputs: tuple[GoldenTensor, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the names and the digests of all tensors."""
        lines = [f"{_FEED} {held.name} {held.digest}\n" for held in self.feeds]
        lines += [f"{_OUTPUT} {held.name} {held.digest}\n" for held in self.outputs]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def pair(feeds: Mapping[str, Array], outputs: Mapping[str, Array]) -> Golden:
    """Make a golden pair, of which a file will hold what is not too large.

    Args:
        feeds: values by name of the tensor.
        outputs: the same.

    Example:
        >>> golden = pair({"x:0": np.float32([1, 2])}, {"y:0": np.zeros(10**6, np.float32)})
        >>> golden.feeds[0].values, golden.outputs[0].stride
        (array([1., 2.], dtype=float32), 245)
    """
    small = sum(map(_nbytes, feeds.values())) <= MOST_HELD
    fed = [_held(name, value, 1 if small else 0) for name, value in sorted(feeds.items())]
    small = sum(map(_nbytes, outputs.values())) <= MOST_HELD
    given = [_held(name, value, 1 if small else _stride(value)) for name, value in outputs.items()]
    return Golden(tuple(fed), tuple(given))


def attach(graph: Graph, golden: Golden) -> None:
    """Put a golden pair into a graph.

    Args:
        graph: the graph, whose GraphDef is the caller's own; it is changed.
        golden: the pair.
    """
    pairs = [(_FEED, held) for held in golden.feeds]
    pairs += [(_OUTPUT, held) for held in golden.outputs]
    proto = schema.GraphDef(node=[_encoded(op, held) for op, held in pairs])
    data = proto.SerializeToString(deterministic=True)
    tag = varint.encode(FIELD << 3 | wire.BYTES)
    graph.proto.MergeFromString(tag + varint.encode(len(data)) + data)


def attached(graph: Graph, file: str = "") -> Golden | None:
    """Read the golden pair of a graph; None where it has none.

    Args:
        graph: the graph.
        file: where it came from, for errors.

    Raises:
        CorruptionError: there is one, and it is damaged.
    """
    fields: Any = UnknownFieldSet(graph.proto)
    for field in fields:
        if field.field_number == FIELD and isinstance(field.data, bytes):
            return _decoded(field.data, file)
    return None


def digest(value: Array) -> str:
    """Digest a tensor: its type, its shape and its bytes, low ones first.

    Args:
        value: the tensor; strings as an object array of bytes.

    Example:
        >>> digest(np.float32([1])) == digest(np.array([1], ">f4")) != digest(np.float64([1]))
        True
    """
    found = hashlib.sha256(str(spec_of(value)).encode() + b"\n")
    if value.dtype.kind == "O":
        for item in value.flat:
            found.update(varint.encode(len(item)) + item)
    else:
        little = value.astype(value.dtype.newbyteorder("<"), copy=False)
        flat: Any = np.ascontiguousarray(little).reshape(-1).view(np.uint8)
        found.update(flat)
    return found.hexdigest()


def _nbytes(value: Array) -> int:
    return sum(map(len, value.flat)) if value.dtype.kind == "O" else value.nbytes


def _stride(value: Array) -> int:
    """Say which elements of a large output to hold; 0 for none of them."""
    stride = max(1, -(-value.size // _SAMPLED))
    fits = value.dtype.kind != "O" or _nbytes(value.reshape(-1)[::stride]) <= MOST_HELD
    return stride if fits else 0


def _held(name: str, value: Array, stride: int) -> GoldenTensor:
    values = value if stride == 1 else value.reshape(-1)[::stride].copy() if stride else None
    return GoldenTensor(name, spec_of(value), digest(value), values, max(stride, 1))


def _encoded(op: str, held: GoldenTensor) -> Message:
    node = schema.NodeDef(name=held.name, op=op)
    node.attr["digest"].s = bytes.fromhex(held.digest)
    node.attr["dtype"].type = dtypes.BY_NAME[held.spec.dtype].number
    node.attr["shape"].shape.SetInParent()
    for extent in held.spec.shape or ():
        node.attr["shape"].shape.dim.add(size=extent)
    if held.values is not None:
        node.attr["stride"].i = held.stride
        proto = tensor_proto.from_array(held.values, held.spec.dtype)
        node.attr["value"].tensor.CopyFrom(proto)
    return node


def _decoded(data: bytes, file: str) -> Golden:
    ends: dict[str, list[GoldenTensor]] = {_FEED: [], _OUTPUT: []}
    for node in schema.parse(schema.GraphDef, data, file=file).node:
        if node.op not in ends:
            raise CorruptionError(f"the golden pair has a tensor {node.op!r}", file=file)
        ends[node.op].append(_read(node, file))
    return Golden(tuple(ends[_FEED]), tuple(ends[_OUTPUT]))


def _read(node: Message, file: str) -> GoldenTensor:
    dtype = dtypes.by_number(node.attr["dtype"].type)
    shape = tuple(dim.size for dim in node.attr["shape"].shape.dim)
    if dtype is None or min(shape, default=0) < 0:
        raise _damaged(node, file)
    spec = TensorSpec(dtype.name, shape)
    told = node.attr["digest"].s.hex()
    if "value" not in node.attr:
        return GoldenTensor(node.name, spec, told, None)
    stride = node.attr["stride"].i
    try:
        values = tensor_proto.to_array(node.attr["value"].tensor, file=file)
    except TFPersistError as error:
        raise _damaged(node, file) from error
    elements = math.prod(shape)
    expected = shape if stride == 1 else (-(-elements // max(stride, 1)),)
    if stride < 1 or values.size > _LARGEST or values.shape != expected:
        raise _damaged(node, file)
    if node.attr["value"].tensor.dtype != dtype.number:
        raise _damaged(node, file)
    if stride == 1 and digest(values) != told:
        raise _damaged(node, file)
    return GoldenTensor(node.name, spec, told, values, stride)


def _damaged(node: Message, file: str) -> CorruptionError:
    return CorruptionError(f"{node.name!r} of the golden pair is damaged", file=file)
