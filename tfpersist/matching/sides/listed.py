"""Find the layers of variables that only the list of an optimizer or SavedModel holds. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from tfpersist.matching.sides.eras import INNER, SLOT_LISTS
from tfpersist.matching.sides.facts import role_of
from tfpersist.matching.sides.object_graph import ObjectGraph

# The tensor with which a layer begins where it has it.
_FIRST = frozenset({"kernel", "depthwise_kernel", "gamma", "embeddings"})


def runs(variables: Sequence[tuple[int, str]]) -> dict[int, int]:
    """Return which layer of its scope each variable is of, counted from zero.

    Layers of one scope follow each other. If each has the same tensors, equal names count them,
    wherever those that are not trained lie; else a layer begins with its kernel.

    Args:
        variables: each with its full name, in the order of the list.

    Example:
        >>> runs([(1, "net/kernel"), (2, "net/bias"), (3, "net/gamma"), (4, "net/kernel")])
        {1: 0, 2: 0, 3: 1, 4: 2}
    """
    scopes: dict[str, list[tuple[int, str]]] = {}
    for node, name in variables:
        scope, _, last = name.rpartition("/")
        scopes.setdefault(scope, []).append((node, role_of(last)))
    found: dict[int, int] = {}
    for members in scopes.values():
        seen = Counter[str]()
        for node, role in members:
            found[node] = seen[role]
            seen[role] += 1
        if len(set(seen.values())) > 1:
            found.update(_split(members))
    return found


def _split(members: Sequence[tuple[int, str]]) -> dict[int, int]:
    found = {}
    roles: set[str] = set()
    run = 0
    for node, role in members:
        if role in roles or (roles and role in _FIRST):
            run += 1
            roles = set()
        roles.add(role)
        found[node] = run
    return found


def joined(graph: ObjectGraph, optimizer: int, index: str, name_of: Callable[[int], str]) -> str:
    """Return the layers of a variable that an optimizer trains, as the name of a slot says.

    Keras 3 calls a slot "adam/net_alpha_kernel_momentum" and its variable only "net/kernel".

    Args:
        graph: the object graph.
        optimizer: the optimizer.
        index: the place of the variable among those that it trains.
        name_of: returns the full name of an object.

    Returns:
        The names of the layers, joined by "_"; empty if no slot says it.
    """
    edges = graph.children[optimizer]
    variable = graph.item(optimizer, "_trainable_variables") or {}
    scope, _, last = name_of(variable[index]).rpartition("/")
    start, end = f"{scope}/".replace("/", "_").lstrip("_"), f"_{last}"
    for owner in (optimizer, *(edges[name] for name in INNER if name in edges)):
        for name, child in graph.children[owner].items():
            state = graph.children[child].get(index) if name in SLOT_LISTS else None
            slot = "" if state is None else name_of(state).rpartition("/")[2]
            path = slot.rpartition("_")[0]
            if path.startswith(start) and path.endswith(end):
                return path[len(start) : len(path) - len(end)]
    return ""
