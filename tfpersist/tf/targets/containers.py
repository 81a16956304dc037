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
        if next(search.contents(value), None) is not None:
            yield name, trackables.container(value)


def lacking(live: LiveGraph) -> set[int]:
    """Return the identities of what is in untracked lists and dicts, and not among the objects.

    Args:
        live: the objects.
    """
    search, reached = _Search(), reached_by_attributes(live)
    return {
        id(one)
        for thing in live.objects
        for _, value in search.attributes(thing)
        for one in search.contents(value)
        if id(one) not in reached
    }


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
    optimizers = keras_kinds.optimizers()
    if not any(issubclass(kind, optimizers) for kind in set(map(type, live.objects))):
        return set(map(id, live.objects))
    reached, waiting = {0}, [0]
    while waiting:
        number = waiting.pop()
        if not isinstance(live.objects[number], optimizers):
            found = set(live.graph.children[number].values()) - reached
            reached |= found
            waiting += found
    return {id(live.objects[number]) for number in reached}


class _Search:
    """Looks for untracked lists and dicts, and for what is in them.

    A graph may have 20,000 variables, or attributes, or a list as many numbers. So each type is
    examined once.
    """

    def __init__(self) -> None:
        self._owners = keras_kinds.untracking()
        # Types of objects without such attributes, and of values that are no such containers.
        self._bare: set[type[Any]] = set()
        self._others: set[type[Any]] = set()
        self._known: dict[type[Any], bool] = {}

    def attributes(self, thing: Any) -> Iterator[tuple[str, Any]]:
        """Yield the untracked lists and dicts among the attributes of a layer or module."""
        if type(thing) in self._bare:
            return
        if not isinstance(thing, self._owners):
            self._bare.add(type(thing))
            return
        others = self._others
        for name, value in vars(thing).items():
            if type(value) in others or not self._holds(type(value)):
                continue
            # Keras keeps plain lists and dicts; what a user assigns becomes another type.
            own = name in _OWN and type(value).__module__ in _PLAIN
            if not own and not name.startswith(_TENSORFLOW):
                yield name, value

    def contents(self, value: Any, inside: tuple[int, ...] = ()) -> Iterator[Any]:
        """Yield the trackables in a list or dict, and in those in it."""
        items = list(value.values()) if isinstance(value, dict) else list(value)
        kinds = set(map(type, items)) - _SIMPLE
        if not kinds or id(value) in inside:
            return
        trackable = set(filter(trackables.is_trackable_class, kinds))
        wanted = trackable | set(filter(self._holds, kinds))
        for item in items if wanted else ():
            if type(item) in trackable:
                yield item
            elif type(item) in wanted:
                yield from self.contents(item, (*inside, id(value)))

    def _holds(self, kind: type[Any]) -> bool:
        """Return whether a type is one of lists or dicts that TensorFlow does not track."""
        known = self._known.get(kind)
        if known is None:
            known = issubclass(kind, _CONTAINERS) and not trackables.is_trackable_class(kind)
            self._known[kind] = known
            if not known:
                self._others.add(kind)
        return known
