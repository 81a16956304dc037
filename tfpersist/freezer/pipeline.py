"""From a source to the graph of a frozen model: one way for all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np

from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Payload, TensorSpec, payload_of
from tfpersist.freezer import sources
from tfpersist.graph.constants import constants, ends, refusals, tables
from tfpersist.graph.constants.initial_state import with_assignments, with_init
from tfpersist.graph.describe import signature, summary
from tfpersist.graph.describe.golden import Array, Golden, attach
from tfpersist.graph.describe.signature import Signature
from tfpersist.graph.optimize.bake import bake
from tfpersist.graph.optimize.inline import inline
from tfpersist.graph.optimize.passes import optimize
from tfpersist.graph.optimize.weights import Form, compress
from tfpersist.graph.runtimes import portable, releases
from tfpersist.graph.runtimes.releases import Runtime
from tfpersist.graph.structure import nesting
from tfpersist.graph.structure.feeds import fit
from tfpersist.graph.structure.kinds import INIT
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.graph.structure.names import find_tensor
from tfpersist.graph.structure.prune import needed, prune, trim
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
        target: the TensorFlow, or other runtime, that is to load the graph.
        signature: which signature of a SavedModel.
        tags: which graph of a SavedModel.
        optimized: whether to leave out what need not be computed.
        weights: in which form the large ones are held; None for float32.
        feeds: what the frozen graph is tried with beside the source; None where it is not.
        tolerance: how much its outputs may differ then.
    """

    outputs: tuple[str, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    only: tuple[object, ...] | None = None
    keep: tuple[object, ...] = ()
    baked: Mapping[str, Any] = attrs.field(factory=dict, eq=repr)
    target: Runtime | None = None
    signature: str | None = None
    tags: tuple[str, ...] = ()
    optimized: bool = False
    weights: Form | None = None
    feeds: Mapping[str, Any] | None = attrs.field(default=None, eq=repr)
    tolerance: float = 0.0

    def __repr__(self) -> str:
        fields = attrs.fields(type(self))
        unset = Wishes()
        told = [f.name for f in fields if getattr(self, f.name) != getattr(unset, f.name)]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in told)


@attrs.frozen
class Frozen:
    """What has been made of a source.

    Args:
        graph: the frozen graph, not yet signed; its payloads are those of the source.
        signature: what it says of itself.
        source: the source as it was found, nothing baked or cut.
        fixed: the values that are baked, by name of the tensor of the source.
        inputs: what the source calls the tensors that are fed, by their names in the frozen graph.
        outputs: what the source calls the tensors that are computed, by the same.
    """

    graph: Graph
    signature: Signature
    source: Lowered
    fixed: Mapping[str, Array]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    def signed(self, golden: Golden | None = None) -> Graph:
        """Give the graph with its signature, and with a golden pair.

        Args:
            golden: the pair, whose digest the signature has already.
        """
        proto = schema.GraphDef()
        proto.CopyFrom(self.graph.proto)
        graph = Graph(proto, self.graph.payloads)
        signature.sign(graph, self.signature)
        if golden is not None:
            attach(graph, golden)
        return graph


def lower(source: Any, checkpoint: Any, wishes: Wishes, policy: Policy | None) -> Lowered:
    """Lower a source.

    Args:
        source: what Freezer takes.
        checkpoint: where the values of a graph lie, if the source is a graph alone.
        wishes: what is to be frozen of it.
        policy: what it may do; None for what is right for its kind.

    Raises:
        FreezeError: it has no graph.
    """
    shaped = (*wishes.outputs, *(name for _, name in wishes.inputs), *wishes.baked)
    choice = sources.Choice(
        checkpoint, wishes.signature, wishes.tags, shaped if wishes.outputs else None, policy
    )
    return sources.lower(source, choice)


def fix(lowered: Lowered, wishes: Wishes) -> tuple[Lowered, dict[str, Array]]:
    """Bake the values that are to be fixed.

    Args:
        lowered: the source.
        wishes: what is to be frozen of it.

    Returns:
        The source with constants, and their values by name of the tensor.

    Raises:
        NameNotFoundError: there is no such tensor.
        FeedError: a value is of another kind or shape.
    """
    if not wishes.baked:
        return lowered, {}
    values = {}
    for name, value in wishes.baked.items():
        ref = find_tensor(lowered.graph, ends.called(name, lowered))
        spec = ref.spec or TensorSpec(np.asarray(value).dtype.name, None)
        values[ref] = fit(value, spec, ref.name)
    fixed = {ref.name: value for ref, value in values.items()}
    inputs = tuple(n for n in lowered.inputs if ends.called(n, lowered) not in fixed)
    baked = bake(lowered.graph, values, _named(lowered, wishes))
    return attrs.evolve(lowered, graph=baked, inputs=inputs), fixed


def freeze(source: Lowered, wishes: Wishes) -> Frozen:
    """Make the graph of a frozen model.

    Args:
        source: the source.
        wishes: what is to be frozen of it.

    Raises:
        NameNotFoundError: an output or a variable of that name is not in the graph.
        FreezeError: no outputs are set, or a node cannot be frozen.
        GraphError: functions call themselves, or each other beyond reason.
    """
    nesting.refuse_endless(source.graph.proto)
    lowered, fixed = fix(source, wishes)
    lowered = attrs.evolve(lowered, graph=inline(lowered.graph, _named(lowered, wishes)))
    asked = ends.outputs(lowered, wishes.outputs)
    begun = ends.begin(lowered, asked, given(lowered, wishes), strict=bool(wishes.inputs))
    lowered, refs = begun.lowered, begun.outputs
    names = [ref.name for ref in refs]
    lowered, fills = tables.with_tables(lowered, names)
    pruned = prune(lowered.graph, [*names, *fills])
    kept = ends.kept(lowered, pruned, wishes.keep, wishes.only)
    graph = constants.freeze(attrs.evolve(lowered, graph=pruned), kept)
    graph = trim(graph, [*names, *fills])
    graph, assigns = with_assignments(graph, lowered, kept & set(graph.nodes))
    refusals.refuse(graph, kept)
    graph = with_init(graph, [*fills, *assigns])
    if wishes.optimized:
        roots = [*names, INIT] if INIT in graph.nodes else names
        graph = optimize(graph, roots, {*lowered.inputs, *lowered.labels.values()})
    portable.clean(graph.proto, shaped={ref.operation for ref in refs})
    if wishes.target is not None:
        graph = releases.convert(graph, wishes.target)
    if wishes.weights is not None:
        # A table looks keys up and gives values as they are; a count goes on from where it was.
        exact = needed(graph, [INIT]) if INIT in graph.nodes else ()
        graph = compress(graph, wishes.weights, exact)
    described = signature.describe(lowered, graph, refs)
    old = {new: name for name, new in begun.renamed.items()}
    inputs = {ref.name: old.get(ref.name, ref.name) for ref in summary.inputs(graph)}
    outputs = {new.name: ref.name for new, ref in zip(refs, asked, strict=True)}
    return Frozen(graph, described, source, fixed, inputs, outputs)


def _named(lowered: Lowered, wishes: Wishes) -> set[str]:
    """Name the tensors that are wanted by their names, though functions may give them."""
    outputs = wishes.outputs or lowered.outputs
    asked = (*lowered.inputs, *outputs, *(name for _, name in wishes.inputs), *wishes.baked)
    return {ends.called(name, lowered) for name in asked}


def given(lowered: Lowered, wishes: Wishes) -> Iterable[tuple[str, str]]:
    """Say where the graph begins: what the placeholders are called, and names of tensors."""
    if wishes.inputs or wishes.outputs:
        return wishes.inputs
    return [(name, name) for name in lowered.inputs]


def snapshot(graph: Graph) -> Graph:
    """Take hold of the values of a graph as they are now."""
    payloads = {name: _loaded(payload) for name, payload in graph.payloads.items()}
    return Graph(graph.proto, payloads)


def policy_of(source: object) -> Policy | None:
    """Say what a frozen model may do when it runs: all that live code of the user's own may do."""
    from tfpersist.frozen.model import FrozenModel
    from tfpersist.store.model_store import ModelStore

    if isinstance(source, FrozenModel):
        return source.policy
    checkpoint = isinstance(source, Mapping) and hasattr(source, "meta")
    saved = checkpoint or isinstance(source, (str, os.PathLike, ModelStore))
    return Policy.default() if saved else None


def _loaded(payload: Payload) -> Payload:
    return payload_of(payload.load(), payload.spec.dtype)
