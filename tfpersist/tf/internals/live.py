"""What an object graph is while its objects live, and what of it can be known again.

To walk 20,000 variables and to name them takes far longer than to write them. An outline remembers
a walk without keeping any object alive. It counts only as long as every object is still there and
has the same children under the same names, which is looked at before every use.
"""

from __future__ import annotations

import collections
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any

import attrs

from tfpersist.formats import schema
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching import object_graph
from tfpersist.matching.object_graph import ObjectGraph

# A program saves few models at a time.
_MOST_OUTLINES = 8


@attrs.frozen
class SaveableState:
    """One tensor that an object saves.

    Args:
        local: what the object itself calls it, such as "VARIABLE_VALUE" or "-keys".
        attribute: the name of its attribute in the object graph.
        key: its key in a checkpoint.
        attribute_key: the key of its attribute; shorter than `key` where several share one.
        spec: its data type and shape; open where it may change, as the size of a table does.
    """

    local: str
    attribute: str
    key: str
    attribute_key: str
    spec: TensorSpec

    @property
    def suffix(self) -> str:
        """What the key has beyond that of the attribute."""
        return self.key[len(self.attribute_key) :]


@attrs.frozen
class Node:
    """One object.

    Args:
        trackable: the object.
        path: its shortest path from the root.
        states: the tensors it saves.
    """

    trackable: Any
    path: str
    states: tuple[SaveableState, ...]


@attrs.frozen(slots=False)
class LiveGraph:
    """All objects that can be reached from a root.

    Args:
        objects: the objects, in the order of TensorFlow's object graph.
        states: path and states of each.
        graph: that object graph.
        root: keeps the root alive, which TensorFlow itself refers to weakly.
        facts: what follows from the graph, by name; it is there again with the next walk that
            finds the same, so it must not hold any of the objects.
    """

    objects: Sequence[Any] = attrs.field(eq=False, repr=False)
    states: Sequence[tuple[str, tuple[SaveableState, ...]]]
    graph: ObjectGraph
    root: Any = attrs.field(eq=False, repr=False)
    facts: dict[str, Any] = attrs.field(eq=False, repr=False, factory=dict)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Objects, paths and states together."""
        pairs = zip(self.objects, self.states, strict=True)
        return tuple(Node(thing, path, states) for thing, (path, states) in pairs)

    @property
    def encoded(self) -> bytes:
        """The object graph as a checkpoint holds it."""
        if "encoded" not in self.facts:
            self.facts["encoded"] = self.graph.message.SerializeToString()
        encoded: bytes = self.facts["encoded"]
        return encoded


# Shape and data type of an eager variable.
Look = tuple[Any, Any]
Edges = Mapping[int, Sequence[tuple[str, int]]]
Slots = Mapping[int, Sequence[tuple[str, int, int]]]


def graph_of(
    objects: Sequence[Any],
    states: Sequence[tuple[str, tuple[SaveableState, ...]]],
    edges: Edges,
    slots: Slots,
    *,
    full_name: Callable[[Any], str],
    root: Any,
) -> LiveGraph:
    """Describe objects as TensorFlow does in a checkpoint.

    Args:
        objects: the objects.
        states: path and states of each.
        edges: names and numbers of the children of each.
        slots: the slot variables of optimizers: name, variable, slot variable.
        full_name: gives the name of an object in a TF1 graph.
        root: see `LiveGraph`.
    """
    message = schema.TrackableObjectGraph()
    for number, (thing, (_, owned)) in enumerate(zip(objects, states, strict=True)):
        proto = message.nodes.add()
        for name, child in edges.get(number, ()):
            proto.children.add(node_id=child, local_name=name)
        for name, variable, slot in slots.get(number, ()):
            proto.slot_variables.add(
                slot_name=name, original_variable_node_id=variable, slot_variable_node_id=slot
            )
        called = full_name(thing) if owned else ""
        for attribute, key in dict.fromkeys((s.attribute, s.attribute_key) for s in owned):
            proto.attributes.add(name=attribute, checkpoint_key=key, full_name=called)
    object_graph.mark_values(message)
    return LiveGraph(objects, states, ObjectGraph.of(message), root)


@attrs.frozen(eq=False)
class Outline:
    """What is remembered of a walk.

    Args:
        objects: the objects, weakly, in their order.
        states: path and states of each.
        edges: the children of each, by number.
        slots: the slot variables of each optimizer.
        reached: how many objects edges lead to; slot variables follow.
        looks: the variables without children, by number, with what must not change of them.
        graph: the object graph.
        facts: see `LiveGraph`.
    """

    objects: tuple[weakref.ref[Any], ...]
    states: Sequence[tuple[str, tuple[SaveableState, ...]]]
    edges: Edges
    slots: Slots
    reached: int
    looks: Mapping[int, Look]
    graph: ObjectGraph
    facts: dict[str, Any]

    def living(self) -> list[Any] | None:
        """Give the objects; None where one of them is gone."""
        things = [reference() for reference in self.objects]
        return None if any(thing is None for thing in things) else things

    def revived(self, things: Sequence[Any], root: Any) -> LiveGraph:
        """Give the graph of these objects again."""
        return LiveGraph(things, self.states, self.graph, root, self.facts)


_OUTLINES: collections.OrderedDict[Hashable, Outline] = collections.OrderedDict()


def recall(target: Any) -> Outline | None:
    """Give what is remembered of a target, if anything is."""
    return _OUTLINES.get(_key(target))


def remember(
    target: Any, live: LiveGraph, edges: Edges, slots: Slots, looks: Mapping[int, Look]
) -> None:
    """Remember a walk, where all of the objects can be referred to weakly."""
    try:
        objects = tuple(weakref.ref(thing) for thing in live.objects)
    except TypeError:
        return
    reached = len(live.objects) - sum(map(len, slots.values()))
    outline = Outline(objects, live.states, edges, slots, reached, looks, live.graph, live.facts)
    _OUTLINES[_key(target)] = outline
    while len(_OUTLINES) > _MOST_OUTLINES:
        _OUTLINES.popitem(last=False)


def _key(target: Any) -> Hashable:
    if type(target) is dict:
        return tuple((name, id(value)) for name, value in target.items())
    return id(target)
