"""Decide whether the positions in lists of layers are evidence. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.sides import facts
from tfpersist.matching.sides.facts import Chain, Leaf, Side


def disputed(live: Side, saved: Side) -> Callable[[Leaf], bool]:
    """Return a function that says whether a name contradicts the positions of a target's leaf.

    A name contradicts if the names of a list count otherwise than the positions do. With lists of
    different lengths only names that count from zero agree with them. One name with a number, among
    others without, counts nothing. Where the checkpoint has names too, they decide.
    """
    counterpart = _counterparts(live, saved)

    def contradicts(chain: Chain) -> bool:
        names = live.items.get(chain, {})
        theirs = saved.items.get(counterpart(chain), {})
        if any(theirs.values()):
            return False
        counts = {at: facts.number_in(name) if name else None for at, name in names.items()}
        shifts = {count[1] - at for at, count in counts.items() if count is not None}
        stems = {count[0] for count in counts.values() if count is not None}
        numbered = [count for count in counts.values() if count is not None]
        if len(stems) != 1 or len(numbered) < min(2, len(names)):
            return False
        # One shift for all is an order; with another length, only zero tells the positions.
        same_length = not theirs or len(theirs) == len(names)
        return len(shifts) > 1 or not (same_length or _count_from_zero(names))

    known = {chain: contradicts(chain) for chain in live.items}
    return lambda leaf: any(known.get(chain, False) for chain, _ in leaf.lists)


def _counterparts(live: Side, saved: Side) -> Callable[[Chain], Chain]:
    """Return a function from the list of a target to that of a checkpoint; empty if none is it.

    One side may have the model below an attribute, and call it otherwise: if the chains are not
    equal, the one that ends with the most equal labels is it, if no other one ends so.
    """
    ends = [_ends(side.items) for side in (live, saved)]

    def counterpart(chain: Chain) -> Chain:
        if chain in saved.items:
            return chain
        for at in range(len(chain)):
            mine, theirs = (side.get(chain[at:], []) for side in ends)
            if theirs:
                is_whole = at == 0 or theirs == [chain[at:]]
                return theirs[0] if len(theirs) == 1 and (is_whole or len(mine) == 1) else ()
        return ()

    return counterpart


def _ends(chains: Iterable[Chain]) -> dict[Chain, list[Chain]]:
    found: dict[Chain, list[Chain]] = {}
    for chain in chains:
        for at in range(len(chain)):
            found.setdefault(chain[at:], []).append(chain)
    return found


def _count_from_zero(names: Mapping[int, str]) -> bool:
    counts = {at: facts.number_in(name) for at, name in names.items()}
    stems = {count[0] for count in counts.values() if count is not None}
    return len(stems) == 1 and all(count and count[1] == at for at, count in counts.items())


def displaced(live: Side, saved: Side) -> Callable[[Leaf], bool]:
    """Return a function that says whether a target's leaf may have another position than before.

    A position in a list says something if both lists are equally long and each place has the same
    kind of layer, or if the names of all items count from zero as the positions do.
    """
    counterpart = _counterparts(live, saved)
    shifted = _shifted(live, saved, counterpart)

    def has_moved(chain: Chain) -> bool:
        names, theirs = live.items[chain], saved.items.get(counterpart(chain), {})
        is_resized = bool(theirs) and len(theirs) != len(names)
        return (chain in shifted or is_resized) and not _count_from_zero(names)

    known = {chain: has_moved(chain) for chain in live.items}
    return lambda leaf: any(known.get(chain, False) for chain, _ in leaf.lists)


def _shifted(live: Side, saved: Side, counterpart: Callable[[Chain], Chain]) -> set[Chain]:
    """Return the lists in which a place has layers with other tensors than on the other side."""
    mine, theirs = _by_place(live), _by_place(saved)
    return {
        chain
        for (chain, at), parts in mine.items()
        if parts.isdisjoint(theirs.get((counterpart(chain), at), parts))
    }


def _by_place(side: Side) -> dict[tuple[Chain, int], set[Hashable]]:
    """Return what the layers in each place of each list are, without their sizes."""
    found: dict[tuple[Chain, int], set[Hashable]] = {}
    for leaf in side.leaves:
        roles = frozenset(
            (role, len(member.spec.shape or ()) if isinstance(member.spec, TensorSpec) else -1)
            for role, member in leaf.members.items()
        )
        for chain, at in leaf.lists:
            found.setdefault((chain, at), set()).add((leaf.held[len(chain) + 1 :], roles))
    return found


def by_items(side: Side) -> Callable[[Leaf], Chain]:
    """Return a function from a leaf to its attributes, with the name of the item that holds it.

    The chain is empty where the item of the innermost list has no name.

    Example:
        >>> one = Leaf(0, {}, (), ("blocks", "#1", "up"), lists=((("blocks",), 1),))
        >>> by_items(Side([one], items={("blocks",): {0: "", 1: "stem"}}))(one)
        ('blocks', 'stem', 'up')
    """

    def chain_of(leaf: Leaf) -> Chain:
        labels = list(leaf.held)
        name = ""
        for chain, at in leaf.lists:
            name = side.items[chain][at]
            labels[len(chain)] = name or labels[len(chain)]
        return tuple(label for label in labels if not label.startswith("#")) if name else ()

    return chain_of


def _resized(live: Side, saved: Side, mine: Leaf, theirs: Leaf) -> bool:
    """Return whether two leaves lie in lists of different lengths, in which places say nothing."""
    return any(
        len(live.items[here]) != len(saved.items[there]) and not _count_from_zero(live.items[here])
        for (here, _), (there, _) in zip(reversed(mine.lists), reversed(theirs.lists), strict=False)
    )


# Says of a leaf of the target and one of the checkpoint whether equal positions mean nothing.
Denies = Callable[[Leaf, Leaf], bool]


def in_other_list(live: Side, saved: Side) -> Denies:
    """Return a function that says whether positions are those in two lists that are not the same.

    A list in an item of another list may have the same attribute as the outer one.
    """
    counterpart = _counterparts(live, saved)

    def denies(mine: Leaf, theirs: Leaf) -> bool:
        if not mine.lists or not theirs.lists or not any(map(_is_position, mine.named)):
            return False
        return counterpart(mine.lists[-1][0]) not in ((), theirs.lists[-1][0])

    return denies


def _is_position(label: str) -> bool:
    return label.startswith("#")


def contradict(live: Side, saved: Side) -> Denies:
    """Return a function that says whether positions lead to a layer that another place has now."""
    is_in_other_list = in_other_list(live, saved)
    items = [
        {name for names in side.items.values() for name in names.values() if name}
        for side in (live, saved)
    ]

    def denies(mine: Leaf, theirs: Leaf) -> bool:
        if not mine.lists or not theirs.lists:
            return False
        if is_in_other_list(mine, theirs) or _resized(live, saved, mine, theirs):
            return True
        here = {name for chain, at in mine.lists if (name := live.items[chain][at])}
        there = {name for chain, at in theirs.lists if (name := saved.items[chain][at])}
        return not (items[1].isdisjoint(here - there) and items[0].isdisjoint(there - here))

    return denies
