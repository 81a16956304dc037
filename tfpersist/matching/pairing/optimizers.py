"""Pair the state of optimizers by the variable and the slot that each tensor belongs to. Pure.

The index in a list says nothing: Keras 3 has a learning rate among the variables of an optimizer
where tf-keras has none. What is compared is the slot, such as the first moment of Adam, and the
variable that it was kept for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

from tfpersist.matching.sides import eras
from tfpersist.matching.sides.facts import is_index
from tfpersist.matching.sides.object_graph import TRAINED, ObjectGraph

_ALL = "_variables"
_LISTS_OF_ALL = frozenset(
    {_ALL, "_trainable_variables", "_trainable_variables_indices", "_index_dict"}
)
INNER = eras.INNER
# Begins the names of what an optimizer around another one has itself.
OUTER = "outer/"
_COUNTER = re.compile(r"_\d+$")

# A graph from a stranger may have as many as it has objects, all with the same lists.
_MOST = 64
_DEEPEST = 64

# A slot and the variable that it is kept for; -1 for a state of the optimizer itself.
StateKey = tuple[str, int]


class Variables:
    """The variables of a graph that optimizers may train.

    Args:
        names: the full name of each, in their order.
        depths: how deep they lie, where no order is known of those that lie apart.
    """

    def __init__(self, names: Mapping[int, str], depths: Mapping[int, int] | None = None) -> None:
        self.names = names
        self._depths = depths or {}
        self._by_name: dict[str, list[int]] = {}
        for node, name in names.items():
            self._by_name.setdefault(name, []).append(node)

    def owner(self, name: str, occurrence: int, total: int) -> int | None:
        """Return the variable that a state is kept for; None if its name does not tell.

        Args:
            name: the full name of the state, such as "Adam/m/net/w".
            occurrence: how many states before it in its list have the same name.
            total: how many states in its list have this name. If there are more variables of this
                name, some are not trained, and nothing tells which.
        """
        parts = name.split("/")[-_DEEPEST:]
        for at in range(1, len(parts)):
            nodes = self._by_name.get("/".join(parts[at:]))
            if nodes:
                is_known = len({self._depths.get(node, 0) for node in nodes}) == 1
                return nodes[occurrence] if total == len(nodes) and is_known else None
        return None


@attrs.frozen
class OptimizerState:
    """The state of one optimizer.

    Args:
        node: the optimizer.
        kind: which optimizers mean the same by their slots; empty where that is not known.
        states: the objects that hold it, by slot and variable.
        trained: the variables that it trains.
    """

    node: int
    kind: str
    states: Mapping[StateKey, int]
    trained: tuple[int, ...] = ()

    @property
    def slots(self) -> frozenset[str]:
        """The names of its slots."""
        return frozenset(slot for slot, variable in self.states if variable >= 0)


def is_optimizer(graph: ObjectGraph, node: int) -> bool:
    """Return whether an object of a checkpoint is an optimizer.

    Args:
        graph: the object graph.
        node: the number of the object.
    """
    edges = graph.children[node]
    if graph.message.nodes[node].slot_variables:
        return True
    if "_iterations" in edges and ("_variables" in edges or "_learning_rate" in edges):
        return True
    if {"iterations", _ALL, TRAINED} <= edges.keys():  # Keras 3.3
        return True
    return "iter" in edges and "decay" in edges


def optimizers_in(graph: ObjectGraph) -> list[int]:
    """Return the optimizers of a checkpoint, without those that are inside of another."""
    every = [node for node in range(len(graph.children)) if is_optimizer(graph, node)]
    inner = {
        graph.children[node][name]
        for node in range(len(graph.children))
        for name in INNER
        if name in graph.children[node]
    }
    known = set(every)
    outer = [
        node
        for node, edges in enumerate(graph.children)
        if any(edges.get(name) in known for name in INNER)
    ]
    found = [node for node in sorted({*every, *outer}) if node not in inner]
    return found[:_MOST]


def state_of(graph: ObjectGraph, node: int, variables: Variables, kind: str = "") -> OptimizerState:
    """Return the state of an optimizer.

    Args:
        graph: the object graph.
        node: the optimizer.
        variables: the variables that it may train.
        kind: which optimizer it is, if that is known; else the names of its state tell.
    """
    inner = next((graph.children[node][n] for n in INNER if n in graph.children[node]), None)
    if inner is not None and not graph.children[inner] and not graph.slots(inner):
        # Legacy loss scaling has all states itself, and an empty object in place of the other.
        inner = None
    core = node if inner is None else inner
    kind = kind or _kind(graph, core)
    states: dict[StateKey, int] = {}
    for slot, variable, state in _slots(graph, core, variables, kind):
        states.setdefault((slot, variable), state)
    for name, child in graph.children[core].items():
        if graph.valued(child):
            states.setdefault((_scalar(name), -1), child)
        elif name not in _LISTS_OF_ALL and not _is_list(graph, child):
            for below, grandchild in graph.children[child].items():
                if graph.valued(grandchild) and grandchild not in variables.names:
                    states.setdefault((f"{name}/{below}", -1), grandchild)
    for name, child in graph.children[node].items() if inner is not None else ():
        if graph.valued(child):
            plain = eras.LOSS_SCALE.get(name, f"{OUTER}{_scalar(name)}")
            states.setdefault((plain, -1), child)
    trained = graph.item(core, TRAINED) or {}
    order = tuple(trained.values()) or tuple(
        dict.fromkeys(variable for _, variable in states if variable >= 0)
    )
    return OptimizerState(node, kind, states, order)


def _scalar(name: str) -> str:
    plain = name.strip("_")
    return eras.SCALARS.get(plain, plain)


def _is_list(graph: ObjectGraph, node: int) -> bool:
    return bool(graph.children[node]) and all(map(is_index, graph.children[node]))


def _slots(
    graph: ObjectGraph, node: int, variables: Variables, kind: str
) -> Iterator[tuple[str, int, int]]:
    """Yield slot, variable and state."""
    for (slot, variable), state in graph.slots(node).items():
        yield f"{kind}/{slot}", variable, state
    trained = graph.item(node, TRAINED)
    edges = graph.children[node].items()
    if trained and any(name in eras.SLOT_LISTS and not graph.children[n] for name, n in edges):
        yield from _slots_by_words(graph, node, tuple(trained.values()), kind)
    for name, child in edges:
        if name in _LISTS_OF_ALL or not _is_list(graph, child):
            continue
        common = eras.COMMON_LISTS.get(name)
        slot = common or f"{kind}/{eras.LISTS.get(kind, {}).get(name, name.strip('_'))}"
        seen = Counter[str]()
        totals = Counter(map(graph.full_name, graph.children[child].values()))
        for index, state in graph.children[child].items():
            if trained:
                owner = trained.get(index)
            else:
                full_name = graph.full_name(state)
                owner = variables.owner(full_name, seen[full_name], totals[full_name])
                seen[full_name] += 1
            if owner is not None and graph.valued(state):
                yield slot, owner, state


def _slots_by_words(
    graph: ObjectGraph, node: int, trained: Sequence[int], kind: str
) -> Iterator[tuple[str, int, int]]:
    """Yield the slots of Keras 3.3, whose lists TensorFlow has saved empty.

    The list of all variables has them, with names such as "adam/dense_kernel_momentum", or
    "adagrad/accumulator" once for each variable.
    """
    states = (graph.item(node, _ALL) or {}).values()
    names = {state: graph.full_name(state).rpartition("/")[2] for state in states}
    totals = Counter(names.values())
    owners: dict[str, list[tuple[str, int]]] = {}
    words = {word: f"{kind}/{slot}" for word, slot in eras.SLOT_WORDS.get(kind, {}).items()}
    for word, slot in {**words, **eras.COMMON_SLOT_WORDS}.items():
        for variable in trained:
            name = f"{graph.full_name(variable).replace('/', '_')}_{word}"
            owners.setdefault(name, []).append((slot, variable))
        if totals[word] == len(trained):
            owners[word] = [(slot, variable) for variable in trained]
    seen = Counter[str]()
    for state, name in names.items():
        known = owners.get(name, [])
        if seen[name] < len(known) and graph.valued(state):
            yield *known[seen[name]], state
        seen[name] += 1


def _kind(graph: ObjectGraph, node: int) -> str:
    """Return the kind of a saved optimizer, which the names of its state tell; empty if not.

    Two slots "m" and "v" may be those of Adam and of Adamax, so they alone tell nothing.
    """
    edges = graph.children[node].items()
    scalars = [graph.full_name(child) for _, child in edges if graph.valued(child)]
    lists = {
        name: [graph.full_name(one) for one in graph.children[child].values()]
        for name, child in edges
        if name not in _LISTS_OF_ALL and _is_list(graph, child)
    }
    slots = graph.slots(node)
    kept = [graph.full_name(state) for state in slots.values()]
    kept += [name for names in lists.values() for name in names]
    # "training/Adam/iter" is of the scope right above it, "Adam/m/net/w" of the first.
    scopes = {name.split("/")[-2] for name in scalars if "/" in name}
    scopes |= {name.partition("/")[0] for name in kept}
    words = {name.partition("/")[0] for name in kept if "/" in name}
    named = {eras.KINDS.get(_COUNTER.sub("", scope.lower()), "") for scope in scopes} - {""}
    by_slots = {eras.LEGACY_SLOTS.get(frozenset(slot for slot, _ in slots), "")} - {""}
    own = lists.keys() - eras.COMMON_LISTS.keys()
    by_lists = {kind for kind, known in eras.LISTS.items() if own and own <= known.keys()}
    if len(by_lists) > 1:
        by_lists = {
            kind
            for kind in by_lists
            if eras.LISTS[kind].keys() - eras.OPTIONAL_LISTS.get(kind, set()) <= own
        }
    if "_velocities" in lists and words & {"m", "v", "velocity"}:
        by_lists = {"rmsprop" if "velocity" in words else "adam"}
    for kinds in (named, by_slots, by_lists):
        if kinds:
            return kinds.pop() if len(kinds) == 1 else ""
    return ""


def pair_states(
    live: OptimizerState, saved: OptimizerState, variables: Mapping[int, int]
) -> dict[int, int]:
    """Return the objects of a target's optimizer with those of a saved one.

    Args:
        live: the target's.
        saved: the checkpoint's.
        variables: {variable of the target: variable of the checkpoint}.
    """
    pairs = {}
    for (slot, variable), state in live.states.items():
        if variable < 0:
            other = saved.states.get((slot, -1))
        else:
            theirs = variables.get(variable)
            other = None if theirs is None else saved.states.get((slot, theirs))
        if other is not None:
            pairs[state] = other
    return pairs


def pair_optimizers(
    live: Sequence[OptimizerState],
    saved: Sequence[OptimizerState],
    edge_of: Callable[[bool, int], str],
) -> list[tuple[OptimizerState, OptimizerState]]:
    """Pair optimizers: one with one, several by the attribute that holds them.

    Args:
        live: those of the target.
        saved: those of the checkpoint.
        edge_of: returns the attribute that holds an optimizer of the target (True) or of the
            checkpoint (False).
    """
    if len(live) == len(saved) == 1:
        return [(live[0], saved[0])]
    pairs = []
    for mine in live:
        same = [one for one in saved if edge_of(False, one.node) == edge_of(True, mine.node)]
        if len(same) == 1:
            pairs.append((mine, same[0]))
    return pairs
