"""Whatever a model is given as becomes one thing: a graph, its variables, where it ends."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tfpersist import graph_file
from tfpersist.errors import FreezeError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph, split
from tfpersist.graph import saver
from tfpersist.graph.lowered import Lowered

_GRAPH_FILES = (".pb", ".pbtxt", ".pb.txt")


def lower(source: Any) -> Lowered:
    """Find out what a source is, and lower it; TensorFlow is imported for living models alone.

    Args:
        source: what Freezer takes.

    Returns:
        Its graph, variables, inputs and outputs.

    Raises:
        TargetError: it is nothing that can be frozen.
        FreezeError: it has no graph.
    """
    from tfpersist.frozen import FrozenModel

    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(os.fspath(source))
        if path.endswith(_GRAPH_FILES) and not path.endswith("saved_model.pb"):
            return Lowered(graph_file.load(path), {})
        from tfpersist.checkpoint import Checkpoint

        return _lower_checkpoint(Checkpoint(path))
    if isinstance(source, FrozenModel):
        source = source.graph
    if isinstance(source, Graph):
        return Lowered(source, {})
    if isinstance(source, Mapping) and hasattr(source, "meta"):
        return _lower_checkpoint(source)
    descriptor = getattr(source, "DESCRIPTOR", None)
    if descriptor is not None and descriptor.full_name == schema.GraphDef.DESCRIPTOR.full_name:
        return Lowered(split(memoryview(source.SerializeToString())), {})
    from tfpersist.tf import lower

    return lower.lower(source)


def _lower_checkpoint(checkpoint: Any) -> Lowered:
    meta = checkpoint.meta
    if meta is None:
        raise FreezeError(
            "there is no graph beside this checkpoint",
            where=checkpoint.prefix,
            expected="a .meta file",
            advice="Restore it into the model and freeze that, or save it again from a session.",
        )
    graph = split(memoryview(meta.graph_def.SerializeToString()), f"{checkpoint.prefix}.meta")
    return saver.lower(graph, meta, checkpoint.specs, checkpoint.payload)
