"""Convert a graph to ONNX by tf2onnx, and run the result in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from tfpersist.errors import RunError, UnsupportedError
from tfpersist.formats import dtypes, graphdef
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Array, TensorSpec
from tfpersist.graph.optimize.weights import expand
from tfpersist.graph.runtimes.part import cut
from tfpersist.graph.structure.names import TensorRef
from tfpersist.tf.run import forks
from tfpersist.tf.run.imported import definition_of

# The newest that `nox -s runtimes` runs; tf2onnx 1.17 knows one more.
OPSET = 17
_MOST_SHOWN = 8


@attrs.frozen(eq=False)
class OnnxModel:
    """A model in the format of ONNX that ONNX Runtime has loaded.

    Args:
        data: the bytes of the file.
        session: the onnxruntime.InferenceSession.
    """

    data: bytes
    session: Any

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Compute outputs in ONNX Runtime.

        Args:
            outputs: their names.
            feeds: the inputs, by name.

        Raises:
            RunError: ONNX Runtime failed.
        """
        with _translated("ONNX Runtime failed", RunError):
            results: list[Array] = self.session.run(list(outputs), dict(feeds))
        return results


def convert(
    graph: Graph, inputs: Mapping[str, TensorRef], outputs: Mapping[str, TensorRef]
) -> OnnxModel:
    """Convert a graph.

    Args:
        graph: the frozen graph, of ops that tf2onnx knows.
        inputs: the tensors to feed, by the names that the ONNX file gives them.
        outputs: the tensors to compute, by their names in the file.

    Raises:
        UnsupportedError: tf2onnx or onnxruntime is not installed, tf2onnx cannot convert the graph,
            or ONNX Runtime cannot load the result; the nodes are named.
    """
    if not inputs:
        raise UnsupportedError(
            "tf2onnx converts no graph without an input",
            advice="Freeze with inputs(), or write a .pb.",
        )
    _refuse_large(graph)
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise UnsupportedError(
            f"{error.name} is not installed", advice="pip install tfpersist[onnx]"
        ) from error
    forks.threads.begin()
    specs = {label: ref.spec or TensorSpec("float32", None) for label, ref in inputs.items()}
    feeds = {ref.name: specs[label] for label, ref in inputs.items()}
    part = cut(expand(graph), feeds, list(outputs.values()))
    labels = dict(zip([*part.feeds, *part.fetches], [*inputs, *outputs], strict=True))
    fed = [name for name in part.feeds if name in part.graph.nodes]
    with _translated("tf2onnx cannot convert this", UnsupportedError):
        model, _ = tf2onnx.convert.from_graph_def(
            definition_of(part.graph),
            input_names=[f"{name}:0" for name in fed],
            output_names=[f"{name}:0" for name in part.fetches],
            opset=OPSET,
            tensors_to_rename={f"{name}:0": label for name, label in labels.items()},
        )
    _refuse_unknown(model)
    _order_inputs(model.graph, specs)
    data = model.SerializeToString()
    with _translated("ONNX Runtime cannot load what tf2onnx made of this", UnsupportedError):
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return OnnxModel(data, session)


def _order_inputs(graph: Any, specs: Mapping[str, TensorSpec]) -> None:
    """Put the inputs of an ONNX graph in order, and add those that nothing uses.

    Args:
        graph: the onnx.GraphProto; it is changed.
        specs: data type and shape of all inputs, by name, in their order.
    """
    import onnx

    present = {value.name: value for value in graph.input}
    ordered = []
    for label, spec in specs.items():
        if label not in present:
            dtype = dtypes.BY_NAME[spec.dtype].numpy
            kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
            present[label] = onnx.helper.make_tensor_value_info(label, kind, spec.shape)
        ordered.append(present[label])
    del graph.input[:]
    graph.input.extend(ordered)


def _refuse_large(graph: Graph) -> None:
    weights = sum(payload.spec.nbytes or 0 for payload in graph.payloads.values())
    if weights > graphdef.LARGEST:
        raise UnsupportedError(
            "an ONNX file of more than 2 GB needs files beside it, which tfpersist does not write",
            expected=f"at most {graphdef.LARGEST:,} bytes of constants",
            found=f"{weights:,} bytes",
            advice="Write a .pb with large=True, or convert that with tf2onnx --large_model.",
        )


def _refuse_unknown(model: Any) -> None:
    """Raise if tf2onnx has left ops of TensorFlow in a model."""
    import onnx

    def unknown(graph: Any) -> Iterator[str]:
        for node in graph.node:
            if not onnx.defs.has(node.op_type, node.domain):
                yield f"node {node.name} ({node.op_type})"
            for attribute in node.attribute:
                for inner in (attribute.g, *attribute.graphs):
                    yield from unknown(inner)

    names = list(unknown(model.graph))
    if names:
        hidden = len(names) - _MOST_SHOWN
        raise UnsupportedError(
            "tf2onnx cannot convert this",
            where=", ".join(names[:_MOST_SHOWN]) + f" and {hidden} more" * (hidden > 0),
            advice="Freeze an output that does not need it.",
        )


@contextmanager
def _translated(problem: str, error_class: type[RunError | UnsupportedError]) -> Iterator[None]:
    """Raise whatever tf2onnx or ONNX Runtime raises as an error of tfpersist."""
    try:
        yield
    # Their errors have no base class but this.
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise error_class(f"{problem}: {text[:500].rstrip('. ')}") from error
