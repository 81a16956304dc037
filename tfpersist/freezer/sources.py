"""Whatever a model is given as becomes one thing: a graph, its variables, where it ends."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import attrs

from tfpersist import graph_file
from tfpersist.errors import (
    CorruptionError,
    FreezeError,
    NameNotFoundError,
    StorageError,
    UnsafeModelError,
    value_text,
)
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph, parse_saved_model, split
from tfpersist.graph.constants import from_saver
from tfpersist.graph.constants.initial_state import first_values
from tfpersist.graph.describe import saved_model, signature
from tfpersist.graph.describe.described import graph_in
from tfpersist.graph.structure.lowered import Lowered, Origin
from tfpersist.graph.structure.names import find_tensor
from tfpersist.safety import Policy
from tfpersist.storage import open_storage

_GRAPH_FILES = (".pb", ".pbtxt", ".pb.txt")
# What a Saver calls its restore op unless it has a scope of its own.
_RESTORE = "save/restore_all"
_ASSETS = "assets"
_SAVED_MODELS = ("saved_model.pb", "saved_model.pbtxt")


@attrs.frozen
class Choice:
    """What a source does not tell by itself.

    Args:
        checkpoint: where the values of a graph lie, if the source is a graph alone.
        signature: which signature of a SavedModel.
        tags: which graph of a SavedModel.
        shaped: names of the tensors whose shapes are wanted of a session; None for all.
        policy: what it may do; None for what is right for its kind.
    """

    checkpoint: Any = None
    signature: str | None = None
    tags: tuple[str, ...] = ()
    shaped: tuple[str, ...] | None = None
    policy: Policy | None = None


def lower(source: Any, choice: Choice | None = None) -> Lowered:
    """Find out what a source is, and lower it; TensorFlow is imported for living models alone.

    Args:
        source: what Freezer takes.
        choice: what it does not tell by itself.

    Returns:
        Its graph, variables, inputs and outputs.

    Raises:
        TargetError: it is nothing that can be frozen.
        FreezeError: it has no graph, or brings values along where others are given.
    """
    choice = choice or Choice()
    graph = _graph_of(source)
    if graph is not None:
        _refuse_unused(choice)
        lowered = _with_values(graph, choice.checkpoint)
        policy = choice.policy or getattr(source, "policy", Policy.default())
        return attrs.evolve(lowered, read=partial(read_text, policy, _home(source)))
    if choice.checkpoint is not None:
        raise FreezeError(
            "this source has values of its own",
            expected="a GraphDef or the path of one, beside a checkpoint",
            found=value_text(source),
            advice="Leave the checkpoint out, or restore it into the model first.",
        )
    policy = choice.policy or Policy.default()
    source = _newest(source)
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(os.fspath(source))
        folder = _saved_model(path)
        if folder is not None:
            lowered = _lower_saved_model(folder, choice)
            return attrs.evolve(lowered, read=partial(read_text, policy, f"{folder}/{_ASSETS}"))
        from tfpersist.checkpoint.checkpoint import Checkpoint

        source = Checkpoint(path)
    _refuse_unused(choice)
    if isinstance(source, Mapping) and hasattr(source, "meta"):
        checkpoint: Any = source
        lowered = _lower_checkpoint(checkpoint)
        return attrs.evolve(lowered, read=partial(read_text, policy, checkpoint.storage.location))
    from tfpersist.tf.lower import functions as lower

    lowered = lower.lower(source, choice.shaped)
    return attrs.evolve(lowered, read=partial(read_text, choice.policy, None))


def _refuse_unused(choice: Choice) -> None:
    if choice.signature is not None or choice.tags:
        raise FreezeError(
            "signature() and tags() choose in a SavedModel, and this source is none",
            expected="the directory of a SavedModel",
            advice="Leave them out, and name the outputs: Freezer(...).outputs(...).",
        )


def _newest(source: Any) -> Any:
    """Give the checkpoint that a ModelStore would restore; anything else as it is."""
    from tfpersist.store.model_store import ModelStore

    if not isinstance(source, ModelStore):
        return source
    checkpoint = source.latest()
    if checkpoint is None:
        raise FreezeError(
            "there is no checkpoint",
            where=os.fsdecode(os.fspath(source.location)),
            advice="Save one first, or freeze the model itself.",
        )
    return checkpoint


def read_text(policy: Policy | None, home: str | None, path: str, where: str) -> bytes:
    """Read the file that fills a lookup table.

    Args:
        policy: what the model may do; None for everything.
        home: the directory that it may read from even where it may read no files.
        path: a path or a URL.
        where: which table it is.

    Raises:
        UnsafeModelError: it may not read that file.
        StorageError: there is no such file, or it cannot be read.
    """
    if policy is None or "file read" in policy.allowed:
        return bytes(graph_file.read(path)[0])
    own = None if home is None else graph_file.inside(home, path)
    if own is None:
        raise UnsafeModelError(
            "this table is to be filled from a file that is not the model's own",
            where=where,
            expected=f"a file in {home}" if home else "no file, for a graph that has no directory",
            found=path,
            advice="Put the file there, or freeze with policy=Policy.trusted() if you trust the"
            " model's author with every file of yours: what it holds goes into the frozen model.",
        )
    return bytes(graph_file.read(own)[0])


def _home(source: Any) -> str | None:
    """Name the directory of a graph file."""
    path = source if isinstance(source, (str, os.PathLike)) else getattr(source, "file", "")
    return graph_file.place(os.fsdecode(os.fspath(path)))[0] if path else None


def _graph_of(source: Any) -> Graph | None:
    """Give the graph of a source that is nothing but one."""
    from tfpersist.frozen.model import FrozenModel

    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(os.fspath(source))
        named = path.endswith(_GRAPH_FILES) and not path.endswith(_SAVED_MODELS)
        return graph_file.load(path) if named and _saved_model(path) is None else None
    if isinstance(source, FrozenModel):
        return source.graph
    return graph_in(source)


def _with_values(graph: Graph, checkpoint: Any) -> Lowered:
    if checkpoint is None:
        known = signature.Signature.of(graph) or signature.Signature()
        takes, gives = (
            tuple(name for name in ends.values() if _has(graph, name))
            for ends in (known.inputs, known.outputs)
        )
        labels = {**known.inputs, **known.outputs}
        values = first_values(graph)
        return Lowered(
            graph, values, takes, gives, labels=labels, origin=known.origin, kept=frozenset(values)
        )
    if not isinstance(checkpoint, Mapping):
        from tfpersist.checkpoint.checkpoint import Checkpoint

        checkpoint = Checkpoint(checkpoint)
    # The graph has its saver, but nothing beside it says which op restores.
    meta = schema.MetaGraphDef()
    meta.saver_def.restore_op_name = _RESTORE
    lowered = from_saver.lower(graph, meta, checkpoint.specs, checkpoint.payload)
    return attrs.evolve(lowered, origin=_origin(checkpoint, meta))


def _has(graph: Graph, name: str) -> bool:
    try:
        find_tensor(graph, name)
    except NameNotFoundError:
        return False
    return True


def _origin(checkpoint: Any, meta: schema.Message) -> Origin:
    version = meta.meta_info_def.tensorflow_version or None
    try:
        index = checkpoint.storage.read(f"{checkpoint.name}.index")
    except StorageError:
        return Origin(None, checkpoint.step, version)
    return Origin(hashlib.sha256(index).hexdigest(), checkpoint.step, version)


def _saved_model(path: str) -> str | None:
    """Give the directory of the SavedModel that a path means."""
    if path.endswith(_SAVED_MODELS):
        location, name = graph_file.place(path)
        if name in _SAVED_MODELS:
            return location
    with suppress(StorageError):
        if not open_storage(path).names().isdisjoint(_SAVED_MODELS):
            return path
    return None


def _lower_saved_model(folder: str, choice: Choice) -> Lowered:
    from tfpersist.checkpoint.checkpoint import Checkpoint

    data, name = graph_file.read(folder, inside=_SAVED_MODELS)
    file = f"{folder}/{name}"
    if name.endswith(".pbtxt"):
        model = schema.parse_text(schema.SavedModel, data, file=file)
    else:
        model = parse_saved_model(data, file)
    meta = saved_model.choose(model, choice.tags, file)
    ends = saved_model.endpoints(meta, choice.signature, file)
    graph = split(memoryview(meta.graph_def.SerializeToString()), file)
    lowered = Lowered(graph, {})
    if open_storage(f"{folder}/variables").names():
        checkpoint = Checkpoint(f"{folder}/variables/variables")
        lowered = from_saver.lower(graph, meta, checkpoint.specs, checkpoint.payload)
        lowered = attrs.evolve(lowered, origin=_origin(checkpoint, meta))
    return attrs.evolve(
        lowered,
        inputs=tuple(ends.inputs.values()),
        outputs=tuple(ends.outputs.values()),
        labels={**ends.inputs, **ends.outputs},
        offers=() if ends.outputs else saved_model.offers(meta),
        assets=_assets(folder, meta),
    )


def _assets(folder: str, meta: schema.Message) -> dict[str, str]:
    """Say where the files lie that came with a SavedModel."""
    inside = f"{folder}/{_ASSETS}"
    found = {name: f"{inside}/{name}" for name in open_storage(inside).names()}
    for asset in meta.asset_file_def:
        if asset.filename.startswith("/") or ".." in asset.filename.split("/"):
            raise CorruptionError(
                f"asset {asset.filename!r} is no file of this model",
                file=folder,
                expected="a name inside of its assets directory",
            )
        found[asset.tensor_info.name] = f"{inside}/{asset.filename}"
    return found


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
    lowered = from_saver.lower(graph, meta, checkpoint.specs, checkpoint.payload)
    return attrs.evolve(lowered, origin=_origin(checkpoint, meta))
