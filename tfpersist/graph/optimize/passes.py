"""Make a graph smaller with passes whose result every runtime can read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from tfpersist.formats.graphdef import Graph
from tfpersist.graph.optimize import simplify
from tfpersist.graph.optimize.batch_norm import fold_batch_norm
from tfpersist.graph.optimize.dead_branches import remove_dead_branches
from tfpersist.graph.optimize.inline import inline
from tfpersist.graph.optimize.rsqrt import fold_rsqrt
from tfpersist.graph.structure.kinds import CONTROL_FLOW
from tfpersist.graph.structure.names import producer
from tfpersist.graph.structure.prune import prune, trim

_MOST_ROUNDS = 8


def optimize(graph: Graph, wanted: Iterable[str], fed: Iterable[str] = ()) -> Graph:
    """Remove from a graph what it need not compute.

    Bit by bit the same: constants are folded; Identity nodes, arithmetic without effect, branches
    that never run and needless control inputs go. The same up to rounding: batch normalization is
    folded into the convolution or product before it, and where there is none, into one product and
    one sum. The result has only ops that the graph had, and BiasAdd. A second run changes nothing.

    Args:
        graph: the graph; it is not changed.
        wanted: names of the wanted tensors and operations. Their names stay. They do not become a
            Const, because OpenVINO cannot output a Const.
        fed: names of tensors that users feed though they are no placeholders. Their names stay.

    Returns:
        The pruned graph.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "x" op: "Placeholder" }
        ...     node { name: "same" op: "Identity" input: "x" }
        ...     node { name: "y" op: "Neg" input: "same" }''')
        >>> [(node.name, *node.input) for node in optimize(graph, ["y:0"]).proto.node]
        [('x',), ('y', 'x')]
    """
    outputs, inputs = list(wanted), list(fed)
    output_nodes = {producer(name) for name in outputs}
    keep = output_nodes | {producer(name) for name in inputs}
    # Without its dead branch, a Switch gives its tensor at another index: so none may be wanted.
    removes_branches = all(
        node.name not in output_nodes or node.op not in CONTROL_FLOW for node in graph.proto.node
    )
    branches = [functools.partial(remove_dead_branches, keep=keep)] if removes_branches else []
    stages: list[list[Callable[[Graph], Graph]]] = [
        [*branches, functools.partial(inline, wanted=[*outputs, *inputs])],
        [
            simplify.drop_control_inputs,
            functools.partial(simplify.bypass_identities, keep=keep),
            functools.partial(simplify.fold_constants, keep=keep),
        ],
        [
            functools.partial(fold_batch_norm, keep=keep),
            functools.partial(fold_rsqrt, keep=keep),
        ],
    ]
    graph = prune(graph, outputs)
    for _ in range(_MOST_ROUNDS):
        before = graph
        for stage in stages:
            unchanged = graph
            for step in stage:
                graph = step(graph)
            if graph is not unchanged:
                graph = trim(graph, outputs)
        # A step that has nothing to do returns the graph itself.
        if graph is before:
            break
    return graph
