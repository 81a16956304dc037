"""Read and rewrite the object graphs of TensorFlow's checkpoints. Pure.

An object graph is a TrackableObjectGraph message. Node 0 is the root, an edge has a local name, and
the attributes of a node name the tensors that it owns.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping

import attrs

from tfpersist.errors import CorruptionError
from tfpersist.formats.schema import Message

# The key under which a checkpoint holds its object graph, a TrackableObjectGraph.
OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
ATTRIBUTES = "/.ATTRIBUTES/"
VALUE = ATTRIBUTES + "VARIABLE_VALUE"
SAVE_COUNTER = "save_counter"

# A Keras 3 optimizer has these two lists. Its slots of variable i are at i of its other lists.
TRAINED = "_trainable_variables"
_EVERYTHING = "_variables"
_SHADOWS = "_model_variables_moving_average"


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
        children: list[dict[str, int]] = []
        for number, node in enumerate(message.nodes):
            edges = [(child.local_name, child.node_id) for child in node.children]
            children.append(dict(edges))
            ids = [target for _, target in edges]
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
        return cls(message, tuple(children))

    def full_name(self, node: int) -> str:
        """Return the full name of the variable that a node is; empty for any other object."""
        attributes = self.message.nodes[node].attributes
        name: str = attributes[0].full_name if attributes else ""
        return name

    def key_of(self, node: int) -> str:
        """Return the key of the variable that a node is; empty for any other object."""
        attributes = self.message.nodes[node].attributes
        key: str = attributes[0].checkpoint_key if attributes else ""
        return key

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

    def depths(self) -> dict[int, int]:
        """Return how many edges lead to each node from the root, at least."""
        depths = {0: 0} if self.children else {}
        queue = collections.deque(depths)
        while queue:
            current = queue.popleft()
            for child in self.children[current].values():
                if child not in depths:
                    depths[child] = depths[current] + 1
                    queue.append(child)
        return depths

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
    if not saved.children or not live.children:
        return bound
    queue: collections.deque[tuple[int, int]] = collections.deque(pairs)
    while queue:
        mine, theirs = queue.popleft()
        if mine in bound:
            continue
        bound[mine] = theirs
        for name, child in live.children[mine].items():
            if name in saved.children[theirs]:
                queue.append((child, saved.children[theirs][name]))
    return bound


def _has_lists(graph: ObjectGraph, node: int) -> bool:
    """Return whether a node is a Keras 3 optimizer, which lists what it trains."""
    return TRAINED in graph.children[node] and _EVERYTHING in graph.children[node]


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
        trained, shadows = saved.item(node, TRAINED) or {}, saved.item(node, _SHADOWS) or {}
        for index in trained.keys() & shadows.keys():
            variable = saved.message.nodes[trained[index]].attributes
            shadow = saved.message.nodes[shadows[index]].attributes
            if variable and shadow:
                pairs[variable[0].checkpoint_key] = shadow[0].checkpoint_key
    return pairs


def slots_of(graph: ObjectGraph) -> dict[int, str]:
    """Return the slot variables of all optimizers: {node: slot name}."""
    names = {}
    for optimizer in range(len(graph.children)):
        for (name, _), node in graph.slots(optimizer).items():
            names[node] = name
        for name, child in (
            graph.children[optimizer].items() if _has_lists(graph, optimizer) else ()
        ):
            if name not in (TRAINED, _EVERYTHING):
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
