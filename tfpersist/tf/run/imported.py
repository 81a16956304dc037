"""Import a graph of tfpersist into TensorFlow."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from tfpersist.errors import GraphError, UnsupportedError
from tfpersist.formats import graphdef, graphdef_writer
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.describe.signature import labels_of
from tfpersist.graph.optimize import lift
from tfpersist.graph.optimize.lift import Lifted
from tfpersist.graph.optimize.weights import expand
from tfpersist.graph.structure import trusted_values
from tfpersist.graph.structure.kinds import INIT
from tfpersist.tf.internals import functions
from tfpersist.tf.run.aligned import aligned_copy
from tfpersist.tf.run.execute import Executor
from tfpersist.tf.run.translate import translated

# `_output_shapes` is a comment, and old writers wrote wrong ones. A colocation may name a node that
# was pruned.
_DROPPED_ATTRS = ("_output_shapes", "_class")
# With fewer bytes of weights than this, the exact size is not computed: it is below 2 GB.
_NEAR_LARGEST = graphdef.LARGEST // 2


def import_graph(graph: Graph, *, mapped: bool = True) -> Executor:
    """Import a graph into a tf.Graph of its own, with a session on it.

    The default graph is not changed. Device placements, colocations and recorded shapes are left
    out, because they may be wrong for this machine and this TensorFlow.

    Large constants become variables. They use the bytes of the graph itself if these lie at a
    multiple of 64 bytes, as in files that tfpersist wrote, and else a copy. Nobody may write into
    a file while it is in use. Other constants are copied. Compressed weights are decoded.

    If the graph has an operation that fills tables and initializes variables, it is run.

    Args:
        graph: the graph.
        mapped: False to copy all constants into TensorFlow's graph.

    Returns:
        The executor of the graph.

    Raises:
        UnsupportedError: it is larger than 2 GB without the constants that can become variables,
            or this TensorFlow lacks one of its ops.
        GraphError: the graph is malformed, or TensorFlow refuses it.
        RunError: TensorFlow cannot take the constants.
    """
    import tensorflow as tf

    graph = expand(graph)
    trusted_values.refuse_growth(graph)
    lifted = lift.lift(graph) if mapped else Lifted(graph)
    target = tf.Graph()
    import_into(target, lifted.graph)
    session = tf.compat.v1.Session(graph=target, config=_config(target, graph))
    try:
        if lifted.values:
            _initialize(session, lifted)
        if INIT in graph.nodes:
            with translated():
                session.run(INIT)
    except BaseException:
        session.close()
        raise
    labels = labels_of(graph)
    fetched = partial(labels.fetched, nodes=graph.nodes)
    return Executor(target, session, fetched, partial(labels.fed, nodes=graph.nodes))


def import_into(target: Any, graph: Graph, **options: Any) -> Any:
    """Import a graph into a tf.Graph, without device placements and colocations.

    Args:
        target: the tf.Graph.
        graph: the graph.
        options: further arguments of tf.graph_util.import_graph_def.

    Returns:
        The result of tf.graph_util.import_graph_def.

    Raises:
        UnsupportedError: it is larger than 2 GB, or this TensorFlow lacks one of its ops.
        GraphError: the graph is malformed, or TensorFlow refuses it.
    """
    import tensorflow as tf

    graph = expand(graph)
    _refuse_large(graph)
    trusted_values.refuse_invalid(graph)
    definition = definition_of(graph)
    if target.building_function:
        functions.register(definition.library)
    try:
        with target.as_default(), translated(GraphError):
            return tf.graph_util.import_graph_def(definition, **{"name": "", **options})
    except GraphError as error:
        if "Op type not registered" in error.problem:
            raise UnsupportedError(
                f"TensorFlow {tf.__version__} has no such op: {error.problem}",
                where=error.where,
                advice="Load the library that registers it, or freeze the model without it.",
            ) from error
        raise


def _config(target: Any, graph: Graph) -> Any:
    """Return the options of a session.

    On many CPUs TensorFlow has no kernel for a grouped convolution that is fused with its bias or
    activation, and fuses them all the same.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import rewriter_config_pb2

    config = tf.compat.v1.ConfigProto()
    convolutions = [node.name for node in graph.proto.node if node.op == "Conv2D"]
    if any(_is_grouped(target.get_operation_by_name(name)) for name in convolutions):
        rewriting = config.graph_options.rewrite_options
        rewriting.remapping = rewriter_config_pb2.RewriterConfig.OFF
    return config


def _is_grouped(convolution: Any) -> bool:
    images, filters = (tensor.shape for tensor in convolution.inputs)
    if images.rank != 4 or filters.rank != 4:
        return False
    channels = images[1 if convolution.get_attr("data_format") == b"NCHW" else 3]
    return None not in (channels, filters[2]) and channels != filters[2]


def _initialize(session: Any, lifted: Lifted) -> None:
    """Assign the lifted values: those that lie aligned in one run, copies of others one by one."""
    views: dict[str, np.ndarray[Any, Any]] = {}
    assignments: list[str] = []
    for (name, payload), assign in zip(lifted.values.items(), lifted.initializers, strict=True):
        array = payload.load()
        if array.ctypes.data % graphdef.ALIGNMENT == 0 and array.dtype.isnative:
            views[f"{name}:0"] = array
            assignments.append(assign)
        else:
            with translated():
                session.run(assign, {f"{name}:0": aligned_copy(array)})
    with translated():
        session.run(assignments, views)


def _refuse_large(graph: Graph) -> None:
    if sum(payload.spec.nbytes or 0 for payload in graph.payloads.values()) > _NEAR_LARGEST:
        graphdef_writer.size(graph)


def definition_of(graph: Graph) -> Any:
    """Return a graph as a GraphDef of TensorFlow's own class, without device placements.

    Args:
        graph: the graph.

    Raises:
        UnsupportedError: it is larger than 2 GB.
        GraphError: this TensorFlow cannot read it.
    """
    import tensorflow as tf

    _refuse_large(graph)
    try:
        definition = tf.compat.v1.GraphDef.FromString(graph.proto.SerializeToString())
    except DecodeError as error:
        raise GraphError(
            f"TensorFlow {tf.__version__} cannot read the graph: {error}",
            advice="Use the release of TensorFlow that wrote it, or freeze it with portable().",
        ) from error
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
