"""Pair the objects of a saved object graph with those of a live one. Pure.

Both graphs are TrackableObjectGraph messages. Node 0 is the root, an edge has a local name, and the
attributes of a node name the tensors that it owns. Like TensorFlow, this follows equal edge names
from both roots, breadth first. Beyond that, it pairs the lists of a Keras optimizer by the
variables that they belong to and not by position, and either root may be a direct child of the
other.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs

from tfpersist.errors import CorruptionError
from tfpersist.formats.schema import Message

# The key under which a checkpoint holds its object graph, a TrackableObjectGraph.
OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
ATTRIBUTES = "/.ATTRIBUTES/"
VALUE = ATTRIBUTES + "VARIABLE_VALUE"
SAVE_COUNTER = "save_counter"

# A Keras 3 optimizer has these two lists. Its slots of variable i are at i of its other lists.
_TRAINED = "_trainable_variables"
_EVERYTHING = "_variables"
_SHADOWS = "_model_variables_moving_average"

# To try one child as the root of the other graph takes a walk over both.
_MOST_ROOTS = 40


@attrs.frozen
class ObjectGraph:
    """An object graph whose edges can be looked up.

    Args:
        message: the TrackableObjectGraph.
        children: for each node, its edges: {local name: node}.

    Example:
        >>> from tfpersist.formats import schema
        >>> message = schema.TrackableObjectGraph()
        >>> _ = message.nodes.add().children.add(node_id=1, local_name="w")
        >>> _ = message.nodes.add().attributes.add(name="VARIABLE_VALUE", checkpoint_key="w/x")
        >>> ObjectGraph.of(message).children[0]
        {'w': 1}
    """

    message: Message
    children: tuple[dict[str, int], ...]

    @classmethod
    def of(cls, message: Message, file: str = "") -> ObjectGraph:
        """Return the graph of a message, with its edges indexed.

        Args:
            message: the TrackableObjectGraph.
            file: name of the file that it comes from, for the error.

        Raises:
            CorruptionError: an edge leads to a node that does not exist.
        """
        size = len(message.nodes)
        for number, node in enumerate(message.nodes):
            ids = [child.node_id for child in node.children]
            for slot in node.slot_variables:
                ids += [slot.original_variable_node_id, slot.slot_variable_node_id]
            wrong = next((target for target in ids if not 0 <= target < size), None)
            if wrong is not None:
                raise CorruptionError(
                    f"object {number} of the object graph has an edge to an object that does not"
                    " exist",
                    file=file,
                    expected=f"a number below {size}",
                    found=wrong,
                )
        return cls(
            message, tuple({c.local_name: c.node_id for c in n.children} for n in message.nodes)
        )

    def valued(self, node: int) -> bool:
        """Return whether a node owns tensors itself."""
        return bool(self.message.nodes[node].attributes)

    def below(self, node: int) -> Iterator[int]:
        """Return an iterator over a node and all nodes below it, breadth first."""
        seen, queue = {node}, collections.deque([node])
        while queue:
            current = queue.popleft()
            yield current
            for child in self.children[current].values():
                if child not in seen:
                    seen.add(child)
                    queue.append(child)

    def holds_values(self, node: int) -> bool:
        """Return whether a node, or a node below it, owns tensors."""
        return any(self.valued(other) for other in self.below(node))

    def item(self, node: int, name: str) -> dict[str, int] | None:
        """Return the members of the list at an edge of a node; None if there is no such edge."""
        child = self.children[node].get(name)
        return None if child is None else self.children[child]

    def slots(self, node: int) -> dict[tuple[str, int], int]:
        """Return the slot variables of an optimizer: {(slot name, variable): slot variable}."""
        return {
            (slot.slot_name, slot.original_variable_node_id): slot.slot_variable_node_id
            for slot in self.message.nodes[node].slot_variables
        }


def match(
    saved: ObjectGraph,
    live: ObjectGraph,
    extend: Callable[[dict[int, int]], dict[int, int]] = dict,
) -> dict[int, int]:
    """Pair the objects of a live graph with those of a saved one.

    Args:
        saved: the graph in the checkpoint.
        live: the graph of the target.
        extend: returns the pairs of equal edge names with further pairs.

    Returns:
        {live node: saved node}. Several live nodes may have one saved node.

    Example:
        >>> from tfpersist.formats import schema
        >>> saved, live = schema.TrackableObjectGraph(), schema.TrackableObjectGraph()
        >>> _ = saved.nodes.add().children.add(node_id=2, local_name="w"), saved.nodes.add()
        >>> _ = saved.nodes.add().attributes.add(name="VARIABLE_VALUE", checkpoint_key="w/x")
        >>> _ = live.nodes.add().children.add(node_id=1, local_name="w")
        >>> _ = live.nodes.add().attributes.add(name="VARIABLE_VALUE")
        >>> match(ObjectGraph.of(saved), ObjectGraph.of(live))
        {0: 0, 1: 2}
    """
    if not saved.children or not live.children:
        return {}
    bound = extend(match_from(saved, live, [(0, 0)]))
    counter = live.children[0].get(SAVE_COUNTER)
    wanted = {node for node in live.below(0) if live.valued(node) and node != counter}

    def covered(pairs: dict[int, int]) -> dict[int, int]:
        return {node: pairs[node] for node in wanted & pairs.keys() if saved.valued(pairs[node])}

    if wanted <= covered(bound).keys():
        return bound
    # One root may be a child of the other, alone or together with the other children.
    others = [
        (0, node) for node in dict.fromkeys(saved.children[0].values()) if saved.children[node]
    ]
    others += [
        (node, 0) for node in dict.fromkeys(live.children[0].values()) if live.children[node]
    ]
    if len(others) > _MOST_ROOTS:
        return bound
    starts = [pairs for other in others for pairs in ([other], [other, (0, 0)])]
    matches = [extend(match_from(saved, live, start)) for start in starts]
    most = max((len(covered(pairs)) for pairs in matches), default=0)
    best = [pairs for pairs in matches if len(covered(pairs)) == most]
    if most <= len(covered(bound)) or any(covered(best[0]) != covered(pairs) for pairs in best):
        return bound
    return best[0]


def match_from(
    saved: ObjectGraph, live: ObjectGraph, pairs: Iterable[tuple[int, int]]
) -> dict[int, int]:
    """Pair nodes by following equal edge names from given pairs.

    Args:
        saved: the graph in the checkpoint.
        live: the graph of the target.
        pairs: (live node, saved node); the first pair of a live node counts.

    Returns:
        {live node: saved node}.
    """
    bound: dict[int, int] = {}
    queue: collections.deque[tuple[int, int]] = collections.deque()
    optimizers: list[tuple[int, int]] = []

    def bind(mine: int, theirs: int) -> None:
        if mine not in bound:
            bound[mine] = theirs
            queue.append((mine, theirs))

    def drain() -> None:
        while queue:
            mine, theirs = queue.popleft()
            if is_optimizer(live, mine) and is_optimizer(saved, theirs):
                optimizers.append((mine, theirs))
                continue
            for name, child in live.children[mine].items():
                if name in saved.children[theirs]:
                    bind(child, saved.children[theirs][name])

    for mine, theirs in pairs:
        bind(mine, theirs)
    drain()
    while optimizers:
        for pair in _optimizer_pairs(saved, live, *optimizers.pop(0), bound):
            bind(*pair)
        drain()
    bound.update(_slot_pairs(saved, live, bound))
    return bound


def is_optimizer(graph: ObjectGraph, node: int) -> bool:
    """Return whether a node is a Keras 3 optimizer."""
    return _TRAINED in graph.children[node] and _EVERYTHING in graph.children[node]


def _optimizer_pairs(
    saved: ObjectGraph, live: ObjectGraph, mine: int, theirs: int, bound: Mapping[int, int]
) -> list[tuple[int, int]]:
    my_trained, their_trained = live.item(mine, _TRAINED), saved.item(theirs, _TRAINED)
    assert my_trained is not None
    assert their_trained is not None
    place = {node: index for index, node in their_trained.items()}
    known = {
        index: place[bound[node]] for index, node in my_trained.items() if bound.get(node) in place
    }
    # Variables that only the optimizer refers to are known by their position alone.
    order = known
    if all(index == other for index, other in known.items()):
        order = {index: index for index in my_trained if index in their_trained}
    pairs = []
    for name, child in live.children[mine].items():
        other = saved.children[theirs].get(name)
        if other is None or name == _EVERYTHING:
            continue
        members = live.children[child]
        if members and members.keys() <= my_trained.keys():
            pairs += [
                (members[index], saved.children[other][order[index]])
                for index in members
                if order.get(index) in saved.children[other]
            ]
        else:
            pairs.append((child, other))
    return pairs + _rest(saved, live, mine, theirs)


def _rest(saved: ObjectGraph, live: ObjectGraph, mine: int, theirs: int) -> list[tuple[int, int]]:
    # A position in the list of all variables is weak evidence, used for nodes without other edges.
    my_all, their_all = live.item(mine, _EVERYTHING), saved.item(theirs, _EVERYTHING)
    if my_all is None or their_all is None or len(my_all) != len(their_all):
        return []
    mine_known, theirs_known = _named(live, mine), _named(saved, theirs)
    return [
        (node, their_all[index])
        for index, node in my_all.items()
        if index in their_all and node not in mine_known and their_all[index] not in theirs_known
    ]


def _named(graph: ObjectGraph, optimizer: int) -> set[int]:
    edges = {name: node for name, node in graph.children[optimizer].items() if name != _EVERYTHING}
    return {*edges.values(), *(m for node in edges.values() for m in graph.children[node].values())}


def _slot_pairs(saved: ObjectGraph, live: ObjectGraph, bound: Mapping[int, int]) -> dict[int, int]:
    pairs = {}
    for mine, theirs in bound.items():
        available = saved.slots(theirs)
        for (name, variable), slot in live.slots(mine).items() if available else ():
            saved_slot = available.get((name, bound.get(variable, -1)))
            if saved_slot is not None:
                pairs[slot] = saved_slot
    return pairs


def names_of(message: Message) -> dict[str, str]:
    """Return checkpoint keys by the names that the variables had when they were saved.

    Args:
        message: the TrackableObjectGraph of a checkpoint.

    Returns:
        {variable name: checkpoint key}; names that several variables had are left out.

    Example:
        >>> from tfpersist.formats import schema
        >>> message = schema.TrackableObjectGraph()
        >>> _ = message.nodes.add().attributes.add(full_name="dense/kernel", checkpoint_key="k")
        >>> names_of(message)
        {'dense/kernel': 'k'}
    """
    keys_of: dict[str, set[str]] = {}
    for node in message.nodes:
        for attribute in node.attributes:
            if attribute.full_name:
                keys_of.setdefault(attribute.full_name, set()).add(attribute.checkpoint_key)
    return {name: keys.pop() for name, keys in keys_of.items() if len(keys) == 1}


def averages_in(saved: ObjectGraph, optimizer: int | None = None) -> dict[str, str]:
    """Return the keys of the moving averages that Keras 3 optimizers kept.

    Args:
        saved: the graph in the checkpoint.
        optimizer: the saved optimizer; None for all optimizers.

    Returns:
        {key of a variable: key of its average}.
    """
    pairs = {}
    for node in range(len(saved.children)) if optimizer is None else [optimizer]:
        trained, shadows = saved.item(node, _TRAINED) or {}, saved.item(node, _SHADOWS) or {}
        for index in trained.keys() & shadows.keys():
            variable = saved.message.nodes[trained[index]].attributes
            shadow = saved.message.nodes[shadows[index]].attributes
            if variable and shadow:
                pairs[variable[0].checkpoint_key] = shadow[0].checkpoint_key
    return pairs


def in_order(members: Mapping[str, int]) -> list[int]:
    """Return the members of a list in their order; empty if the edges are not positions.

    Example:
        >>> in_order({"10": 5, "9": 4}), in_order({"a": 1})
        ([4, 5], [])
    """
    if not all(name.isdecimal() and len(name) < 10 for name in members):
        return []
    return [members[name] for name in sorted(members, key=int)]


def trained_by(saved: ObjectGraph, optimizer: int) -> list[int]:
    """Return the variables that a saved optimizer trained, in its order."""
    members = saved.item(optimizer, _TRAINED) or {}
    listed = in_order(members)
    return listed or list(dict.fromkeys(variable for _, variable in saved.slots(optimizer)))


def slots_of(graph: ObjectGraph) -> dict[int, str]:
    """Return the slot variables of all optimizers: {node: slot name}."""
    names = {}
    for optimizer in range(len(graph.children)):
        for (name, _), node in graph.slots(optimizer).items():
            names[node] = name
        for name, child in (
            graph.children[optimizer].items() if is_optimizer(graph, optimizer) else ()
        ):
            if name not in (_TRAINED, _EVERYTHING):
                names.update(dict.fromkeys(graph.children[child].values(), name.strip("_")))
    return names


def rewritten(message: Message, keys: Mapping[str, str]) -> Message:
    """Return an object graph for a checkpoint with fewer tensors or other keys.

    Args:
        message: the TrackableObjectGraph.
        keys: {checkpoint key of an attribute: its new key}; other attributes are removed.

    Returns:
        A changed copy.
    """
    copy = type(message)()
    copy.CopyFrom(message)
    for node in copy.nodes:
        kept = [attribute for attribute in node.attributes if attribute.checkpoint_key in keys]
        for attribute in kept:
            attribute.checkpoint_key = keys[attribute.checkpoint_key]
        fresh = [type(kept_one).FromString(kept_one.SerializeToString()) for kept_one in kept]
        del node.attributes[:]
        node.attributes.extend(fresh)
    mark_values(copy)
    return copy


def mark_values(message: Message) -> None:
    """Set `has_checkpoint_values` of each node: whether it or a node below it owns tensors.

    Args:
        message: the TrackableObjectGraph, which is changed.
    """
    parents: dict[int, list[int]] = {}
    marked = set()
    for number, node in enumerate(message.nodes):
        if node.attributes or node.slot_variables or node.HasField("registered_saver"):
            marked.add(number)
        for child in node.children:
            parents.setdefault(child.node_id, []).append(number)
    queue = list(marked)
    while queue:
        for parent in parents.pop(queue.pop(), ()):
            if parent not in marked:
                marked.add(parent)
                queue.append(parent)
    for number, node in enumerate(message.nodes):
        node.has_checkpoint_values.value = number in marked
