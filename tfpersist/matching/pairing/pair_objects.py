"""Pair the objects of a living object graph with those of a saved one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import cached_property

import attrs

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.pairing import engine, kinship, optimizers
from tfpersist.matching.pairing.fate import Fate, fixed_leaves
from tfpersist.matching.pairing.fate import fates as fates_of
from tfpersist.matching.pairing.optimizers import OptimizerState
from tfpersist.matching.sides import object_facts
from tfpersist.matching.sides.facts import Leaf, Side, is_index, role_of
from tfpersist.matching.sides.object_facts import Names
from tfpersist.matching.sides.object_graph import SAVE_COUNTER, ObjectGraph, match_from


@attrs.frozen(eq=False, slots=False)
class Objects:
    """An object graph, and what is known of its objects.

    Args:
        graph: the graph.
        spec_of: returns the spec of the tensor that an object owns, the names of its tensors if it
            is no variable, and None for an object without tensors.
        names: the names of layers, and which objects are optimizers.
        kinds: the kind of each optimizer of a target, as in `eras.KINDS`.
        trained: what each model of a target trains, in its order.
        guessed: optimizers whose variables have a likely order, which the target must confirm.
    """

    graph: ObjectGraph
    spec_of: Callable[[int], TensorSpec | tuple[str, ...] | None]
    names: Names = attrs.field(factory=Names)
    kinds: Mapping[int, str] = attrs.field(factory=dict)
    trained: Sequence[Sequence[int]] = ()
    guessed: Collection[int] = ()

    @cached_property
    def side(self) -> Side:
        """The leaves, without what optimizers keep."""
        return object_facts.side_of(self.graph, self.spec_of, self.names)

    @cached_property
    def leaf_of(self) -> Mapping[Hashable, Leaf]:
        """The leaf that each object with a tensor is of."""
        return {member.id: leaf for leaf in self.side.leaves for member in leaf.members.values()}

    @cached_property
    def states(self) -> list[OptimizerState]:
        """The state of each optimizer."""
        nodes = [node for node in self.leaf_of if isinstance(node, int)]
        # An optimizer lists what it trains in the order of its model, and a graph numbers objects
        # in that order.
        order = {node: at for at, node in enumerate(n for some in self.trained for n in some)}
        nodes.sort(key=lambda node: (order.get(node, len(order)), node))
        depths = {} if order else self.graph.depths()
        names = {node: self.graph.full_name(node) for node in nodes}
        variables = optimizers.Variables(names, depths)
        return [
            optimizers.state_of(self.graph, node, variables, self.kinds.get(node, ""))
            for node in sorted(self.names.optimizers)
        ]


@attrs.frozen
class ObjectPairing:
    """The pairs of objects of a target and of a checkpoint.

    Args:
        fates: what becomes of each object of the target that holds tensors.
        optimizers: the optimizers that belong together.
    """

    fates: Mapping[int, Fate]
    optimizers: tuple[tuple[OptimizerState, OptimizerState], ...]

    @property
    def bound(self) -> dict[int, int]:
        """{object of the target: object of the checkpoint}, for what holds tensors."""
        return {node: _node(fate.source) for node, fate in self.fates.items() if fate.reason}


def pair_objects(
    live: Objects, saved: Objects, fixed: Mapping[int, int] | None = None
) -> ObjectPairing:
    """Pair the objects of a target with those of a checkpoint.

    Args:
        live: the target.
        saved: the checkpoint.
        fixed: {variable of the target: variable of the checkpoint} as the user says it.
    """
    mine, theirs = live.side, saved.side
    said = fixed or {}
    known: dict[Hashable, Hashable] = {node: said[node] for node in said}
    pairing = engine.pair(mine, theirs, fixed_leaves(mine, theirs, known))
    by_id = fates_of(mine, theirs, pairing)
    fates = {_node(identity): fate for identity, fate in by_id.items()}
    for node, other in said.items():
        fates[node] = attrs.evolve(fates.get(node, Fate()), source=other, reason="as you said")
    pairs = _optimizers(live, saved)
    open_ones = {
        member.id
        for leaf in mine.leaves
        for member in leaf.members.values()
        if leaf.number not in pairing.disputed
    }
    for node, other in _heirs(live, saved, fates).items():
        fates[node] = attrs.evolve(fates[node], source=other, reason="same attributes")
    orders = [
        found
        for trained in live.trained
        for state in saved.states
        if (found := _by_training((live, trained), (saved, state.trained), fates))
    ]
    for node, other in orders[0].items() if len(orders) == 1 else ():
        if node in open_ones:
            fates[node] = attrs.evolve(fates[node], source=other, reason=_TRAINED)
    bound = {node: _node(fate.source) for node, fate in fates.items() if fate.reason}
    proposed = {
        node: _node(fate.proposal[0]) for node, fate in fates.items() if fate.proposal is not None
    }
    for my_state, their_state in pairs:
        order = [bound.get(node) for node in my_state.trained]
        is_guess = their_state.node in saved.guessed and their_state.slots
        if is_guess and order != list(their_state.trained):
            continue
        for node, other in optimizers.pair_states(my_state, their_state, proposed).items():
            fates[node] = Fate(proposal=(other, _SLOT))
        for node, other in optimizers.pair_states(my_state, their_state, bound).items():
            fates[node] = Fate(other, _SLOT)
    counters = [
        side.graph.children[0].get(SAVE_COUNTER) if side.graph.children else None
        for side in (live, saved)
    ]
    if counters[0] is not None and counters[1] is not None:
        fates[counters[0]] = Fate(counters[1], "same attribute")
    return ObjectPairing(fates, tuple(pairs))


_SLOT = "same slot of the same variable"
_TRAINED = "same place among the trained variables"


def _heirs(live: Objects, saved: Objects, fates: Mapping[int, Fate]) -> dict[int, int]:
    """Return what attributes lead to where a saved variable has several owners in the target."""
    used = {fate.source for fate in fates.values() if fate.reason}
    edges = match_from(saved.graph, live.graph, [(0, 0)])
    heirs = {
        node: edges[node]
        for node, fate in fates.items()
        if not fate.reason and edges.get(node) in used
    }
    labels: dict[int, list[str]] = {other: [] for other in heirs.values()}
    for children in saved.graph.children if heirs else ():
        for name, child in children.items():
            if child in labels:
                labels[child].append(name)
    return {
        node: other
        for node, other in heirs.items()
        if len(labels[other]) > 1 and not any(map(is_index, labels[other]))
    }


def _by_training(
    here: tuple[Objects, Sequence[int]],
    there: tuple[Objects, Sequence[int]],
    fates: Mapping[int, Fate],
) -> dict[int, int]:
    """Pair variables by the order in which an optimizer trains them, if other evidence agrees.

    If one variable does not fit, or its layer has other tensors, layers came or went, and the order
    says nothing; nor if names contradict it. Nor does it say anything of a layer that looks like
    one that is not trained, or that only the names of the target tell from one that looks alike.
    """
    (live, trained), (saved, trained_there) = here, there
    if len(trained) != len(trained_there):
        return {}
    pairs = dict(zip(trained, trained_there, strict=True))
    known = {node: fates[node].source for node in trained if node in fates and fates[node].reason}
    if not known or len(known) == len(trained):
        return {}
    if any(pairs[node] != other for node, other in known.items()):
        return {}
    if any(not _are_alike((live, node), (saved, other)) for node, other in pairs.items()):
        return {}
    leaves = [
        (live.leaf_of[node], saved.leaf_of[other])
        for node, other in pairs.items()
        if node in live.leaf_of and other in saved.leaf_of
    ]
    if _contradict(live.side, saved.side, leaves):
        return {}
    hidden = _hidden(leaves)
    used = {fate.source for fate in fates.values() if fate.reason}
    frozen = _looks_without(live, {*trained, *known}) | _looks_without(
        saved, {*trained_there, *used}
    )
    return {
        node: other
        for node, other in pairs.items()
        if node in fates
        and node not in known
        and not (
            (leaf := live.leaf_of.get(node)) and (leaf.signature in frozen or leaf.number in hidden)
        )
    }


def _contradict(live: Side, saved: Side, pairs: Collection[tuple[Leaf, Leaf]]) -> bool:
    """Return whether names or attributes say that some of the pairs are none."""
    if kinship.strangers(pairs):
        return True
    mine, theirs = kinship.called(live, saved)
    return any(mine[one.number] != theirs[other.number] for one, other in pairs)


def _hidden(pairs: Collection[tuple[Leaf, Leaf]]) -> set[int]:
    """Return the leaves of a target that names tell apart of which a checkpoint says nothing."""
    groups: dict[Hashable, tuple[dict[int, Leaf], dict[int, Leaf]]] = {}
    for one, other in pairs:
        mine, theirs = groups.setdefault(one.signature, ({}, {}))
        mine[one.number], theirs[other.number] = one, other
    return {
        number
        for mine, theirs in groups.values()
        if kinship.hides_names([*mine.values()], [*theirs.values()])
        for number in mine
    }


def _looks_without(side: Objects, nodes: Collection[Hashable]) -> set[Hashable]:
    """Return what the leaves look like that have none of these objects."""
    return {
        leaf.signature
        for leaf in side.side.leaves
        if not any(member.id in nodes for member in leaf.members.values())
    }


def _are_alike(mine: tuple[Objects, int], theirs: tuple[Objects, int]) -> bool:
    roles = [
        role_of(side.graph.full_name(node).rpartition("/")[2]) for side, node in (mine, theirs)
    ]
    specs = [side.spec_of(node) for side, node in (mine, theirs)]
    if roles[0] != roles[1] or specs[0] != specs[1]:
        return False
    leaves = [side.leaf_of.get(node) for side, node in (mine, theirs)]
    if leaves[0] is None or leaves[1] is None or leaves[1].listed:
        return True
    return leaves[0].signature == leaves[1].signature


def _node(identity: object) -> int:
    assert isinstance(identity, int)
    return identity


def _optimizers(live: Objects, saved: Objects) -> list[tuple[OptimizerState, OptimizerState]]:
    edges = [
        {node: name for edges in side.graph.children for name, node in edges.items()}
        for side in (saved, live)
    ]
    return optimizers.pair_optimizers(
        live.states, saved.states, lambda is_live, node: edges[is_live].get(node, "")
    )
