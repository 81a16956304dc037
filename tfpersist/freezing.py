"""From a source to the graph of a frozen model: one way for all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from tfpersist import sources
from tfpersist.feeds import fit
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Payload, TensorSpec, payload_of
from tfpersist.graph import choices, constants, portable, refusals, releases, signature, tables
from tfpersist.graph.bake import bake
from tfpersist.graph.kept import with_assignments, with_init
from tfpersist.graph.lowered import Lowered
from tfpersist.graph.names import find_tensor
from tfpersist.graph.prune import prune
from tfpersist.graph.releases import Release
from tfpersist.safety import Policy


@attrs.frozen
class Wishes:
    """What to freeze of a source, and how.

    Args:
        outputs: names of the tensors to compute; empty for what the source tells.
        inputs: where the graph begins: what the placeholders are called, and names of tensors.
        only: the variables that become constants; None for all.
        keep: the variables that stay variables.
        baked: values of tensors that are fixed.
        release: the TensorFlow that is to load the graph.
        signature: which signature of a SavedModel.
        tags: which graph of a SavedModel.
    """

    outputs: tuple[str, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    only: tuple[object, ...] | None = None
    keep: tuple[object, ...] = ()
    baked: Mapping[str, Any] = attrs.field(factory=dict, eq=repr)
    release: Release | None = None
    signature: str | None = None
    tags: tuple[str, ...] = ()

    def __repr__(self) -> str:
        fields = attrs.fields(type(self))
        unset = Wishes()
        told = [f.name for f in fields if getattr(self, f.name) != getattr(unset, f.name)]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in told)


def lower(source: Any, checkpoint: Any, wishes: Wishes) -> Lowered:
    """Lower a source, with the values in it that are baked.

    Args:
        source: what Freezer takes.
        checkpoint: where the values of a graph lie, if the source is a graph alone.
        wishes: what is to be frozen of it.

    Raises:
        FreezeError: it has no graph.
        NameNotFoundError, FeedError: a value cannot be baked.
    """
    shaped = (*wishes.outputs, *(name for _, name in wishes.inputs), *wishes.baked)
    choice = sources.Choice(
        checkpoint, wishes.signature, wishes.tags, shaped if wishes.outputs else None
    )
    lowered = sources.lower(source, choice)
    if not wishes.baked:
        return lowered
    values = {}
    for name, value in wishes.baked.items():
        ref = find_tensor(lowered.graph, choices.called(name, lowered))
        spec = ref.spec or TensorSpec(np.asarray(value).dtype.name, None)
        values[ref] = fit(value, spec, ref.name)
    gone = {ref.name for ref in values}
    return attrs.evolve(
        lowered,
        graph=bake(lowered.graph, values),
        inputs=tuple(name for name in lowered.inputs if choices.called(name, lowered) not in gone),
    )


def freeze(lowered: Lowered, wishes: Wishes) -> Graph:
    """Make the graph of a frozen model.

    Args:
        lowered: the source.
        wishes: what is to be frozen of it.

    Returns:
        The graph, signed; its payloads are those of the source.

    Raises:
        NameNotFoundError: an output or a variable of that name is not in the graph.
        FreezeError: no outputs are set, or a node cannot be frozen.
    """
    refs = choices.outputs(lowered, wishes.outputs)
    given = wishes.inputs or (() if wishes.outputs else [(n, n) for n in lowered.inputs])
    lowered, refs = choices.begin(lowered, refs, given, strict=bool(wishes.inputs))
    names = [ref.name for ref in refs]
    lowered, fills = tables.with_tables(lowered, names, sources.read_text)
    pruned = prune(lowered.graph, [*names, *fills])
    kept = choices.kept(lowered, pruned, wishes.keep, wishes.only)
    graph = constants.freeze(attrs.evolve(lowered, graph=pruned), kept)
    graph = prune(graph, [*names, *fills])
    graph, assigns = with_assignments(graph, lowered, kept & set(graph.nodes))
    refusals.refuse(graph, kept)
    graph = with_init(graph, [*fills, *assigns])
    portable.clean(graph.proto, shaped={ref.operation for ref in refs})
    if wishes.release is not None:
        graph = releases.require(graph, wishes.release)
    signature.sign(graph, signature.describe(lowered, graph, refs))
    return graph


def snapshot(graph: Graph) -> Graph:
    """Take hold of the values of a graph as they are now."""
    payloads = {name: _loaded(payload) for name, payload in graph.payloads.items()}
    return Graph(graph.proto, payloads)


def policy_of(source: object) -> Policy | None:
    """Say what a frozen model may do when it runs: all that live code of the user's own may do."""
    from tfpersist.frozen import FrozenModel

    if isinstance(source, FrozenModel):
        return source.policy
    checkpoint = isinstance(source, Mapping) and hasattr(source, "meta")
    return Policy.default() if checkpoint or isinstance(source, (str, os.PathLike)) else None


def _loaded(payload: Payload) -> Payload:
    return payload_of(payload.load(), payload.spec.dtype)
