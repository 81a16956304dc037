"""Passes that make a graph smaller and leave it a graph that every runtime reads."""

from __future__ import annotations

from collections.abc import Iterable

from tfpersist.formats.graphdef import Graph
from tfpersist.graph.optimize import simplify
from tfpersist.graph.optimize.batch_norm import fold_normalization
from tfpersist.graph.optimize.dead_branches import decide
from tfpersist.graph.optimize.inline import inline
from tfpersist.graph.structure.kinds import CONTROL_FLOW
from tfpersist.graph.structure.names import producer
from tfpersist.graph.structure.prune import prune

_MOST_ROUNDS = 8


def optimize(graph: Graph, ends: Iterable[str], fed: Iterable[str] = ()) -> Graph:
    """Take out of a graph what it need not compute.

    Constants are folded; nodes that pass on what they read, arithmetic that changes nothing,
    branches that are never taken and needless waiting go: all of that bit by bit alike. Batch
    normalization becomes a part of the convolution or product before it. Only ops are used that
    the graph had, and BiasAdd. Doing it again changes nothing.

    Args:
        graph: the graph, which stays as it is.
        ends: names of the tensors and operations that are wanted; their names stay, and what is
            computed stays computed: OpenVINO gives no output that is a Const.
        fed: names of tensors that may be fed, though they are no placeholders; so do theirs.

    Returns:
        The graph, pruned.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "x" op: "Placeholder" }
        ...     node { name: "same" op: "Identity" input: "x" }
        ...     node { name: "y" op: "Neg" input: "same" }''')
        >>> [(node.name, *node.input) for node in optimize(graph, ["y:0"]).proto.node]
        [('x',), ('y', 'x')]
    """
    names, others = list(ends), list(fed)
    wanted = {producer(name) for name in names}
    keep = wanted | {producer(name) for name in others}
    # A branch that is decided gives its tensor by another index, which no output may.
    decided = all(
        node.name not in wanted or node.op not in CONTROL_FLOW for node in graph.proto.node
    )
    for _ in range(_MOST_ROUNDS):
        before = graph.proto.SerializeToString(deterministic=True)
        graph = inline(decide(graph, keep) if decided else graph, [*names, *others])
        graph = simplify.drop_waits(prune(graph, names))
        graph = simplify.bypass(graph, keep)
        graph = simplify.fold_all(graph, keep)
        graph = fold_normalization(prune(graph, names), keep)
        graph = prune(graph, names)
        if graph.proto.SerializeToString(deterministic=True) == before:
            break
    return graph
