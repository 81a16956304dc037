"""The private APIs that walk an object graph as TensorFlow does when it saves.

A *live graph* is what TensorFlow would write as the object graph of a `tf.train.Checkpoint`: the
same objects in the same order under the same keys. TensorFlow's own code for it adds operations to
the caller's graph and reads every value; this one does neither.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tfpersist.errors import TargetError
from tfpersist.tf.internals import keras, live, plain_objects, trackables
from tfpersist.tf.internals.live import LiveGraph
from tfpersist.tf.internals.slots import add_slots

# Returns further children of an object, with their names.
MoreChildren = Callable[[Any], Iterable[tuple[str, Any]]]


def live_graph(target: Any, more: MoreChildren | None = None) -> LiveGraph:
    """Walk an object graph as TensorFlow does when it saves.

    Args:
        target: a `tf.train.Checkpoint`, another trackable, or a dict of trackables.
        more: returns further children of an object. They are followed last, so that no object
            that TensorFlow reaches gets another key.

    Returns:
        The graph. No value of a variable is read, and no operation is added anywhere.

    Raises:
        TargetError: an object in it cannot be saved.
    """
    import tensorflow as tf

    view, root = _view_of(target)
    may_remember = more is None and tf.executing_eagerly()
    outline = live.recall(target) if may_remember else None
    if outline is not None:
        things = _objects_if_unchanged(outline, view, is_dict=type(target) is dict)
        if things is not None:
            return outline.live_graph(things, root)
    objects, paths, numbers, edges = _walk(view, more)
    for thing in objects:
        keras.forget_children(thing)
    slots = add_slots(objects, paths, numbers)
    states = [(path, trackables.states_of(o, path)) for o, path in zip(objects, paths, strict=True)]
    graph = live.graph_of(objects, states, edges, slots, full_name=trackables.full_name, root=root)
    if may_remember:
        outline = _outline(graph, edges, slots)
        if outline is not None:
            live.remember(target, outline)
    return graph


def _outline(graph: LiveGraph, edges: live.Edges, slots: live.Slots) -> live.Outline | None:
    """Return the outline of a walk; None where a later walk could not be compared with it."""
    objects = graph.objects
    try:
        references = tuple(weakref.ref(thing) for thing in objects)
    except TypeError:
        return None
    declarations, listed, wrapped, stateless = {}, {}, set(), set()
    for number, thing in enumerate(objects):
        if number not in edges and trackables.has_no_children(thing):
            declaration = _declaration(thing)
            if declaration is None:
                return None
            declarations[number] = declaration
            continue
        if not graph.states[number][1] and plain_objects.is_stateless(thing):
            stateless.add(number)
        known = edges.get(number, ())
        # The root may have children that only TensorFlow's view of the graph knows.
        if number and plain_objects.has_list(thing):
            names, places = [name for name, _ in known], [place for _, place in known]
            if plain_objects.has_children(thing, names, [objects[place] for place in places]):
                listed[number] = names, places
        elif plain_objects.is_wrapper(thing) and _are(
            plain_objects.children_in(thing), known, objects
        ):
            wrapped.add(number)
    return live.Outline(
        references,
        graph.states,
        edges,
        slots,
        len(objects) - sum(map(len, slots.values())),
        declarations,
        listed,
        frozenset(wrapped),
        frozenset(stateless),
        plain_objects.count_of_savers(),
        graph.graph,
        graph.facts,
    )


def _objects_if_unchanged(outline: live.Outline, view: Any, *, is_dict: bool) -> list[Any] | None:
    """Return the objects of a remembered walk; None if a new walk would find something else."""
    if is_dict:  # each walk makes a new root for a dict
        rest = [reference() for reference in outline.objects[1:]]
        things = None if any(thing is None for thing in rest) else [view.root, *rest]
    else:
        things = outline.objects_alive()
    if things is None or things[0] is not view.root:
        return None
    if not _have_declarations(things, outline.declarations):
        return None
    others = [number for number in range(len(things)) if number not in outline.declarations]
    stateless = outline.stateless
    if outline.savers != plain_objects.count_of_savers():
        stateless = frozenset()
    for number in others:
        if not _has_children(outline, number, things, view):
            return None
        thing, (path, states) = things[number], outline.states[number]
        if number in stateless and plain_objects.is_still_stateless(thing):
            continue
        if trackables.states_of(thing, path) != states:
            return None
    if not any(hasattr(type(things[number]), "get_slot_names") for number in others):
        return None if outline.slots else things
    objects = things[: outline.reached]
    numbers = {id(thing): number for number, thing in enumerate(objects)}
    paths = [path for path, _ in outline.states[: outline.reached]]
    same = add_slots(objects, paths, numbers) == outline.slots
    return things if same and all(map(operator.is_, objects, things)) else None


def _has_children(outline: live.Outline, number: int, things: Sequence[Any], view: Any) -> bool:
    """Return whether an object of a remembered walk has the same children now."""
    thing = things[number]
    if number in outline.listed:
        names, places = outline.listed[number]
        return plain_objects.has_children(thing, names, [things[place] for place in places])
    edges = outline.edges.get(number, ())
    if number in outline.wrapped:
        return _are(plain_objects.children_in(thing), edges, things)
    reached = number < outline.reached
    children = trackables.children_of(view, thing, outline.states[number][0]) if reached else []
    return _are(children, edges, things)


def _are(
    children: Sequence[tuple[str, Any]], edges: Sequence[tuple[str, int]], things: Sequence[Any]
) -> bool:
    """Return whether children are those that edges lead to, under the same names."""
    return len(children) == len(edges) and all(
        name == known_name and child is things[place]
        for (name, child), (known_name, place) in zip(children, edges, strict=True)
    )


def _have_declarations(things: Sequence[Any], declarations: Mapping[int, live.Declaration]) -> bool:
    """Return whether variables still have no children, and the same shapes and data types."""
    for number, (shape, dtype) in declarations.items():
        thing = things[number]
        inner = trackables.variable_in(thing)
        if inner.dtype is not dtype and inner.dtype != dtype:
            return False
        if inner.shape is not shape and inner.shape != shape:
            return False
        if trackables.has_added_children(thing):
            return False
    return True


def _declaration(variable: Any) -> live.Declaration | None:
    """Return the shape and the data type of an eager variable; None for one of a graph."""
    inner = trackables.variable_in(variable)
    return None if trackables.is_symbolic(inner) else (inner.shape, inner.dtype)


def _view_of(target: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    try:
        if isinstance(target, tf.train.Checkpoint):
            checkpoint = target
        elif isinstance(target, dict) and not trackables.is_trackable(target):
            checkpoint = tf.train.Checkpoint(**target)
        else:
            # TensorFlow ignores a root whose truth value is false; it takes a reference to it.
            checkpoint = tf.train.Checkpoint(weakref.ref(target))
    except (TypeError, ValueError) as error:
        raise TargetError(
            f"TensorFlow cannot track what is in this {type(target).__name__}: {error}",
            advice="Pass trackables only: variables, tf.Modules, Keras models and optimizers.",
        ) from error
    return checkpoint._saver._graph_view, (checkpoint, target)


def _walk(
    view: Any, more: MoreChildren | None
) -> tuple[list[Any], list[str], dict[int, int], dict[int, list[Any]]]:
    """Return the objects, their paths, their numbers by identity, and the children of each."""
    from tensorflow.python.trackable import trackable_utils

    objects, paths, numbers = [view.root], [""], {id(view.root): 0}
    edges: dict[int, list[Any]] = {}

    def follow(number: int, children: Iterable[tuple[str, Any]]) -> None:
        for name, child in children:
            if id(child) not in numbers:
                numbers[id(child)] = len(objects)
                objects.append(child)
                step = trackable_utils.escape_local_name(name)
                paths.append(f"{paths[number]}/{step}" if number else step)
            edges.setdefault(number, []).append((name, numbers[id(child)]))

    for number, thing in enumerate(objects):  # the list grows in the loop
        follow(number, trackables.children_of(view, thing, paths[number]))
    if more is None:
        return objects, paths, numbers, edges
    reached = len(objects)
    for number, thing in enumerate(objects):
        if number >= reached:
            follow(number, trackables.children_of(view, thing, paths[number]))
        names = {name for name, _ in edges.get(number, ())}
        follow(number, [(name, child) for name, child in more(thing) if name not in names])
    return objects, paths, numbers, edges
