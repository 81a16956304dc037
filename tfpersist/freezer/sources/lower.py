"""Lower any source of a freezer: find out its kind, and call the module of that kind."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import attrs

from tfpersist import graph_file
from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.freezer.sources import checkpoint, graph, saved_model
from tfpersist.freezer.sources.choice import Choice
from tfpersist.freezer.sources.read_text import read_text
from tfpersist.frozen.model import FrozenModel
from tfpersist.graph.describe.lookup import graph_in
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.safety import Policy
from tfpersist.store.model_store import ModelStore
from tfpersist.tf.lower.live_model import lower_live_model


def lower(source: Any, choice: Choice) -> Lowered:
    """Lower a source; only a live model imports TensorFlow.

    Args:
        source: what Freezer takes.
        choice: what the source does not say itself.

    Returns:
        Its graph, variables, inputs and outputs.

    Raises:
        TargetError: the source cannot be frozen.
        FreezeError: it has no graph, or a choice is not for this kind of source.
    """
    if isinstance(source, (str, os.PathLike)):
        return _lower_path(os.fsdecode(os.fspath(source)), choice)
    if isinstance(source, FrozenModel):
        choice.refuse_signature()
        policy = choice.policy or source.policy
        home = _directory(source.file) if source.file else None
        return graph.lower_graph(source.graph, choice.checkpoint, policy=policy, home=home)
    in_memory = graph_in(source)
    if in_memory is not None:
        choice.refuse_signature()
        policy = choice.policy or Policy.default()
        return graph.lower_graph(in_memory, choice.checkpoint, policy=policy)
    choice.refuse_checkpoint(source)
    choice.refuse_signature()
    if isinstance(source, ModelStore):
        source = checkpoint.newest(source)
    if isinstance(source, Checkpoint):
        return checkpoint.lower_checkpoint(source, choice.policy or Policy.default())
    lowered = lower_live_model(source, choice.shaped, choice.batch)
    return attrs.evolve(lowered, read=partial(read_text, choice.policy, None))


def default_policy(source: object) -> Policy | None:
    """Return what a model that is frozen from a source may do, unless the user sets a policy.

    Args:
        source: what Freezer takes. Live code of the user's own may do everything.
    """
    if isinstance(source, FrozenModel):
        return source.policy
    is_saved = isinstance(source, (str, os.PathLike, Checkpoint, ModelStore))
    return Policy.default() if is_saved else None


def _lower_path(path: str, choice: Choice) -> Lowered:
    folder = saved_model.folder_of(path)
    policy = choice.policy or Policy.default()
    if folder is None and path.endswith(graph.FILES):
        choice.refuse_signature()
        loaded = graph_file.load(path)
        home = _directory(path)
        return graph.lower_graph(loaded, choice.checkpoint, policy=policy, home=home)
    choice.refuse_checkpoint(path)
    if folder is not None:
        return saved_model.lower_saved_model(folder, choice)
    saved = Checkpoint(path)
    choice.refuse_signature()
    return checkpoint.lower_checkpoint(saved, policy)


def _directory(file: str) -> str:
    return graph_file.place(file)[0]
