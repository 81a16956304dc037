"""Pair the Keras models of two eras whose object graphs name the same things differently. Pure.

Keras 2 hangs the layers that have weights on `layer_with_weights-N`, calls a Dense layer's weight
`kernel`, and saves what an optimizer keeps as slot variables. Keras 3 lists all layers under
`_operations`, calls the weight `_kernel`, and gives the optimizer lists of its own. Layers are
paired by their order, what is in them by its name; nothing is paired where that leaves a choice.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Mapping

from tfpersist.matching.object_graph import ObjectGraph, in_order, is_optimizer, match_from

_WEIGHTED = "layer_with_weights-"

# The lists of a Keras 3 optimizer, and the slots in which Keras 2 keeps the same.
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
    """Pair what equal edge names have left over.

    Args:
        saved: the graph in the checkpoint.
        live: the graph of the target.
        bound: {live node: saved node}, as far as equal edge names lead.
        layers: the live nodes that are Keras layers.

    Returns:
        `bound` and the pairs that were found.
    """
    found = dict(bound)
    queue = collections.deque(found.items())
    while queue:
        mine, theirs = queue.popleft()
        fresh = _aligned(saved, live, mine, theirs, found)
        if mine in layers:
            fresh |= _alike(saved, live, mine, theirs, found)
        for node, other in fresh.items():
            for pair_ in match_from(saved, live, [(node, other)]).items():
                if pair_[0] not in found:
                    found[pair_[0]] = pair_[1]
                    queue.append(pair_)
    for mine, theirs in list(found.items()):
        if is_optimizer(live, mine) and not is_optimizer(saved, theirs):
            found.update(_optimizer(saved, live, mine, theirs, found))
    return found


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


def _alike(
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
                found = slots.get((slot, bound.get(trained.get(index, -1), -1)))
                if found is not None:
                    pairs.setdefault(node, found)
    return pairs
