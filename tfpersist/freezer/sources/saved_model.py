"""Lower a SavedModel: one of its graphs, the values in `variables/`, one of its signatures."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import attrs

from tfpersist import graph_file
from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.errors import CorruptionError, StorageError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import parse_saved_model, split
from tfpersist.freezer.sources.bound_inputs import bound_sources
from tfpersist.freezer.sources.checkpoint import origin_of
from tfpersist.freezer.sources.choice import Choice
from tfpersist.freezer.sources.main_op import main_op, with_main_op
from tfpersist.freezer.sources.read_text import read_text
from tfpersist.graph.constants import from_saver
from tfpersist.graph.describe import saved_model
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.graph.structure.names import Labels
from tfpersist.safety import Policy
from tfpersist.storage import open_storage

_ASSETS = "assets"
_NAMES = ("saved_model.pb", "saved_model.pbtxt")


def folder_of(path: str) -> str | None:
    """Return the directory of the SavedModel that a path names; None for any other path.

    Args:
        path: a directory, or the `saved_model.pb` in it; a path or a URL.
    """
    if path.endswith(_NAMES):
        location, name = graph_file.place(path)
        if name in _NAMES:
            return location
    with suppress(StorageError):
        if not open_storage(path).names().isdisjoint(_NAMES):
            return path
    return None


def lower_saved_model(folder: str, choice: Choice) -> Lowered:
    """Lower a SavedModel.

    Args:
        folder: its directory.
        choice: the signature, the tags and the policy.

    Raises:
        NameNotFoundError: it has no such signature.
        FreezeError: it has no graph of these tags.
        CorruptionError: a file of it is damaged.
    """
    data, name = graph_file.read(folder, inside=_NAMES)
    file = f"{folder}/{name}"
    if name.endswith(".pbtxt"):
        model = schema.parse_text(schema.SavedModel, data, file=file)
    else:
        model = parse_saved_model(data, file)
    meta = saved_model.choose(model, choice.tags, file)
    signature = saved_model.signature_of(meta, choice.signature, file)
    graph = split(memoryview(meta.graph_def.SerializeToString()), file)
    lowered = Lowered(graph, {})
    if open_storage(f"{folder}/variables").names():
        checkpoint = Checkpoint(f"{folder}/variables/variables")
        specs = checkpoint.specs
        bound = bound_sources(graph, meta, checkpoint.object_graph, specs)
        lowered = from_saver.lower(graph, meta, specs, checkpoint.payload, bound)
        lowered = attrs.evolve(lowered, origin=origin_of(checkpoint, meta))
    lowered = with_main_op(lowered, main_op(meta))
    return attrs.evolve(
        lowered,
        inputs=tuple(signature.inputs.values()),
        outputs=tuple(signature.outputs.values()),
        labels=Labels(signature.inputs, signature.outputs),
        signatures=() if signature.outputs else saved_model.signatures(meta),
        assets=_assets(folder, meta),
        read=partial(read_text, choice.policy or Policy.default(), f"{folder}/{_ASSETS}"),
    )


def _assets(folder: str, meta: schema.Message) -> dict[str, str]:
    """Return the paths of the assets, by their names and by the tensors that hold their names."""
    directory = f"{folder}/{_ASSETS}"
    paths = {name: f"{directory}/{name}" for name in open_storage(directory).names()}
    for asset in meta.asset_file_def:
        if asset.filename.startswith("/") or ".." in asset.filename.split("/"):
            raise CorruptionError(
                f"asset {asset.filename!r} lies outside of this model",
                file=folder,
                expected="a name inside of its assets directory",
            )
        paths[asset.tensor_info.name] = f"{directory}/{asset.filename}"
    return paths
