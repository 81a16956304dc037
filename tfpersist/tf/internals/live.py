"""Describe a graph of live objects, and remember it from one save to the next.

To walk 20,000 variables and to name them takes far longer than to write them. An outline remembers
a walk and keeps no object alive. It is valid while every object exists and has the same children
under the same names. `object_graph` checks that before every use.
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
from tfpersist.matching.sides import object_graph
from tfpersist.matching.sides.object_graph import ObjectGraph

# A program saves few models in turn.
_MOST_OUTLINES = 8


@attrs.frozen
class SaveableState:
    """One tensor that an object saves.

    Args:
        local: the object's own name for it, such as "VARIABLE_VALUE" or "-keys".
        attribute: the name of its attribute in the object graph.
        key: its key in a checkpoint.
        attribute_key: the key of its attribute; shorter than `key` where several tensors share one.
        spec: its data type and shape; a size is open where it may change, as in a table.
    """

    local: str
    attribute: str
    key: str
    attribute_key: str
    spec: TensorSpec

    @property
    def suffix(self) -> str:
        """The end of the key that the attribute's key lacks."""
        return self.key[len(self.attribute_key) :]


@attrs.frozen
class Node:
    """One object.

    Args:
        trackable: the object.
        path: its shortest path from the root.
        states: the tensors that it saves.
    """

    trackable: Any
    path: str
    states: tuple[SaveableState, ...]


@attrs.frozen(slots=False)
class LiveGraph:
    """All objects that can be reached from a root.

    Args:
        objects: the objects, in the order of TensorFlow's object graph.
        states: the path and the states of each object.
        graph: TensorFlow's object graph.
        root: keeps the root alive, since TensorFlow refers to it weakly.
        facts: what others derive from the graph, by name. The next walk that finds the same graph
            has them again, so they must not refer to any of the objects.
    """

    objects: Sequence[Any] = attrs.field(eq=False, repr=False)
    states: Sequence[tuple[str, tuple[SaveableState, ...]]]
    graph: ObjectGraph
    root: Any = attrs.field(eq=False, repr=False)
    facts: dict[str, Any] = attrs.field(eq=False, repr=False, factory=dict)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The objects with their paths and states."""
        pairs = zip(self.objects, self.states, strict=True)
        return tuple(Node(thing, path, states) for thing, (path, states) in pairs)

    @property
    def encoded(self) -> bytes:
        """The object graph as a checkpoint holds it."""
        if "encoded" not in self.facts:
            self.facts["encoded"] = self.graph.message.SerializeToString()
        encoded: bytes = self.facts["encoded"]
        return encoded


# The shape and the data type of an eager variable.
Declaration = tuple[Any, Any]
Edges = Mapping[int, Sequence[tuple[str, int]]]
Listed = Mapping[int, tuple[Sequence[str], Sequence[int]]]
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
        states: the path and the states of each.
        edges: the names and numbers of the children of each.
        slots: the slot variables of each optimizer: name, variable, slot variable.
        full_name: returns the name of an object in a TF1 graph.
        root: see `LiveGraph`.

    Returns:
        The graph, with the nodes in the order of the objects.
    """
    message = schema.TrackableObjectGraph()
    for number, (thing, (_, object_states)) in enumerate(zip(objects, states, strict=True)):
        proto = message.nodes.add()
        for name, child in edges.get(number, ()):
            proto.children.add(node_id=child, local_name=name)
        for name, variable, slot in slots.get(number, ()):
            proto.slot_variables.add(
                slot_name=name, original_variable_node_id=variable, slot_variable_node_id=slot
            )
        name = full_name(thing) if object_states else ""
        for attribute, key in dict.fromkeys((s.attribute, s.attribute_key) for s in object_states):
            proto.attributes.add(name=attribute, checkpoint_key=key, full_name=name)
    object_graph.mark_values(message)
    return LiveGraph(objects, states, ObjectGraph.of(message), root)


@attrs.frozen(eq=False)
class Outline:
    """The remembered result of a walk.

    Args:
        objects: weak references to the objects, in their order.
        states: the path and the states of each.
        edges: the children of each, by number.
        slots: the slot variables of each optimizer.
        reached: the number of objects that edges lead to; the slot variables follow them.
        declarations: the declaration of each variable without children, by number.
        listed: the names and numbers of the children of the objects whose children are all in
            TensorFlow's list, by their numbers.
        wrapped: the numbers of the lists and dicts that TensorFlow has wrapped.
        stateless: the numbers of objects of classes without state.
        savers: how many savers of objects were registered.
        graph: the object graph.
        facts: see `LiveGraph`.
    """

    objects: tuple[weakref.ref[Any], ...]
    states: Sequence[tuple[str, tuple[SaveableState, ...]]]
    edges: Edges
    slots: Slots
    reached: int
    declarations: Mapping[int, Declaration]
    listed: Listed
    wrapped: frozenset[int]
    stateless: frozenset[int]
    savers: int
    graph: ObjectGraph
    facts: dict[str, Any]

    def objects_alive(self) -> list[Any] | None:
        """Return the objects; None where one of them does not exist any more."""
        things = [reference() for reference in self.objects]
        return None if any(thing is None for thing in things) else things

    def live_graph(self, things: Sequence[Any], root: Any) -> LiveGraph:
        """Return the graph again.

        Args:
            things: the objects, in their order.
            root: see `LiveGraph`.
        """
        return LiveGraph(things, self.states, self.graph, root, self.facts)


_OUTLINES: collections.OrderedDict[Hashable, Outline] = collections.OrderedDict()


def recall(target: Any) -> Outline | None:
    """Return the outline of a target; None where there is none."""
    return _OUTLINES.get(_key(target))


def remember(target: Any, outline: Outline) -> None:
    """Remember a walk.

    Args:
        target: the root, or the dict that stands for it.
        outline: what the walk has found.
    """
    _OUTLINES[_key(target)] = outline
    while len(_OUTLINES) > _MOST_OUTLINES:
        _OUTLINES.popitem(last=False)


def _key(target: Any) -> Hashable:
    if type(target) is dict:
        return tuple((name, id(value)) for name, value in target.items())
    return id(target)
