"""Let OpenVINO read and compile the part of a graph, and compute it in each thread."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import RunError, UnsupportedError
from tfpersist.formats import dtypes
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Array, TensorSpec
from tfpersist.graph.runtimes.part import Part, without_weights
from tfpersist.openvino import differences
from tfpersist.storage.temporary import path_of

# Some processors would compute in bfloat16, and round what int8 weights are multiplied with.
_OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}
_BY_BITS = frozenset({"bfloat16"})
# Lines around the reason in a message.
_FRAME = re.compile(
    r"Exception from|Check '|FrontEnd API|Model wasn't fully|-- |While validating|Summary:"
)
_OPS = re.compile(r"(?:No conversion rule found|Conversion is failed) for[^:]*: (.+)")


@attrs.define(eq=False)
class Compiled:
    """A part of a graph that OpenVINO has compiled. Several threads may compute it at once.

    Args:
        model: the openvino.CompiledModel; None once it is released.
        positions: the numbers of the feeds that it takes, in the order in which it takes them.
        fed: data type and shape of each feed.
        fetched: the same of each fetch; None where the graph does not tell it.
        weights: the arrays whose memory it uses.
    """

    model: Any
    positions: tuple[int, ...]
    fed: tuple[TensorSpec, ...]
    fetched: tuple[TensorSpec | None, ...]
    weights: tuple[Array, ...]
    _local: Any = attrs.field(factory=threading.local, init=False)

    def compute(self, *values: Array) -> list[Array]:
        """Compute the fetches, in memory that belongs to the caller.

        Args:
            values: the feeds, as their specs say.

        Raises:
            UnsupportedError: a feed is too large for OpenVINO, or a result has another data type.
            RunError: OpenVINO failed.
        """
        for value, spec in zip(values, self.fed, strict=True):
            most = differences.LARGEST_INTEGER
            if spec.dtype in differences.INTEGERS and not differences.is_within(value, -most, most):
                raise UnsupportedError(
                    "OpenVINO computes integers as float32, and this feed is too large for that",
                    expected=f"numbers from {-most} to {most}",
                    found=f"{value.min()} to {value.max()}",
                    advice='Run the model with engine="tensorflow".',
                )
        with translated():
            request = getattr(self._local, "request", None)
            if request is None:
                # A request holds the tensors of one call, so each thread has its own.
                request = self._local.request = self.model.create_infer_request()
            for place, number in enumerate(self.positions):
                request.set_input_tensor(place, tensor_of(values[number], self.fed[number]))
            # `infer` takes many times as long for a small model.
            request.start_async()
            request.wait()
            arrays = [
                request.get_output_tensor(place).data.copy() for place in range(len(self.fetched))
            ]
        return [as_declared(*pair) for pair in zip(arrays, self.fetched, strict=True)]

    def release(self) -> None:
        """Release the compiled model and all requests."""
        self.model, self.weights, self._local = None, (), threading.local()


def compile_part(
    core: Any,
    part: Part,
    fed: Sequence[TensorSpec],
    fetched: Sequence[TensorSpec | None],
    *,
    mapped: bool,
) -> Compiled:
    """Read the part of a graph, and compile it.

    Args:
        core: the openvino.Core.
        part: the part.
        fed: data type and shape of the feeds.
        fetched: data types of the fetches; None where they are not known.
        mapped: whether OpenVINO uses the memory of the weights; else it copies them.

    Raises:
        UnsupportedError: OpenVINO cannot read or compile it; the reason and the nodes are named.
    """
    import openvino

    graph, weights = without_weights(part)
    differences.refuse(graph)
    model = _read(graph)
    parameters = {_name(parameter): parameter for parameter in model.get_parameters()}
    results = {_name(result): result for result in model.get_results()}
    lost = [name for name in part.fetches if name not in results]
    if lost:
        sources = [part.graph.nodes[name].input[0].partition(":")[0] for name in lost]
        raise differences.refusal(
            "OpenVINO does not give this output",
            [(name, part.graph.nodes[name].op) for name in sources],
        )
    arrays = []
    for name, payload in weights.items():
        if name in parameters:
            array = payload.load()
            if payload.spec.dtype in differences.WIDE_INTEGERS and not differences.is_int32(array):
                raise differences.refusal(differences.LARGE_CONSTANT, [(name, "Const")])
            tensor = tensor_of(array, payload.spec)
            constant = openvino.op.Constant(tensor, shared_memory=mapped)
            parameters.pop(name).output(0).replace(constant.output(0))
            arrays.extend([array] * mapped)
    names = [name for name in part.feeds if name in parameters]
    wanted = [results[name] for name in part.fetches]
    try:
        ordered = openvino.Model(wanted, [parameters[name] for name in names], "tfpersist")
        compiled = core.compile_model(ordered, "CPU", _OPTIONS)
    except RuntimeError as error:
        raise unread(error, graph) from error
    positions = tuple(part.feeds.index(name) for name in names)
    return Compiled(compiled, positions, tuple(fed), tuple(fetched), tuple(arrays))


def _read(graph: Graph) -> Any:
    """Return the openvino.Model of a graph without large constants."""
    from openvino.frontend import FrontEndManager

    frontend = FrontEndManager().load_by_framework("tf")
    with path_of(graph.proto.SerializeToString(), ".pb") as path:
        try:
            return frontend.convert(frontend.load(path))
        # The failures of a frontend have no base class but this.
        except Exception as error:
            raise unread(error, graph) from error


def unread(error: Exception, graph: Graph) -> UnsupportedError:
    """Return the error for what OpenVINO says when it cannot read or compile a graph.

    Args:
        error: what it raised.
        graph: the graph; its nodes of the ops that the message lists are named.
    """
    text = str(error)
    ops = {op.strip() for line in _OPS.findall(text) for op in line.split(",")}
    nodes = [(node.name, node.op) for node in graph.proto.node if node.op in ops]
    return differences.refusal(f"OpenVINO cannot read this: {_reason(text)}", nodes)


def _name(node: Any) -> str:
    return str(node.get_friendly_name()).rpartition(":")[0]


def _reason(text: str) -> str:
    """Return what matters of a message of OpenVINO: a sentence, without its source files."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    sentences = [line for line in lines if not _FRAME.match(line)]
    return (sentences or lines or ["no reason given"])[0].rstrip(". ")[:500]


@contextmanager
def translated() -> Iterator[None]:
    """Raise what OpenVINO raises while it computes as an error of tfpersist."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError) as error:
        raise RunError(f"OpenVINO failed: {_reason(str(error))}") from error


def tensor_of(value: Array, spec: TensorSpec) -> Any:
    """Return an openvino.Tensor that uses the memory of an array, which may be read-only.

    Args:
        value: the array, in C order. It must live as long as the tensor.
        spec: its data type.
    """
    import openvino

    if spec.dtype in _BY_BITS:
        bits = value.view(np.uint16)
        return openvino.Tensor(bits, openvino.Shape(value.shape), openvino.Type.bf16)
    return openvino.Tensor(value, openvino.Shape(value.shape), openvino.Type(value.dtype))


def as_declared(array: Array, spec: TensorSpec | None) -> Array:
    """Return a result in the data type that the graph declares.

    Args:
        array: the result.
        spec: what the graph declares; None where it is not known.

    Raises:
        UnsupportedError: a conversion could lose something.

    Example:
        >>> as_declared(np.zeros(2, np.int32), TensorSpec("int64", None)).dtype
        dtype('int64')
    """
    declared = None if spec is None else dtypes.BY_NAME[spec.dtype].numpy
    if declared is None or array.dtype == declared:
        return array
    if spec is not None and spec.dtype in _BY_BITS and array.dtype.itemsize == declared.itemsize:
        return array.view(declared)
    is_same_kind = array.dtype.kind == declared.kind
    if not (is_same_kind and np.can_cast(array.dtype, declared, "safe")):
        raise UnsupportedError(
            "OpenVINO gives a result of another data type",
            expected=str(spec and spec.dtype),
            found=str(array.dtype),
            advice='Run the model with engine="tensorflow".',
        )
    return array.astype(declared)
