"""Make a graph of ours one that TensorFlow runs."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from tfpersist.errors import GraphError, UnsupportedError
from tfpersist.formats import graphdef, graphdef_writer
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.describe.signature import resolve
from tfpersist.graph.optimize import lift
from tfpersist.graph.optimize.lift import Lifted
from tfpersist.graph.optimize.weights import expand
from tfpersist.graph.structure import trusted_values
from tfpersist.graph.structure.kinds import INIT
from tfpersist.tf.internals import functions
from tfpersist.tf.run.execute import Executor
from tfpersist.tf.run.translate import translated

# `_output_shapes` is a comment that old writers got wrong; a colocation may name what was pruned.
_DROPPED_ATTRS = ("_output_shapes", "_class")
# What has fewer bytes of weights is not measured to see that it is smaller than 2 GB.
_NEAR_LARGEST = graphdef.LARGEST // 2


def import_graph(graph: Graph, *, mapped: bool = True) -> Executor:
    """Import a graph into a tf.Graph of its own, with a session on it.

    The default graph is not touched. Device placements, colocations and recorded shapes are left
    out, for they may not hold here.

    Large constants become variables that use the graph's own bytes where these lie at a multiple
    of 64 bytes, as in files that tfpersist wrote, and a copy of them elsewhere. A file must not be
    written into while it is in use. Other constants are copied. Weights in a smaller form are
    decoded.

    Tables are filled, and variables that stay get their first values, if the graph has the
    operation that does so.

    Args:
        graph: the graph.
        mapped: False to copy all constants into TensorFlow's graph.

    Returns:
        What runs it.

    Raises:
        UnsupportedError: it is larger than 2 GB and does not owe that to constants that can become
            variables, or this TensorFlow lacks one of its ops.
        GraphError: it holds what no TensorFlow could have written, or TensorFlow refuses it.
        RunError: TensorFlow cannot take the constants.
    """
    import tensorflow as tf

    graph = expand(graph)
    trusted_values.refuse_growth(graph)
    lifted = lift.lift(graph) if mapped else Lifted(graph)
    target = tf.Graph()
    import_into(target, lifted.graph)
    session = tf.compat.v1.Session(graph=target)
    try:
        if lifted.values:
            _initialize(session, lifted)
        if INIT in graph.nodes:
            with translated():
                session.run(INIT)
    except BaseException:
        session.close()
        raise
    return Executor(target, session, partial(resolve, graph))


def import_into(target: Any, graph: Graph, **options: Any) -> Any:
    """Import a graph into one that is there, device placements and colocations left out.

    Args:
        target: the tf.Graph.
        graph: the graph.
        options: what tf.graph_util.import_graph_def takes besides.

    Returns:
        What tf.graph_util.import_graph_def gives.

    Raises:
        UnsupportedError: it is larger than 2 GB, or this TensorFlow lacks one of its ops.
        GraphError: it holds what no TensorFlow could have written, or TensorFlow refuses it.
    """
    import tensorflow as tf

    graph = expand(graph)
    if sum(payload.spec.nbytes or 0 for payload in graph.payloads.values()) > _NEAR_LARGEST:
        graphdef_writer.size(graph)
    trusted_values.refuse_invalid(graph)
    definition = _definition(graph)
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


def _initialize(session: Any, lifted: Lifted) -> None:
    """Give the variables their values: views of a file together, copies one by one."""
    views: dict[str, np.ndarray[Any, Any]] = {}
    assigned: list[str] = []
    for (name, payload), assign in zip(lifted.values.items(), lifted.initializers, strict=True):
        array = payload.load()
        if array.ctypes.data % graphdef.ALIGNMENT == 0 and array.dtype.isnative:
            views[f"{name}:0"] = array
            assigned.append(assign)
        else:
            with translated():
                session.run(assign, {f"{name}:0": _aligned(array)})
    with translated():
        session.run(assigned, views)


def _aligned(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Copy an array to where TensorFlow uses it in place; otherwise it would copy it twice."""
    room = np.empty(array.nbytes + graphdef.ALIGNMENT, np.uint8)
    start = -room.ctypes.data % graphdef.ALIGNMENT
    flat = room[start : start + array.nbytes].view(array.dtype.newbyteorder("="))
    copy: np.ndarray[Any, Any] = flat.reshape(array.shape)
    copy[...] = array
    return copy


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
