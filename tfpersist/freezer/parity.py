"""A frozen model is tried beside its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from tfpersist.errors import FreezeError, GraphError, ParityError, RunError
from tfpersist.formats.graphdef import Graph
from tfpersist.freezer import pipeline
from tfpersist.freezer.pipeline import Frozen, Wishes
from tfpersist.frozen import golden_check
from tfpersist.frozen.model import FrozenModel
from tfpersist.graph.constants import ends, tables
from tfpersist.graph.constants.initial_state import with_assignments, with_init
from tfpersist.graph.describe import golden
from tfpersist.graph.describe.golden import Array
from tfpersist.graph.describe.signature import Proof
from tfpersist.graph.structure.kinds import INIT, VARIABLES
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.graph.structure.prune import prune
from tfpersist.safety import Policy


def prove(frozen: Frozen, wishes: Wishes, policy: Policy | None) -> Graph:
    """Run a frozen graph and its source on the same feeds.

    Args:
        frozen: the graph and its source.
        wishes: what was asked for, feeds and tolerance among it.
        policy: what both may do.

    Returns:
        The graph, signed, with the golden pair.

    Raises:
        ParityError: they differ, or the source cannot be run.
        FeedError: a feed is missing, unknown, or does not fit.
    """
    graph = frozen.signed()
    with FrozenModel(graph, policy=policy) as model:
        named = golden_check.name_feeds(graph, wishes.feeds or {}, frozen.inputs)
        feeds = golden_check.fit_feeds(graph, named)
        found = dict(zip(frozen.outputs, model.run(list(frozen.outputs), feeds), strict=True))
    live = dict(zip(frozen.outputs, _source(frozen, wishes, feeds, policy), strict=True))
    known = golden.pair(feeds, live)
    # All that the source gave is compared here, however little of it goes into the file.
    whole = [attrs.evolve(held, values=live[held.name], stride=1) for held in known.outputs]
    report = golden_check.compare_all(whole, found, wishes.tolerance)
    if not report.ok:
        raise ParityError(
            "the frozen model gives something else than its source",
            expected=f"outputs within a tolerance of {wishes.tolerance:g}",
            report=report,
        )
    proof = Proof(known.digest, wishes.tolerance)
    signed = attrs.evolve(frozen, signature=attrs.evolve(frozen.signature, proof=proof))
    return signed.signed(known)


def _source(
    frozen: Frozen, wishes: Wishes, feeds: Mapping[str, Array], policy: Policy | None
) -> Sequence[Array]:
    """Compute the outputs with the source itself, or with its graph as it was found."""
    source = frozen.source
    fed = {frozen.inputs[name]: value for name, value in feeds.items()}
    if source.run is not None:
        found = source.run(list(frozen.outputs.values()), {**fed, **frozen.fixed})
        if found is not None:
            return found
    given = pipeline.given(source, wishes)
    begun = ends.begin(source, ends.outputs(source, wishes.outputs), given, strict=False)
    names = [ref.name for ref in begun.outputs]
    fed = {**feeds, **{begun.renamed.get(n, n): value for n, value in frozen.fixed.items()}}
    try:
        with FrozenModel(_unfrozen(begun.lowered, names), policy=policy) as model:
            computed: Sequence[Array] = model.run(names, fed)
            return computed
    except (FreezeError, GraphError, RunError) as error:
        raise ParityError(
            "the source itself cannot be run beside the frozen model",
            found=str(error),
            advice="Leave parity() out, or freeze a session or a function of the model.",
        ) from error


def _unfrozen(lowered: Lowered, names: Sequence[str]) -> Graph:
    """Give the graph of a source with its variables, which get their values when it is loaded."""
    if INIT in lowered.graph.nodes:
        return prune(lowered.graph, [*names, INIT])
    lowered, fills = tables.with_tables(lowered, names)
    graph = prune(lowered.graph, [*names, *fills])
    variables = {name for name, node in graph.nodes.items() if node.op in VARIABLES}
    graph, assigns = with_assignments(graph, lowered, variables)
    return with_init(graph, [*fills, *assigns])
