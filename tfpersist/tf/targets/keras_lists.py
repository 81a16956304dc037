"""Describe the layers of a living model as the HDF5 files of Keras list them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import attrs

from tfpersist.matching.keras_files.config import snake
from tfpersist.matching.sides.object_facts import Names
from tfpersist.tf.internals.live import LiveGraph
from tfpersist.tf.targets import keras_kinds

# A layer that lists its layers in an attribute of this name looks like a model in a file.
_LISTED = "layers"


def as_in_file(live: LiveGraph, names: Names, *, by_names: bool) -> Names:
    """Return what is known of the objects, with what a file says of lists and of all layers.

    Args:
        live: the objects.
        names: what is known of them.
        by_names: whether the file leads to tensors by the names of layers alone, and not by
            attributes.
    """
    layers = keras_kinds.layers()
    kinds = {
        at: snake(type(thing).__name__)
        for at, thing in enumerate(live.objects)
        if at and isinstance(thing, layers)
    }
    names = attrs.evolve(names, ranks=_ranks(live), kinds=kinds, of_file=True)
    if by_names:
        # An attribute says nothing, so every layer has a place in an order.
        return attrs.evolve(names, placed=frozenset(names.layers))
    whole = frozenset(at for at, thing in enumerate(live.objects) if isinstance(thing, layers))
    return attrs.evolve(names, places=_places(live), placed=frozenset(_listed(live)), whole=whole)


def _ranks(live: LiveGraph) -> dict[int, int]:
    """Return the place of each variable in the order of all weights of a model."""
    numbers = {id(thing): number for number, thing in enumerate(live.objects)}
    weights = getattr(live.objects[0], "weights", ())
    found = [numbers[id(one)] for one in weights if id(one) in numbers]
    return {number: at for at, number in enumerate(found)}


def _places(live: LiveGraph) -> dict[int, tuple[str, int]]:
    """Return the class and the number of each item in a list or dict, by the number of the item."""
    layers = keras_kinds.layers()
    found = {}
    for number, thing in enumerate(live.objects):
        counts = Counter[str]()
        for item in _items(live, number, thing):
            held = live.objects[item]
            if isinstance(held, layers):
                kind = snake(type(held).__name__)
            elif isinstance(held, (list, tuple, Mapping)):
                kind = "container"
            else:
                continue
            found[item] = kind, counts[kind]
            counts[kind] += 1
    return found


def _items(live: LiveGraph, number: int, thing: object) -> list[int]:
    """Return the objects in a list or dict, in its order; nothing for another object."""
    edges = live.graph.children[number]
    if isinstance(thing, Mapping):
        return [edges[str(key)] for key in thing if str(key) in edges]
    if isinstance(thing, (list, tuple)):
        return [edges[name] for name in sorted(filter(str.isdecimal, edges), key=int)]
    return []


def _listed(live: LiveGraph) -> Iterator[int]:
    """Yield the layers that a file may list as layers of a model instead of by an attribute."""
    layers, models = keras_kinds.layers(), keras_kinds.models()
    for number, thing in enumerate(live.objects):
        edges = live.graph.children[number]
        if isinstance(thing, models):
            waiting = list(edges.values())
        elif isinstance(thing, layers) and _LISTED in edges:
            waiting = [edges[_LISTED]]
        else:
            continue
        seen = set(waiting)
        while waiting:
            child = waiting.pop()
            if isinstance(live.objects[child], layers):
                yield child
            elif isinstance(live.objects[child], (list, tuple, Mapping)):
                inner = set(live.graph.children[child].values()) - seen
                seen |= inner
                waiting += inner
