"""Make a graph of ours one that TensorFlow runs."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from tfpersist.errors import GraphError, UnsupportedError
from tfpersist.formats import graphdef
from tfpersist.formats.graphdef import Graph
from tfpersist.graph import soundness
from tfpersist.tf.execute import Executor, translated

# `_output_shapes` is a comment that old writers got wrong; a colocation may name what was pruned.
_DROPPED_ATTRS = ("_output_shapes", "_class")


def import_graph(graph: Graph) -> Executor:
    """Import a graph into a tf.Graph of its own, with a session on it.

    The default graph is not touched. Device placements, colocations and recorded shapes are left
    out, for they may not hold here.

    Args:
        graph: the graph; its constants are copied.

    Returns:
        What runs it.

    Raises:
        UnsupportedError: it is larger than 2 GB, or this TensorFlow lacks one of its ops.
        GraphError: it holds what no TensorFlow could have written, or TensorFlow refuses it.
    """
    import tensorflow as tf

    graphdef.size(graph)
    soundness.refuse_unsound(graph)
    definition = _definition(graph)
    target = tf.Graph()
    try:
        with target.as_default(), translated(GraphError):
            tf.graph_util.import_graph_def(definition, name="")
    except GraphError as error:
        if "Op type not registered" in error.problem:
            raise UnsupportedError(
                f"TensorFlow {tf.__version__} has no such op: {error.problem}",
                where=error.where,
                advice="Load the library that registers it, or freeze the model without it.",
            ) from error
        raise
    return Executor(target, tf.compat.v1.Session(graph=target))


def _definition(graph: Graph) -> Any:
    import tensorflow as tf

    try:
        definition = tf.compat.v1.GraphDef.FromString(graph.proto.SerializeToString())
    except DecodeError as error:
        raise GraphError(f"TensorFlow cannot read the graph: {error}") from error
    for nodes in (definition.node, *(f.node_def for f in definition.library.function)):
        for node in nodes:
            node.device = ""
            for name in _DROPPED_ATTRS:
                node.attr.pop(name, None)
    for node in definition.node:
        payload = graph.payloads.get(node.name)
        if payload is not None:
            node.attr["value"].tensor.tensor_content = payload.load().tobytes()
    return definition
