"""List the variables and other states of an object graph as entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from tfpersist.matching.pairing.fate import Fate
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.sides import object_graph
from tfpersist.matching.sides.facts import is_role
from tfpersist.matching.sides.object_graph import VALUE
from tfpersist.tf.internals import trackables
from tfpersist.tf.internals.live import LiveGraph, Node, SaveableState

# The number of an object, one of the tensors that it saves, and the entry of that tensor.
Row = tuple[int, SaveableState, Entry]


def rows_of(live: LiveGraph) -> list[Row]:
    """Return an entry for each tensor that the objects save.

    The entries of one graph are listed once. Later walks that find the same graph get them from
    its facts, where they are kept without the objects.

    Args:
        live: the objects as they are now.
    """
    kept: Sequence[Row] | None = live.facts.get("entries")
    if kept is not None:
        return _with_objects(kept, live.objects)
    rows = _list_rows(live)
    live.facts["entries"] = [
        (number, state, attrs.evolve(entry, ref=None, handle=_variable_mark(entry)))
        for number, state, entry in rows
    ]
    return rows


def is_variable(entry: Entry) -> bool:
    """Return whether an entry of an object graph is a variable.

    Args:
        entry: an entry of `rows_of`, or one for a tensor that is in no checkpoint.
    """
    # Other objects have their state as the handle, and a tensor in no checkpoint has no handle. To
    # ask TensorFlow takes ten times as long.
    return entry.handle is not None and not isinstance(entry.handle, SaveableState)


def identity(entry: Entry) -> tuple[int, str]:
    """Return what tells the entries of one target apart, whatever their keys are."""
    state = entry.handle
    return id(entry.ref), state.local if isinstance(state, SaveableState) else ""


def explained(entry: Entry, fate: Fate, key_of: Callable[[Any], str]) -> Entry:
    """Return an entry that says why it has its key, or what might be its tensor.

    Args:
        entry: the entry.
        fate: what the evidence says about it.
        key_of: returns the key of a tensor of the checkpoint.
    """
    proposal = fate.proposal and (key_of(fate.proposal[0]), fate.proposal[1])
    conflict = fate.conflict and " by name and ".join(map(key_of, fate.conflict)) + " by attribute"
    return attrs.evolve(
        entry,
        reason=fate.reason,
        proposal=proposal,
        alternatives=tuple(map(key_of, fate.alternatives)),
        conflict=conflict or "",
    )


def by_name(entry: Entry, fate: Fate) -> Entry:
    """Return the entry of a variable under its key in a checkpoint of names.

    Args:
        entry: the entry.
        fate: what the evidence says about it. A name that nobody gave, such as "dense_1", may be
            that of another layer there: if other tensors fit too, its own name is no key.
    """
    is_open = fate.alternatives or fate.proposal
    own = f"{entry.name} (of several)" if is_open else entry.name
    return explained(entry.under(str(fate.source) if fate.reason else own), fate, str)


def without_suffix(key: str) -> str:
    """Return the key of a variable without ".ATTRIBUTES/VARIABLE_VALUE" at its end."""
    return key.removesuffix(VALUE)


def _list_rows(live: LiveGraph) -> list[Row]:
    slots = object_graph.slots_of(live.graph)
    paths, layers = _paths(live), _layers(live)
    rows = []
    for number, node in enumerate(live.nodes):
        for state in node.states:
            aliases = (without_suffix(state.key), *paths.get(number, ()))
            entry = _entry(node, state, slots.get(number))
            layer = layers.get(number)
            rows.append((number, state, attrs.evolve(entry, aliases=aliases, layer=layer)))
    return rows


def _entry(node: Node, state: SaveableState, slot: str | None) -> Entry:
    if not trackables.is_variable(node.trackable):
        return Entry(state.key, node.path, state.spec, node.trackable, handle=state)
    inner = trackables.variable_in(node.trackable)
    handle = inner.op if trackables.is_symbolic(inner) else inner
    name = trackables.path_of(node.trackable) or without_suffix(state.key)
    return Entry(state.key, name, state.spec, node.trackable, handle=handle, slot=slot)


def _paths(live: LiveGraph) -> dict[int, list[str]]:
    """Return further names of each object: a path through each of its parents, and its TF1 name."""
    paths: dict[int, list[str]] = {}
    for number, node in enumerate(live.nodes):
        for name, child in live.graph.children[number].items():
            if live.nodes[child].states:
                paths.setdefault(child, []).append(f"{node.path}/{name}".strip("/"))
    for number, names in paths.items():
        name = trackables.name_of(live.nodes[number].trackable)
        if name:
            names.append(name)
    return paths


def _layers(live: LiveGraph) -> dict[int, int]:
    """Return the layer of each variable that has a role in one, such as a kernel."""
    layers: dict[int, int] = {}
    for number, edges in enumerate(live.graph.children):
        for name, child in edges.items() if number else ():
            if live.nodes[child].states and is_role(name):
                layers.setdefault(child, number)
    return layers


def _with_objects(kept: Sequence[Row], objects: Sequence[Any]) -> list[Row]:
    """Return rows that were kept without their objects, with the objects of today."""
    rows = []
    for number, state, bare in kept:
        thing = objects[number]
        handle = state if bare.handle is None else trackables.variable_in(thing)
        entry = Entry(
            bare.key,
            bare.name,
            bare.spec,
            thing,
            None,
            handle,
            bare.slot,
            aliases=bare.aliases,
            layer=bare.layer,
        )
        rows.append((number, state, entry))
    return rows


def _variable_mark(entry: Entry) -> str | None:
    """Return what stands for the handle of an entry that is kept without its object."""
    return "variable" if is_variable(entry) else None
