"""Write a frozen graph as an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping

from tfpersist import graph_file
from tfpersist.errors import UnsupportedError
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Array
from tfpersist.freezer import parity
from tfpersist.freezer.draft import Draft
from tfpersist.graph.structure.kinds import VARIABLES, is_table
from tfpersist.graph.structure.names import TensorRef, find_tensor, is_operation
from tfpersist.safety import Policy
from tfpersist.storage import open_storage
from tfpersist.tf.onnx import onnx_model


def write(
    frozen: Draft, policy: Policy | None, path: str, options: object = None, *, durable: bool
) -> Graph:
    """Convert a frozen graph to ONNX, run it if its options ask for parity, and write it.

    Args:
        frozen: the frozen graph, of ops that tf2onnx knows.
        policy: what the source and the frozen graph may do when they run.
        path: the file, a path or a URL.
        options: what the file system of a URL is opened with.
        durable: wait until the file would survive a power loss.

    Returns:
        The frozen graph, signed.

    Raises:
        UnsupportedError: ONNX has no such model; the nodes are named.
        ParityError: the outputs of the source, of the frozen graph and of ONNX Runtime differ.
        StorageError: the file cannot be written; nothing is left behind.
    """
    graph = frozen.signed()
    inputs, outputs = _ends(frozen, graph)
    model = onnx_model.convert(graph, inputs, outputs)

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        fed = {label: feeds[ref.name] for label, ref in inputs.items()}
        results = model.run(list(outputs), fed)
        return {ref.name: value for ref, value in zip(outputs.values(), results, strict=True)}

    if frozen.options.feeds is not None:
        graph = parity.prove(frozen, policy, {"ONNX Runtime": run})
    location, name = graph_file.place(path)
    with open_storage(location, options).publish(durable=durable) as publication:
        publication.create(name).write(model.data)
    return graph


def _ends(frozen: Draft, graph: Graph) -> tuple[dict[str, TensorRef], dict[str, TensorRef]]:
    """Return the inputs and outputs by the names of the signature."""
    state = [
        f"node {node.name} ({node.op})"
        for node in graph.proto.node
        if node.op in VARIABLES or is_table(node.op)
    ]
    if state:
        raise UnsupportedError(
            "an ONNX file keeps no variables and tables",
            where=", ".join(state[:8]),
            advice="Freeze an output that does not need them.",
        )
    signature = frozen.signature
    for label, name in signature.outputs.items():
        if is_operation(graph, name):
            raise UnsupportedError(
                "an ONNX file runs no operation without outputs",
                where=name,
                advice="Leave it out of outputs().",
            )
        if label in signature.inputs:
            raise UnsupportedError(
                f"an ONNX file has one tensor of a name; {label!r} is an input and an output",
                where=f"{signature.inputs[label]} and {name}",
                advice=f"Name the input otherwise: inputs(new_name={label!r}).",
            )
    inputs = {label: find_tensor(graph, name) for label, name in signature.inputs.items()}
    outputs = {label: find_tensor(graph, name) for label, name in signature.outputs.items()}
    return inputs, outputs
