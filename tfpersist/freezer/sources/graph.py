"""Lower a graph without a model: a GraphDef, a FrozenModel, a `.pb` or `.pbtxt` file."""

from __future__ import annotations

import os
from functools import partial

import attrs

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.errors import NameNotFoundError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.freezer.sources.checkpoint import origin_of
from tfpersist.freezer.sources.read_text import read_text
from tfpersist.graph.constants import from_saver
from tfpersist.graph.constants.initial_state import kept_values
from tfpersist.graph.describe.signature import Signature
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.graph.structure.names import Labels, find_tensor, is_operation
from tfpersist.safety import Policy

FILES = (".pb", ".pbtxt", ".pb.txt")
# The restore op of a Saver that has no name scope of its own.
_RESTORE = "save/restore_all"


def lower_graph(
    graph: Graph,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    *,
    policy: Policy | None = None,
    home: str | None = None,
) -> Lowered:
    """Lower a graph.

    Args:
        graph: the graph.
        checkpoint: a checkpoint with the values of its variables, or whatever names one; None for
            the values that the graph itself assigns, as a frozen one does.
        policy: what the graph may do; None for everything.
        home: the directory of the graph's file; None for a graph in memory.

    Raises:
        CheckpointNotFoundError: there is no such checkpoint.
    """
    lowered = _frozen(graph) if checkpoint is None else _with_values(graph, checkpoint)
    return attrs.evolve(lowered, read=partial(read_text, policy, home))


def _frozen(graph: Graph) -> Lowered:
    """Lower a graph that assigns first values to its variables, and has a signature perhaps."""
    signature = Signature.of(graph) or Signature()
    values = kept_values(graph)
    return Lowered(
        graph,
        values,
        tuple(name for name in signature.inputs.values() if _has(graph, name)),
        tuple(name for name in signature.outputs.values() if _has(graph, name)),
        labels=Labels(signature.inputs, signature.outputs),
        origin=signature.origin,
        kept=frozenset(values),
    )


def _with_values(graph: Graph, source: str | os.PathLike[str] | Checkpoint) -> Lowered:
    checkpoint = source if isinstance(source, Checkpoint) else Checkpoint(source)
    # The graph has its Saver's ops, but no MetaGraphDef that names the op that restores.
    meta = schema.MetaGraphDef()
    meta.saver_def.restore_op_name = _RESTORE
    lowered = from_saver.lower(graph, meta, checkpoint.specs, checkpoint.payload)
    return attrs.evolve(lowered, origin=origin_of(checkpoint, meta))


def _has(graph: Graph, name: str) -> bool:
    if is_operation(graph, name):
        return True
    try:
        find_tensor(graph, name)
    except NameNotFoundError:
        return False
    return True
