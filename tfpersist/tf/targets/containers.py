"""Find lists and dicts with state in them that TensorFlow does not track.

TensorFlow tracks the lists and dicts of a tf.Module, but not those of a subclass, such as a
defaultdict. Of a layer of Keras 3 it tracks none; Keras itself tracks the layers in them, but no
variables and modules of TensorFlow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import Any

from tfpersist.tf.internals import trackables
from tfpersist.tf.internals.live import LiveGraph
from tfpersist.tf.targets import keras_kinds

# What a layer of Keras keeps by itself of what its attributes hold.
_OWN = frozenset(
    {
        "_layers",
        "_metrics",
        "_nodes_by_depth",
        "_non_trainable_variables",
        "_operations",
        "_operations_by_depth",
        "_trainable_variables",
    }
)
_TENSORFLOW = "_self_"
_SIMPLE = frozenset({int, float, bool, str, bytes, type(None)})
_PLAIN = frozenset({"builtins", "collections"})
_CONTAINERS = (dict, list, tuple, deque)


def untracked(thing: object) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a layer or module that hold state and that TensorFlow does not track.

    Args:
        thing: any object.

    Returns:
        The name of each attribute, and its list or dict in the wrapper by which TensorFlow tracks
        what is in it.
    """
    search = _Search()
    for name, value in search.attributes(thing):
        if search.contents(value):
            yield name, trackables.container(value)


def lacking(live: LiveGraph) -> set[int]:
    """Return the identities of what is in untracked lists and dicts, and not among the objects.

    Args:
        live: the objects.
    """
    search = _Search()
    found: set[int] = set()
    for thing in live.objects:
        for _, value in search.attributes(thing):
            found.update(map(id, search.contents(value)))
    return found - reached_by_attributes(live) if found else found


def hold_state(things: Collection[int], live: LiveGraph) -> bool:
    """Return whether some objects, or what they lead to, save anything.

    Args:
        things: the identities of the objects.
        live: a graph with them.
    """
    children = live.graph.children
    waiting = [number for number, thing in enumerate(live.objects) if id(thing) in things]
    seen = set(waiting)
    while waiting:
        number = waiting.pop()
        if live.states[number][1]:
            return True
        found = set(children[number].values()) - seen
        seen |= found
        waiting += found
    return False


def reached_by_attributes(live: LiveGraph) -> set[int]:
    """Return the identities of the objects that something else than an optimizer leads to.

    Args:
        live: the objects.
    """
    numbers: Collection[int] | None = live.facts.get("reached")
    if numbers is None:
        numbers = live.facts["reached"] = _reached_by_attributes(live)
    return {id(live.objects[number]) for number in numbers}


def _reached_by_attributes(live: LiveGraph) -> Collection[int]:
    optimizers = keras_kinds.optimizers()
    if not any(issubclass(kind, optimizers) for kind in set(map(type, live.objects))):
        return range(len(live.objects))
    reached, waiting = {0}, [0]
    while waiting:
        number = waiting.pop()
        if not isinstance(live.objects[number], optimizers):
            found = set(live.graph.children[number].values()) - reached
            reached |= found
            waiting += found
    return reached


class _Search:
    """Looks for untracked lists and dicts, and for what is in them.

    A graph may have 20,000 variables, or attributes, or a list as many numbers. So each type is
    examined once.
    """

    def __init__(self) -> None:
        self._owners = keras_kinds.untracking()
        # Types of objects without such attributes, of values that are no such containers, of
        # values that are neither such containers nor trackables, and of such containers.
        self._bare: set[type[Any]] = set()
        self._others: set[type[Any]] = set()
        self._plain = set(_SIMPLE)
        self._held: set[type[Any]] = set()

    def attributes(self, thing: Any) -> Iterator[tuple[str, Any]]:
        """Yield the untracked lists and dicts with something in them among the attributes."""
        if type(thing) in self._bare:
            return
        if not isinstance(thing, self._owners):
            self._bare.add(type(thing))
            return
        others = self._others
        for name, value in vars(thing).items():
            kind = type(value)
            if kind in others or not self._holds(kind) or not value:
                continue
            # Keras keeps plain lists and dicts; what a user assigns becomes another type.
            own = name in _OWN and kind.__module__ in _PLAIN
            if not own and not name.startswith(_TENSORFLOW):
                yield name, value

    def contents(self, value: Any, inside: tuple[int, ...] = ()) -> list[Any]:
        """Return the trackables in a list or dict, and in those in it."""
        items = value.values() if isinstance(value, dict) else value
        if self._plain.issuperset(map(type, items)) or id(value) in inside:
            return []
        items = list(items)
        kinds = set(map(type, items))
        trackable = set(filter(trackables.is_trackable_class, kinds))
        holding = set(filter(self._holds, kinds - trackable))
        self._plain |= kinds - trackable - holding
        found = []
        for item in items if trackable or holding else ():
            if type(item) in trackable:
                found.append(item)
            elif type(item) in holding:
                found += self.contents(item, (*inside, id(value)))
        return found

    def _holds(self, kind: type[Any]) -> bool:
        """Return whether a type is one of lists or dicts that TensorFlow does not track."""
        if kind in self._others or kind in self._held:
            return kind in self._held
        holds = issubclass(kind, _CONTAINERS) and not trackables.is_trackable_class(kind)
        (self._held if holds else self._others).add(kind)
        return holds
