"""Lower a checkpoint that has a `.meta`: its graph, and its tensors as values of the variables."""

from __future__ import annotations

import hashlib
import os
from functools import partial

import attrs

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.errors import FreezeError, StorageError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import split
from tfpersist.freezer.sources.read_text import read_text
from tfpersist.graph.constants import from_saver
from tfpersist.graph.structure.lowered import Lowered, Origin
from tfpersist.safety import Policy
from tfpersist.store.model_store import ModelStore


def lower_checkpoint(checkpoint: Checkpoint, policy: Policy) -> Lowered:
    """Lower a checkpoint.

    Args:
        checkpoint: the checkpoint.
        policy: what its graph may do.

    Raises:
        FreezeError: it has no `.meta`.
        CorruptionError: the `.meta` is damaged.
    """
    meta = checkpoint.meta
    if meta is None:
        if checkpoint.keras_file is not None:
            raise FreezeError(
                "this file of Keras has weights, and no graph",
                where=checkpoint.prefix,
                expected="the model itself",
                advice="Load it with keras.models.load_model(), or restore the weights with"
                " tfpersist.ModelStore(path).restore(model), and pass the model to Freezer.",
            )
        raise FreezeError(
            "there is no graph beside this checkpoint",
            where=checkpoint.prefix,
            expected="a .meta file",
            advice="Restore it into the model and freeze that, or save it again from a session.",
        )
    graph = split(memoryview(meta.graph_def.SerializeToString()), f"{checkpoint.prefix}.meta")
    lowered = from_saver.lower(graph, meta, checkpoint.specs, checkpoint.payload)
    return attrs.evolve(
        lowered,
        origin=origin_of(checkpoint, meta),
        read=partial(read_text, policy, checkpoint.storage.location),
    )


def newest(store: ModelStore) -> Checkpoint:
    """Return the checkpoint that a ModelStore would restore.

    Args:
        store: the store.

    Raises:
        FreezeError: it has no checkpoint.
    """
    checkpoint = store.latest()
    if checkpoint is None:
        raise FreezeError(
            "there is no checkpoint",
            where=os.fsdecode(os.fspath(store.location)),
            advice="Save one first, or freeze the model itself.",
        )
    return checkpoint


def origin_of(checkpoint: Checkpoint, meta: schema.Message) -> Origin:
    """Return where the values of a frozen graph come from.

    Args:
        checkpoint: the checkpoint with the values.
        meta: the MetaGraphDef of the graph.
    """
    version = meta.meta_info_def.tensorflow_version or None
    try:
        index = checkpoint.storage.read(f"{checkpoint.name}.index")
    except StorageError:
        return Origin(None, checkpoint.step, version)
    return Origin(hashlib.sha256(index).hexdigest(), checkpoint.step, version)
