"""Batch normalization becomes a part of the convolution or product before it.

Behind Conv2D, DepthwiseConv2dNative and MatMul with constant kernels, a chain of nodes that only
scale and shift each channel by constants is one scale and one shift:

    ((x * kernel) + b) * s + t  =  x * (kernel * s) + (b * s + t)

The scale goes into the kernel, the shift into one BiasAdd with the name of the chain's last node.
What is computed in between has other values then, so it has other names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.formats import dtypes, schema
from tfpersist.formats.graphdef import Graph, with_payload
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload, TensorSpec
from tfpersist.graph.optimize import fold, simplify
from tfpersist.graph.optimize.fold import Array
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.functions import unused
from tfpersist.graph.structure.names import producer

_RANKS = {"Conv2D": 4, "DepthwiseConv2dNative": 4, "MatMul": 2}
_FUSED = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_FLOATS = frozenset({"float32", "float64"})
_DEEPEST = 12
_LARGEST_INSIDE = 1 << 16


@attrs.frozen
class _Chain:
    """Nodes behind a convolution that scale and shift its channels.

    Args:
        start: the convolution.
        kernel: the Const of its kernel.
        nodes: names of the nodes behind it; the last gives what is read elsewhere.
        scale: by channel.
        shift: the same.
    """

    start: Message
    kernel: Message
    nodes: tuple[str, ...]
    scale: Array
    shift: Array


def fold_normalization(graph: Graph, keep: Collection[str]) -> Graph:
    """Fold batch normalization, in inference mode, into what comes before it.

    Args:
        graph: the graph, which stays as it is.
        keep: names of nodes whose values are read from outside.

    Returns:
        A graph that computes the same but for rounding, about 1e-6 of the largest value of a
        channel. A kernel, or what a convolution gives, that something else reads as well stays.
    """
    search = _Search(graph, frozenset(keep))
    chains = [chain for node in graph.proto.node for chain in search.chains(node)]
    if not chains:
        return graph
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    copy = Graph(proto, dict(graph.payloads))
    payloads = dict(graph.payloads)
    taken = set(graph.nodes)
    for chain in chains:
        _rewrite(chain, copy, payloads, taken)
    return Graph(proto, payloads)


@attrs.define(eq=False)
class _Search:
    """Where a graph has what can be folded."""

    graph: Graph
    keep: frozenset[str]
    readers: dict[str, list[Message]] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        for node in self.graph.proto.node:
            for text in node.input:
                self.readers.setdefault(producer(text), []).append(node)

    def chains(self, start: Message) -> list[_Chain]:
        """Find the chain behind a node, if there is one that scales."""
        kernel = self._kernel(start)
        if kernel is None:
            return []
        channels = _channels(start, kernel)
        scale, shift = np.ones(channels), np.zeros(channels)
        scaled: tuple[tuple[str, ...], Array, Array] | None = None
        names: tuple[str, ...] = ()
        node = start
        while node.name not in self.keep and len(self.readers.get(node.name, ())) == 1:
            after = self.readers[node.name][0]
            step = self._step(after, node.name, start, channels)
            if step is None:
                break
            names = (*names, after.name)
            scale, shift = scale * step[0], shift * step[0] + step[1]
            if step[2] or scaled is not None:
                scaled = names, scale, shift
            node = after
        if scaled is None:
            return []
        with np.errstate(over="ignore"):
            single = [each.astype(np.float32) for each in scaled[1:]]
        return [_Chain(start, kernel, *scaled)] if np.isfinite(single).all() else []

    def _kernel(self, node: Message) -> Message | None:
        if node.op not in _RANKS or len(node.input) != 2:
            return None
        kernel = self.graph.nodes.get(producer(node.input[1]))
        if kernel is None or kernel.op != "Const" or kernel.input or kernel.name in self.keep:
            return None
        if "value" not in kernel.attr or "dtype" not in kernel.attr:
            return None
        if kernel.name not in self.graph.payloads:
            # A few bytes in the graph may stand for a kernel of any size.
            value = fold.constant(kernel)
            if value is None or value.nbytes > _LARGEST_INSIDE:
                return None
        dtype = dtypes.by_number(kernel.attr["dtype"].type)
        rank = len(kernel.attr["value"].tensor.tensor_shape.dim)
        alone = len(self.readers[kernel.name]) == 1
        fits = dtype is not None and dtype.name in _FLOATS and rank == _RANKS[node.op]
        return kernel if alone and fits else None

    def _step(
        self, node: Message, before: str, start: Message, channels: int
    ) -> tuple[Array, Array, bool] | None:
        """Tell scale and shift of a node, and whether it is a normalization's."""
        data = [text.removesuffix(":0") for text in node.input]
        if any(text.startswith("^") or text == f"^{before}" for text in data):
            return None
        if node.op in _FUSED:
            return self._fused(node, data, before, start, channels)
        if len(data) != 2 or before not in data:
            return None
        place = data.index(before)
        # Where channels come first, only a BiasAdd says which dimension it means.
        plain = node.op != "BiasAdd" and _format(start) == "NHWC"
        if not plain and (node.op != "BiasAdd" or _format(node) != _format(start) or place):
            return None
        number = self._by_channel(data[1 - place], channels, _RANKS[start.op])
        return None if number is None else _arithmetic(node.op, place, number)

    def _by_channel(self, text: str, channels: int, rank: int) -> Array | None:
        """Give a constant for each channel, if a tensor is that."""
        value = self._value(text)
        if value is None or value.ndim > rank or value.size not in (1, channels):
            return None
        if value.ndim and value.shape[-1] != value.size:
            return None
        wide = value.reshape(-1).astype(np.float64)
        return wide if value.ndim else wide[:1].reshape(())

    def _fused(
        self, node: Message, data: list[str], before: str, start: Message, channels: int
    ) -> tuple[Array, Array, bool] | None:
        training = ops.attr(node, "is_training", ops.definition(node.op))
        epsilon = ops.attr(node, "epsilon", ops.definition(node.op))
        if len(data) != 5 or data[0] != before or training is None or training.b:
            return None
        if _RANKS[start.op] != 4 or _format(node) != _format(start) or epsilon is None:
            return None
        others = self.readers.get(node.name, ())
        texts = [t for other in others for t in other.input if producer(t) == node.name]
        if any(text.partition(":")[2] not in ("", "0") for text in texts):
            return None
        values = [self._value(text) for text in data[1:]]
        known = [value.astype(np.float64) for value in values if value is not None]
        if len(known) < 4 or any(value.shape != (channels,) for value in known):
            return None
        gamma, beta, mean, variance = known
        with np.errstate(all="ignore"):
            scale = gamma / np.sqrt(variance + epsilon.f)
            return scale, beta - mean * scale, True

    def _value(self, text: str, depth: int = 0) -> Array | None:
        """Compute a tensor that depends on constants alone."""
        node = self.graph.nodes.get(text.removesuffix(":0"))
        if node is None or depth > _DEEPEST:
            return None
        if node.op == "Const":
            return simplify.constant(node, self.graph.payloads)
        if not node.input or any(text.startswith("^") for text in node.input):
            return None
        values = [self._value(each, depth + 1) for each in node.input]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        if node.op == "Rsqrt" and known[0].dtype.kind == "f":
            with np.errstate(all="ignore"):
                return np.asarray(1.0 / np.sqrt(known[0].astype(np.float64)), known[0].dtype)
        return fold.evaluate(node, known)


def _arithmetic(op: str, place: int, number: Array) -> tuple[Array, Array, bool] | None:
    """Tell scale and shift of what an op does with a number, and whether it scales by channel.

    Args:
        op: the op.
        place: which of its inputs is scaled or shifted.
        number: the other one; a scalar scales, but is no normalization.
    """
    one, none = np.ones(()), np.zeros(())
    if op in ("Add", "AddV2", "BiasAdd"):
        return one, number, False
    if op == "Sub":
        return (one, -number, False) if place == 0 else (-one, number, False)
    return (number, none, number.ndim > 0) if op == "Mul" else None


def _channels(start: Message, kernel: Message) -> int:
    dims = [dim.size for dim in kernel.attr["value"].tensor.tensor_shape.dim]
    if start.op == "DepthwiseConv2dNative":
        return int(dims[-1] * dims[-2])
    return int(dims[0] if _is_transposed(start) else dims[-1])


def _is_transposed(start: Message) -> bool:
    return start.op == "MatMul" and "transpose_b" in start.attr and start.attr["transpose_b"].b


def _format(node: Message) -> str:
    told = ops.attr(node, "data_format", ops.definition(node.op))
    return told.s.decode(errors="replace") if told is not None else "NHWC"


def _rewrite(chain: _Chain, graph: Graph, payloads: dict[str, Payload], taken: set[str]) -> None:
    """Turn a chain into a convolution by a scaled kernel and a BiasAdd."""
    start, end = graph.nodes[chain.start.name], graph.nodes[chain.nodes[-1]]
    number = chain.kernel.attr["dtype"].type
    kernel = _added(graph.proto, f"{chain.kernel.name}/normalized", taken)
    payload = _scaled(chain, payloads)
    with_payload(kernel, payload.spec)
    payloads[kernel.name] = payload
    shift = _added(graph.proto, f"{chain.nodes[-1]}/shift", taken)
    dtype = dtypes.BY_NAME[payload.spec.dtype].numpy
    simplify.become(shift, np.asarray(chain.shift, dtype), payloads)
    start.input[:] = [start.input[0], kernel.name]
    start.name = unused(f"{start.name}/normalized", taken)
    taken.add(start.name)
    end.op = "BiasAdd"
    end.ClearField("attr")
    end.attr["T"].type = number
    if _format(start) != "NHWC":
        end.attr["data_format"].s = _format(start).encode()
    end.input[:] = [start.name, shift.name]


def _added(proto: Message, name: str, taken: set[str]) -> Message:
    free = unused(name, taken)
    taken.add(free)
    return proto.node.add(name=free)


def _scaled(chain: _Chain, payloads: Mapping[str, Payload]) -> Payload:
    """Scale a kernel when it is wanted, so that one is in memory at a time."""
    held = payloads.get(chain.kernel.name)
    name = dtypes.by_number(chain.kernel.attr["dtype"].type)
    dims: Sequence[Message] = chain.kernel.attr["value"].tensor.tensor_shape.dim
    spec = TensorSpec(name.name if name else "float32", tuple(dim.size for dim in dims))
    inline = fold.constant(chain.kernel) if held is None else None
    factor = chain.scale.astype(dtypes.BY_NAME[spec.dtype].numpy)
    if chain.start.op == "DepthwiseConv2dNative":
        factor = factor.reshape([dim.size for dim in dims[-2:]])
    elif _is_transposed(chain.start):
        factor = factor[:, None]

    def load() -> Array:
        kernel: Any = held.load() if held is not None else inline
        return np.ascontiguousarray(np.multiply(kernel, factor))

    return Payload(spec, load)
