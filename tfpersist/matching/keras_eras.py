"""Pair Keras 2 models with Keras 3 models, whose object graphs have different names. Pure.

Keras 2 names layers with weights `layer_with_weights-N`, names a Dense layer's weight `kernel`, and
saves the slots of an optimizer as slot variables. Keras 3 lists all layers under `_operations`,
names the weight `_kernel`, and gives the optimizer lists of its own. Layers are paired by their
order, their contents by name. Nothing is paired if there is a choice.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Mapping

from tfpersist.matching.object_graph import ObjectGraph, in_order, is_optimizer, match_from

_WEIGHTED = "layer_with_weights-"

# The lists of a Keras 3 optimizer, and the names of the same slots in Keras 2.
_SLOTS: Mapping[str, tuple[str, ...]] = {
    "_momentums": ("m", "momentum"),
    "momentums": ("momentum",),
    "_velocities": ("v", "rms"),
    "_velocity_hats": ("vhat",),
    "_m": ("m",),
    "_u": ("v",),
    "_accumulators": ("accumulator",),
    "_linears": ("linear",),
    "_accumulated_grads": ("accum_grad",),
    "_accumulated_delta_vars": ("accum_var",),
    "_average_gradients": ("mg",),
}
_SCALARS: Mapping[str, tuple[str, ...]] = {
    "_iterations": ("iter", "iterations"),
    "_learning_rate": ("learning_rate",),
}


def pair(
    saved: ObjectGraph, live: ObjectGraph, bound: Mapping[int, int], layers: Collection[int]
) -> dict[int, int]:
    """Return more pairs than equal edge names lead to.

    Args:
        saved: the graph in the checkpoint.
        live: the graph of the target.
        bound: {live node: saved node}, the pairs of equal edge names.
        layers: the live nodes that are Keras layers.

    Returns:
        `bound`, and further pairs.
    """
    pairs = dict(bound)
    queue = collections.deque(pairs.items())
    while queue:
        mine, theirs = queue.popleft()
        fresh = _aligned(saved, live, mine, theirs, pairs)
        if mine in layers:
            fresh |= _of_same_name(saved, live, mine, theirs, pairs)
        for node, other in fresh.items():
            for live_node, saved_node in match_from(saved, live, [(node, other)]).items():
                if live_node not in pairs:
                    pairs[live_node] = saved_node
                    queue.append((live_node, saved_node))
    for mine, theirs in list(pairs.items()):
        if is_optimizer(live, mine) and not is_optimizer(saved, theirs):
            pairs.update(_optimizer(saved, live, mine, theirs, pairs))
    return pairs


def _aligned(
    saved: ObjectGraph, live: ObjectGraph, mine: int, theirs: int, bound: Mapping[int, int]
) -> dict[int, int]:
    my_layers, their_layers = _layers_of(live, mine), _layers_of(saved, theirs)
    if not my_layers or len(my_layers) != len(their_layers):
        return {}
    pairs = dict(zip(my_layers, their_layers, strict=True))
    if any(_leaves(live, node) != _leaves(saved, other) for node, other in pairs.items()):
        return {}
    return {node: other for node, other in pairs.items() if node not in bound}


def _layers_of(graph: ObjectGraph, node: int) -> list[int]:
    edges = graph.children[node]
    numbered = in_order(
        {
            name.removeprefix(_WEIGHTED): child
            for name, child in edges.items()
            if name.startswith(_WEIGHTED)
        }
    )
    if numbered:
        return numbered
    holder = graph.children[edges.get("_functional", node)]
    if "_operations" not in holder:
        return []
    layers = in_order(graph.children[holder["_operations"]])
    return [layer for layer in dict.fromkeys(layers) if graph.holds_values(layer)]


def _leaves(graph: ObjectGraph, layer: int) -> Collection[tuple[str, ...]]:
    nested = _layers_of(graph, layer)
    if nested:
        return [("layers", str(len(nested)))]
    paths: dict[int, tuple[str, ...]] = {layer: ()}
    for node in graph.below(layer):
        for name, child in graph.children[node].items():
            paths.setdefault(child, (*paths[node], name.lstrip("_")))
    return sorted(path for node, path in paths.items() if graph.valued(node))


def _of_same_name(
    saved: ObjectGraph, live: ObjectGraph, mine: int, theirs: int, bound: Mapping[int, int]
) -> dict[int, int]:
    plain: dict[str, list[int]] = {}
    for name, child in saved.children[theirs].items():
        if saved.holds_values(child):
            plain.setdefault(name.lstrip("_"), []).append(child)
    pairs = {}
    for name, child in live.children[mine].items():
        others = plain.get(name.lstrip("_"), [])
        if child not in bound and live.holds_values(child) and len(others) == 1:
            pairs[child] = others[0]
    return pairs


def _optimizer(
    saved: ObjectGraph, live: ObjectGraph, mine: int, theirs: int, bound: Mapping[int, int]
) -> dict[int, int]:
    slots = saved.slots(theirs)
    trained = live.item(mine, "_trainable_variables") or {}
    pairs = {}
    for name, child in live.children[mine].items():
        for other in _SCALARS.get(name, ()):
            if other in saved.children[theirs]:
                pairs[child] = saved.children[theirs][other]
        for slot in _SLOTS.get(name, ()):
            for index, node in live.children[child].items():
                saved_slot = slots.get((slot, bound.get(trained.get(index, -1), -1)))
                if saved_slot is not None:
                    pairs.setdefault(node, saved_slot)
    return pairs
