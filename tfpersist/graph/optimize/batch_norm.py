"""Fold batch normalization into the convolution or matrix product before it.

After Conv2D, Conv3D, DepthwiseConv2dNative, a transposed convolution and MatMul with constant
kernels, a chain of nodes that only scale and shift each channel by constants is one scale and one
shift:

    ((x * kernel) + b) * s + t  =  x * (kernel * s) + (b * s + t)

The scale goes into the kernel. The shift goes into one BiasAdd, which has the name of the chain's
last node. The convolution gets a new name, because it now gives other values.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.formats import dtypes, schema
from tfpersist.formats.graphdef import Graph, with_payload
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Array, Payload, TensorSpec
from tfpersist.graph.optimize import fold, simplify
from tfpersist.graph.optimize.rsqrt import rsqrt
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.functions import unused
from tfpersist.graph.structure.names import producer

# The rank of the output of each op that can take a scale into its kernel.
_RANKS = {
    "Conv2D": 4,
    "Conv2DBackpropInput": 4,
    "Conv3D": 5,
    "Conv3DBackpropInputV2": 5,
    "DepthwiseConv2dNative": 4,
    "MatMul": 2,
}
# Transposed convolutions read the shape of their output, the kernel, then the images. The last two
# dimensions of the kernel are the channels of the output and of the input.
_BACKPROP = frozenset({"Conv2DBackpropInput", "Conv3DBackpropInputV2"})
_FUSED_BATCH_NORMS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_FLOATS = frozenset({"float32", "float64"})
_MOST_STEPS = 12
_MOST_BYTES_IN_GRAPH = 1 << 16


@attrs.frozen
class _Step:
    """One node that computes `input * scale + shift`.

    Args:
        scale: a scalar, or one number for each channel.
        shift: the same.
        by_channel: whether the scale differs by channel, as that of a batch normalization does.
    """

    scale: Array
    shift: Array
    by_channel: bool = False


@attrs.frozen
class _Chain:
    """Nodes after a convolution that scale and shift its channels.

    Args:
        start: the convolution.
        kernel: the Const of its kernel.
        nodes: names of the nodes after it; other nodes read the last one only.
        scale: the scale of each channel.
        shift: the shift of each channel.
    """

    start: Message
    kernel: Message
    nodes: tuple[str, ...]
    scale: Array
    shift: Array


def fold_batch_norm(graph: Graph, keep: Collection[str]) -> Graph:
    """Fold batch normalization in inference mode into the convolution or product before it.

    Args:
        graph: the graph; it is not changed.
        keep: names of nodes whose values a user reads.

    Returns:
        A graph that computes the same up to rounding: about 1e-6 of the largest value of a channel.
        A convolution stays as it is where other nodes read its kernel or its output too.
    """
    if not any(node.op in _RANKS for node in graph.proto.node):
        return graph
    search = _Search(graph, frozenset(keep))
    chains = [chain for node in graph.proto.node if (chain := search.chain(node)) is not None]
    if not chains:
        return graph
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    copy = Graph(proto, dict(graph.payloads))
    payloads = dict(graph.payloads)
    used_names = set(graph.nodes)
    for chain in chains:
        _rewrite(chain, copy, payloads, used_names)
    return Graph(proto, payloads)


@attrs.define(eq=False)
class _Search:
    """Finds the chains of a graph.

    Args:
        graph: the graph.
        keep: names of nodes whose values a user reads.
    """

    graph: Graph
    keep: frozenset[str]
    readers: dict[str, list[Message]] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        for node in self.graph.proto.node:
            for text in node.input:
                self.readers.setdefault(producer(text), []).append(node)

    def chain(self, start: Message) -> _Chain | None:
        """Return the chain after a node; None where there is none that scales by channel."""
        kernel = self._kernel(start)
        if kernel is None:
            return None
        channels = _channels(start, kernel)
        scale, shift = np.ones(channels), np.zeros(channels)
        names: tuple[str, ...] = ()
        chain: _Chain | None = None
        node = start
        while node.name not in self.keep and len(self.readers.get(node.name, ())) == 1:
            reader = self.readers[node.name][0]
            step = self._step(reader, node.name, start, channels)
            if step is None:
                break
            names = (*names, reader.name)
            with np.errstate(all="ignore"):
                scale, shift = scale * step.scale, shift * step.scale + step.shift
            if step.by_channel or chain is not None:
                chain = _Chain(start, kernel, names, scale, shift)
            node = reader
        if chain is None:
            return None
        with np.errstate(over="ignore"):
            is_finite = all(
                np.isfinite(values.astype(np.float32)).all()
                for values in (chain.scale, chain.shift)
            )
        return chain if is_finite else None

    def _kernel(self, node: Message) -> Message | None:
        """Return the kernel of a node; None where it cannot take a scale."""
        if node.op not in _RANKS or len(node.input) != (3 if node.op in _BACKPROP else 2):
            return None
        kernel = self.graph.nodes.get(producer(node.input[1]))
        if kernel is None or kernel.op != "Const" or kernel.input or kernel.name in self.keep:
            return None
        if "value" not in kernel.attr or "dtype" not in kernel.attr:
            return None
        if kernel.name not in self.graph.payloads:
            # A few bytes in the graph can stand for a kernel of any size: one number, repeated.
            value = fold.constant_value(kernel)
            if value is None or value.nbytes > _MOST_BYTES_IN_GRAPH:
                return None
        dtype = dtypes.by_number(kernel.attr["dtype"].type)
        rank = len(kernel.attr["value"].tensor.tensor_shape.dim)
        if dtype is None or dtype.name not in _FLOATS or rank != _RANKS[node.op]:
            return None
        return kernel if len(self.readers[kernel.name]) == 1 else None

    def _step(self, node: Message, before: str, start: Message, channels: int) -> _Step | None:
        """Return the scale and shift of a node; None where it does something else.

        Args:
            node: the node.
            before: name of the node before it in the chain.
            start: the convolution.
            channels: the number of its output channels.
        """
        inputs = [text.removesuffix(":0") for text in node.input]
        if any(text.startswith("^") for text in inputs):
            return None
        if node.op in _FUSED_BATCH_NORMS:
            return self._fused_step(node, inputs, before, start, channels)
        if len(inputs) != 2 or before not in inputs:
            return None
        position = inputs.index(before)
        if node.op == "BiasAdd":
            if position != 0 or _is_channels_first(node) != _is_channels_first(start):
                return None
        elif _is_channels_first(start):
            # Other ops than BiasAdd apply a vector to the last dimension, which is no channel here.
            return None
        numbers = self._by_channel(inputs[1 - position], channels, _RANKS[start.op])
        return None if numbers is None else _arithmetic_step(node.op, position, numbers)

    def _by_channel(self, text: str, channels: int, rank: int) -> Array | None:
        """Return a constant as a scalar or as one number for each channel; None for any other."""
        value = self._value(text)
        if value is None or value.ndim > rank or value.size not in (1, channels):
            return None
        if value.ndim and value.shape[-1] != value.size:
            return None
        numbers = value.reshape(-1).astype(np.float64)
        return numbers if value.ndim else numbers[:1].reshape(())

    def _fused_step(
        self, node: Message, inputs: list[str], before: str, start: Message, channels: int
    ) -> _Step | None:
        """Return the scale and shift of a fused batch normalization in inference mode."""
        is_training = ops.attr(node, "is_training", ops.definition(node.op))
        epsilon = ops.attr(node, "epsilon", ops.definition(node.op))
        if len(inputs) != 5 or inputs[0] != before or is_training is None or is_training.b:
            return None
        if _RANKS[start.op] < 4 or epsilon is None:
            return None
        if _is_channels_first(node) != _is_channels_first(start):
            return None
        readers = self.readers.get(node.name, ())
        read = [text for r in readers for text in r.input if producer(text) == node.name]
        if any(text.partition(":")[2] not in ("", "0") for text in read):
            return None
        values = [self._value(text) for text in inputs[1:]]
        known = [value.astype(np.float64) for value in values if value is not None]
        if len(known) < 4 or any(value.shape != (channels,) for value in known):
            return None
        gamma, beta, mean, variance = known
        with np.errstate(all="ignore"):
            scale = gamma / np.sqrt(variance + epsilon.f)
            return _Step(scale, beta - mean * scale, by_channel=True)

    def _value(self, text: str, depth: int = 0) -> Array | None:
        """Compute a tensor that depends on constants only; None for any other."""
        node = self.graph.nodes.get(text.removesuffix(":0"))
        if node is None or depth > _MOST_STEPS:
            return None
        if node.op == "Const":
            return simplify.load_constant(node, self.graph.payloads)
        if not node.input or any(source.startswith("^") for source in node.input):
            return None
        operands = [self._value(source, depth + 1) for source in node.input]
        values = [value for value in operands if value is not None]
        if len(values) < len(operands):
            return None
        return rsqrt(values[0]) if node.op == "Rsqrt" else fold.evaluate(node, values)


def _arithmetic_step(op: str, position: int, numbers: Array) -> _Step | None:
    """Return the scale and shift of an op with a constant; None for any other op.

    Args:
        op: the op.
        position: which of its two inputs is scaled or shifted.
        numbers: its other input. A scalar scales too, but is no batch normalization.
    """
    one, zero = np.ones(()), np.zeros(())
    if op in ("Add", "AddV2", "BiasAdd"):
        return _Step(one, numbers)
    if op == "Sub":
        return _Step(one, -numbers) if position == 0 else _Step(-one, numbers)
    return _Step(numbers, zero, numbers.ndim > 0) if op == "Mul" else None


def _channels(start: Message, kernel: Message) -> int:
    extents = [dim.size for dim in kernel.attr["value"].tensor.tensor_shape.dim]
    if start.op == "DepthwiseConv2dNative":
        return int(extents[-1] * extents[-2])
    if start.op in _BACKPROP:
        return int(extents[-2])
    return int(extents[0] if _is_transposed(start) else extents[-1])


def _is_transposed(start: Message) -> bool:
    return start.op == "MatMul" and "transpose_b" in start.attr and start.attr["transpose_b"].b


def _is_channels_first(node: Message) -> bool:
    data_format = ops.attr(node, "data_format", ops.definition(node.op))
    return data_format is not None and data_format.s.startswith(b"NC")


def _rewrite(
    chain: _Chain, graph: Graph, payloads: dict[str, Payload], used_names: set[str]
) -> None:
    """Replace a chain by a convolution with a scaled kernel and a BiasAdd."""
    start, end = graph.nodes[chain.start.name], graph.nodes[chain.nodes[-1]]
    number = chain.kernel.attr["dtype"].type
    kernel = _add_node(graph.proto, f"{chain.kernel.name}/normalized", used_names)
    payload = _scaled_kernel(chain, payloads)
    with_payload(kernel, payload.spec)
    payloads[kernel.name] = payload
    shift = _add_node(graph.proto, f"{chain.nodes[-1]}/shift", used_names)
    dtype = dtypes.BY_NAME[payload.spec.dtype].numpy
    simplify.store_constant(shift, np.asarray(chain.shift, dtype), payloads)
    start.input[1] = kernel.name
    start.name = unused(f"{start.name}/normalized", used_names)
    used_names.add(start.name)
    end.op = "BiasAdd"
    end.ClearField("attr")
    end.attr["T"].type = number
    if _is_channels_first(start):
        end.attr["data_format"].s = b"NCHW"
    end.input[:] = [start.name, shift.name]


def _add_node(proto: Message, name: str, used_names: set[str]) -> Message:
    free_name = unused(name, used_names)
    used_names.add(free_name)
    return proto.node.add(name=free_name)


def _scaled_kernel(chain: _Chain, payloads: Mapping[str, Payload]) -> Payload:
    """Return a payload that scales the kernel when it is loaded: one kernel in memory at a time."""
    payload = payloads.get(chain.kernel.name)
    dtype = dtypes.by_number(chain.kernel.attr["dtype"].type)
    dims: Sequence[Message] = chain.kernel.attr["value"].tensor.tensor_shape.dim
    spec = TensorSpec(dtype.name if dtype else "float32", tuple(dim.size for dim in dims))
    value_in_graph = fold.constant_value(chain.kernel) if payload is None else None
    factor = chain.scale.astype(dtypes.BY_NAME[spec.dtype].numpy)
    if chain.start.op == "DepthwiseConv2dNative":
        factor = factor.reshape([dim.size for dim in dims[-2:]])
    elif chain.start.op in _BACKPROP or _is_transposed(chain.start):
        factor = factor[:, None]

    def load() -> Array:
        kernel: Any = payload.load() if payload is not None else value_in_graph
        return np.ascontiguousarray(np.multiply(kernel, factor))

    return Payload(spec, load)
