"""Run a frozen graph beside its source on the same feeds, and compare their outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import attrs

from tfpersist.errors import FreezeError, GraphError, ParityError, RunError
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Array
from tfpersist.freezer import passes
from tfpersist.freezer.draft import Draft
from tfpersist.frozen import golden_check
from tfpersist.frozen.model import FrozenModel
from tfpersist.graph.describe import golden
from tfpersist.graph.describe.signature import Proof
from tfpersist.graph.structure import functions
from tfpersist.graph.structure.kinds import VARIABLES
from tfpersist.graph.structure.prune import prune
from tfpersist.safety import Policy

Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def prove(
    frozen: Draft, policy: Policy | None, others: Mapping[str, Run] = MappingProxyType({})
) -> Graph:
    """Run a frozen graph and its source on the same feeds.

    Args:
        frozen: the frozen graph; its options have the feeds and the tolerance.
        policy: what both may do; None for everything.
        others: what else must give the outputs of the source, by its name: functions that compute
            outputs from feeds, both by the names of their tensors in the frozen graph.

    Returns:
        The frozen graph, signed, with the golden pair.

    Raises:
        ParityError: their outputs differ, or the source cannot be run.
        FeedError: a feed is missing, unknown, or does not fit.
    """
    feeds, computed = _run_frozen(frozen, policy)
    outputs = _run_live(frozen, feeds)
    if outputs is None:
        outputs = _run_graph(frozen, feeds, policy)
    expected = dict(zip(computed, outputs, strict=True))
    pair = golden.pair(feeds, expected)
    # Everything that the source computes is compared, even if only a part goes into the file.
    whole = [attrs.evolve(out, values=expected[out.name], stride=1) for out in pair.outputs]
    runs = {"the frozen model": computed} | {name: run(feeds) for name, run in others.items()}
    for name, results in runs.items():
        report = golden_check.compare_all(whole, results, frozen.options.tolerance)
        if not report.ok:
            raise ParityError(
                f"the outputs of {name} differ from those of its source",
                expected=f"outputs within a tolerance of {report.tolerance:g}",
                report=report,
            )
    proof = Proof(pair.digest, frozen.options.tolerance)
    return attrs.evolve(frozen, signature=attrs.evolve(frozen.signature, proof=proof)).signed(pair)


def _run_frozen(
    frozen: Draft, policy: Policy | None
) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
    """Return the fitted feeds, and what the frozen graph computes of them."""
    graph = frozen.signed()
    named = golden_check.name_feeds(graph, frozen.options.feeds or {}, frozen.source_inputs)
    feeds = golden_check.fit_feeds(graph, named)
    names = list(frozen.source_outputs)
    with FrozenModel(graph, policy=policy) as model:
        return feeds, dict(zip(names, model.run(names, feeds), strict=True))


def _run_live(frozen: Draft, feeds: Mapping[str, Array]) -> Sequence[Array] | None:
    """Return what the living source itself computes; None if it cannot compute these tensors."""
    run = frozen.source.run
    if run is None:
        return None
    source_feeds = {frozen.source_inputs[name]: value for name, value in feeds.items()}
    return run(list(frozen.source_outputs.values()), {**source_feeds, **frozen.baked})


def _run_graph(frozen: Draft, feeds: Mapping[str, Array], policy: Policy | None) -> Sequence[Array]:
    """Return what the graph of the source computes, with its variables and nothing baked."""
    draft = passes.cut_at_inputs(Draft.of(frozen.source, frozen.options), strict=False)
    baked = {draft.renamed.get(name, name): value for name, value in frozen.baked.items()}
    names = list(draft.source_outputs)
    try:
        graph = _with_variables(draft)
        # A function that is alive in this process can have the same name and another definition.
        functions.settle_names(graph.proto)
        with FrozenModel(graph, policy=policy) as model:
            computed: Sequence[Array] = model.run(names, {**feeds, **baked})
            return computed
    except (FreezeError, GraphError, RunError) as error:
        raise ParityError(
            "the source itself cannot run beside the frozen model",
            found=str(error),
            advice="Leave parity() out, or freeze a session or a function of the model.",
        ) from error


def _with_variables(draft: Draft) -> Graph:
    """Return the graph of a source, whose init operation assigns the variables their values."""
    if draft.init:
        return prune(draft.graph, [*draft.wanted, *draft.init])
    draft = passes.fill_tables(draft)
    draft = draft.with_graph(prune(draft.graph, draft.roots))
    variables = {name for name, node in draft.graph.nodes.items() if node.op in VARIABLES}
    draft = attrs.evolve(draft, kept=frozenset(variables))
    return passes.add_init_operation(passes.assign_kept_variables(draft)).graph
