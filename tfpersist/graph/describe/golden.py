"""A golden pair: feeds of a model, and the outputs of its source for them.

It is stored beside the signature, in another field of the GraphDef that other readers skip:

GraphDef = ... { 18933: GraphDef of one node for each tensor, op "feed" or "output" }

A node has the digest, type and shape of its tensor, and all of its elements, every `stride`-th one,
or none.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import CorruptionError, TFPersistError
from tfpersist.formats import dtypes, schema, tensor_proto, varint
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Array, TensorSpec, spec_of
from tfpersist.graph.describe import own_fields

FIELD = 18933
# All elements of the feeds are in the file if they have no more bytes together. The same holds for
# the outputs.
MOST_BYTES = 128 << 10
# If the outputs are larger: at most so many elements of each.
_MOST_SAMPLES = 4096
_MOST_ELEMENTS = 1 << 22
_FEED, _OUTPUT = "feed", "output"


@attrs.frozen(eq=False)
class GoldenTensor:
    """One tensor of a golden pair, as far as a file has it.

    Args:
        name: the name of the tensor in the frozen graph.
        spec: its data type and shape.
        digest: SHA-256 of its canonical bytes.
        values: all elements in their shape if `stride` is 1, else every `stride`-th one, in one
            dimension; None if the file has no elements.
        stride: the distance from one element in `values` to the next.
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
        feeds: the tensors that were fed.
        outputs: the outputs of the source.
    """

    feeds: tuple[GoldenTensor, ...]
    outputs: tuple[GoldenTensor, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the names and the digests of all tensors."""
        lines = [f"{_FEED} {tensor.name} {tensor.digest}\n" for tensor in self.feeds]
        lines += [f"{_OUTPUT} {tensor.name} {tensor.digest}\n" for tensor in self.outputs]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def pair(feeds: Mapping[str, Array], outputs: Mapping[str, Array]) -> Golden:
    """Return a golden pair with all values, or with samples of values that are too large.

    Args:
        feeds: the values that were fed, by the name of the tensor.
        outputs: the values that the source computed, by the name of the tensor.

    Example:
        >>> golden = pair({"x:0": np.float32([1, 2])}, {"y:0": np.zeros(10**6, np.float32)})
        >>> golden.feeds[0].values, golden.outputs[0].stride
        (array([1., 2.], dtype=float32), 245)
    """
    all_feeds = sum(map(_nbytes, feeds.values())) <= MOST_BYTES
    all_outputs = sum(map(_nbytes, outputs.values())) <= MOST_BYTES
    return Golden(
        tuple(_tensor(name, feeds[name], 1 if all_feeds else 0) for name in sorted(feeds)),
        tuple(
            _tensor(name, value, 1 if all_outputs else _stride(value))
            for name, value in outputs.items()
        ),
    )


def attach(graph: Graph, golden: Golden) -> None:
    """Add a golden pair to a graph.

    Args:
        graph: a graph whose GraphDef is the caller's own; it is changed.
        golden: the golden pair.
    """
    nodes = [_encoded(_FEED, tensor) for tensor in golden.feeds]
    nodes += [_encoded(_OUTPUT, tensor) for tensor in golden.outputs]
    proto = schema.GraphDef(node=nodes)
    own_fields.add_field(graph, FIELD, proto.SerializeToString(deterministic=True))


def attached(graph: Graph, file: str = "") -> Golden | None:
    """Return the golden pair of a graph; None if it has none.

    Args:
        graph: the graph.
        file: the path or URL of the graph, for errors.

    Raises:
        CorruptionError: the golden pair is damaged.
    """
    data = own_fields.read_field(graph, FIELD)
    return None if data is None else _decoded(data, file)


def digest(value: Array) -> str:
    """Return the SHA-256 of a tensor: of its type, its shape and its little-endian bytes.

    Args:
        value: the tensor; strings as an object array of bytes.

    Example:
        >>> digest(np.float32([1])) == digest(np.array([1], ">f4")) != digest(np.float64([1]))
        True
    """
    sha256 = hashlib.sha256(str(spec_of(value)).encode() + b"\n")
    if value.dtype.kind == "O":
        for item in value.flat:
            sha256.update(varint.encode(len(item)) + item)
    else:
        little = value.astype(value.dtype.newbyteorder("<"), copy=False)
        flat: Any = np.ascontiguousarray(little).reshape(-1).view(np.uint8)
        sha256.update(flat)
    return sha256.hexdigest()


def _nbytes(value: Array) -> int:
    return sum(map(len, value.flat)) if value.dtype.kind == "O" else value.nbytes


def _stride(value: Array) -> int:
    """Return the distance of the samples of a large output; 0 for no samples."""
    stride = max(1, -(-value.size // _MOST_SAMPLES))
    fits = value.dtype.kind != "O" or _nbytes(value.reshape(-1)[::stride]) <= MOST_BYTES
    return stride if fits else 0


def _tensor(name: str, value: Array, stride: int) -> GoldenTensor:
    if stride > 1:
        values: Array | None = value.reshape(-1)[::stride].copy()
    else:
        values = value if stride else None
    return GoldenTensor(name, spec_of(value), digest(value), values, max(stride, 1))


def _encoded(op: str, tensor: GoldenTensor) -> Message:
    node = schema.NodeDef(name=tensor.name, op=op)
    node.attr["digest"].s = bytes.fromhex(tensor.digest)
    node.attr["dtype"].type = dtypes.BY_NAME[tensor.spec.dtype].number
    node.attr["shape"].shape.SetInParent()
    for extent in tensor.spec.shape or ():
        node.attr["shape"].shape.dim.add(size=extent)
    if tensor.values is not None:
        node.attr["stride"].i = tensor.stride
        proto = tensor_proto.from_array(tensor.values, tensor.spec.dtype)
        node.attr["value"].tensor.CopyFrom(proto)
    return node


def _decoded(data: bytes, file: str) -> Golden:
    tensors: dict[str, list[GoldenTensor]] = {_FEED: [], _OUTPUT: []}
    for node in schema.parse(schema.GraphDef, data, file=file).node:
        if node.op not in tensors:
            raise CorruptionError(
                "the golden pair is damaged",
                file=file,
                expected=f"{_FEED!r} or {_OUTPUT!r} for each tensor",
                found=repr(node.op),
            )
        tensors[node.op].append(_read(node, file))
    return Golden(tuple(tensors[_FEED]), tuple(tensors[_OUTPUT]))


def _read(node: Message, file: str) -> GoldenTensor:
    dtype = dtypes.by_number(node.attr["dtype"].type)
    shape = tuple(dim.size for dim in node.attr["shape"].shape.dim)
    if dtype is None or min(shape, default=0) < 0:
        raise _damaged(node, file)
    spec = TensorSpec(dtype.name, shape)
    sha256 = node.attr["digest"].s.hex()
    if "value" not in node.attr:
        return GoldenTensor(node.name, spec, sha256, None)
    stride = node.attr["stride"].i
    try:
        values = tensor_proto.to_array(node.attr["value"].tensor, file=file)
    except TFPersistError as error:
        raise _damaged(node, file) from error
    elements = math.prod(shape)
    value_shape = shape if stride == 1 else (-(-elements // max(stride, 1)),)
    if stride < 1 or values.size > _MOST_ELEMENTS or values.shape != value_shape:
        raise _damaged(node, file)
    if node.attr["value"].tensor.dtype != dtype.number:
        raise _damaged(node, file)
    if stride == 1 and digest(values) != sha256:
        raise _damaged(node, file)
    return GoldenTensor(node.name, spec, sha256, values, stride)


def _damaged(node: Message, file: str) -> CorruptionError:
    return CorruptionError(f"tensor {node.name!r} of the golden pair is damaged", file=file)
