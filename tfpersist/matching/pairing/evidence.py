"""Decide which leaf of a checkpoint is which leaf of a target, by one kind of evidence each. Pure.

Each function gets what is not paired yet and returns further pairs. None of them pairs a leaf with
one of several that fit equally.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence

from tfpersist.matching.sides import facts
from tfpersist.matching.sides.facts import Chain, Leaf, Side

Pairs = dict[int, int]
ChainOf = Callable[[Leaf], Chain]

# What the leaves of the target and of the checkpoint look like, by their numbers.
Looks = tuple[Mapping[int, Hashable], Mapping[int, Hashable]]
# Returns what a leaf looks like, with what it is called; None if order says nothing of it.
Look = Callable[[Leaf, Hashable], Hashable]


def fits(mine: Leaf, theirs: Leaf) -> bool:
    """Return whether each tensor of a target's leaf can take one of a checkpoint's leaf."""
    return all(
        (other := partner(role, mine, theirs)) is not None and member.accepts(theirs.members[other])
        for role, member in mine.members.items()
    )


# What a layer cannot be without: layers with other ones of these are of another kind.
_ESSENTIAL = frozenset(
    {"kernel", "depthwise_kernel", "pointwise_kernel", "recurrent_kernel", "embeddings"}
)


def is_same_kind(mine: Leaf, theirs: Leaf) -> bool:
    """Return whether two leaves may be the same layer by the roles of their tensors."""
    some, others = mine.members.keys(), theirs.members.keys()
    if some == others:
        return True
    if len(some) == len(others) == 1 or any(map(facts.is_index, others)):
        return True
    return not (some ^ others) & _ESSENTIAL


def partner(role: str, mine: Leaf, theirs: Leaf) -> str | None:
    """Return the role that a role of a target's leaf has in a checkpoint's leaf."""
    if role in theirs.members:
        return role
    if len(mine.members) == len(theirs.members) == 1:
        return next(iter(theirs.members))
    alike = numbered(role, mine, theirs)
    return alike[0] if len(alike) == 1 else None


def numbered(role: str, mine: Leaf, theirs: Leaf) -> list[str]:
    """Return the tensors of a checkpoint's leaf that a tensor may be, if they are only numbered.

    Args:
        role: the role of a tensor of a target's leaf.
        mine: the target's leaf.
        theirs: the checkpoint's leaf.

    Returns:
        Those of the same data type and shape; nothing if there are more or less of them than in the
        target's leaf, or if they have roles.
    """
    if not all(map(facts.is_index, theirs.members)):
        return []
    spec = mine.members[role].spec
    alike = [label for label, member in theirs.members.items() if member.spec == spec]
    wanted = sum(member.spec == spec for member in mine.members.values())
    return alike if len(alike) == wanted else []


def by_names(
    live: Sequence[Leaf],
    saved: Sequence[Leaf],
    chain_of: ChainOf,
    saved_chain_of: ChainOf | None = None,
) -> Pairs:
    """Pair leaves by the labels on their paths: first equal chains, then one that ends another.

    Args:
        live: leaves of the target.
        saved: leaves of the checkpoint.
        chain_of: returns the chain of a leaf of the target; an empty one pairs nothing.
        saved_chain_of: returns that of a leaf of the checkpoint; None for the same function.

    Returns:
        {number in the target: number in the checkpoint}.
    """
    theirs_of = saved_chain_of or chain_of
    pairs: Pairs = {}
    for equal in (True, False):
        mine = [one for one in live if one.number not in pairs and chain_of(one)]
        used = set(pairs.values())
        theirs = [one for one in saved if one.number not in used and theirs_of(one)]
        pairs |= _unique(_candidates(mine, theirs, (chain_of, theirs_of), equal=equal))
    return pairs


def by_whole(live: Sequence[Leaf], saved: Sequence[Leaf]) -> list[Pairs]:
    """Pair all leaves of one side with all that one name is around on the other side.

    In a chain of layers that are held by the same attribute, equal names are those of other layers
    if the other side has one more name around the first of them.

    Args:
        live: all leaves of the target.
        saved: all leaves of the checkpoint.

    Returns:
        The pairs, only if the names are those of the other side below one name, and not without it.
        If a chain is longer on the other side, it may begin at several of its layers: then one
        dict for each.
    """
    mine, theirs = ({one.named: one.number for one in side} for side in (live, saved))
    if min(len(mine), len(theirs)) < 2 or len(mine) < len(live) or len(theirs) < len(saved):
        return []
    if mine.keys() <= theirs.keys() or theirs.keys() <= mine.keys():
        return []
    inside = [_inside(some, others) for some, others in ((mine, theirs), (theirs, mine))]
    possible = [
        *({mine[chain]: theirs[around] for chain, around in one.items()} for one in inside[0]),
        *({mine[around]: theirs[chain] for chain, around in one.items()} for one in inside[1]),
    ]
    return [
        dict(sorted(pairs.items()))
        for pairs in possible
        if not all(inside)
        and all(is_same_kind(live[one], saved[other]) for one, other in pairs.items())
    ]


def _inside(some: Collection[Chain], others: Collection[Chain]) -> list[dict[Chain, Chain]]:
    """Return each chain with the one that it is below a name, for each such name."""
    longest = max(some, key=len)
    ends = [one for one in others if one[-len(longest) :] == longest]
    found: dict[Chain, dict[Chain, Chain]] = {}
    for around in {one[: len(one) - len(longest)] for one in ends[:_MOST_ENDS]}:
        below = {one: around + one for one in some}
        if all(one in others for one in below.values()):
            found[around] = below
    inner = max(found, key=len, default=())
    if sum(one[: len(inner)] == inner for one in others) > len(some):
        return []
    # Names that are not around each other, as those of two towers, are left to other evidence.
    is_chain = all(inner[: len(around)] == around for around in found)
    return [found[around] for around in sorted(found, key=len)] if is_chain else []


# Of so many chains with one end none is looked for.
_MOST_ENDS = 8


def by_joined(live: Sequence[Leaf], saved: Sequence[Leaf]) -> Pairs:
    """Pair leaves whose names are joined on one side, as those of Keras 3's slots are.

    The numbers of automatic names do not count, as in "block_dense_1".

    Args:
        live: leaves of the target.
        saved: leaves of the checkpoint.
    """
    by_text: dict[str, list[Leaf]] = {}
    for one in saved:
        if one.joined:
            by_text.setdefault(one.joined, []).append(one)
            by_text.setdefault(facts.without_counters(one.joined), []).append(one)
    return _unique(
        (one.number, other.number, fits(one, other))
        for one in (live if by_text else ())
        for called in (one.called or one.path,)
        for at in range(len(called))
        if called[at] and not _counts_only(called[at])
        for other in by_text.get(_joined(called[at:]), ())
    )


def _joined(path: Chain) -> str:
    return "_".join(
        facts.without_counters(label) if facts.is_automatic(label) else label for label in path
    )


def _counts_only(label: str) -> bool:
    # Keras itself names the cell of a recurrent layer, which has no other one.
    return facts.is_automatic(label) and not label.endswith("_cell")


def _candidates(
    live: Sequence[Leaf],
    saved: Sequence[Leaf],
    chains_of: tuple[ChainOf, ChainOf],
    *,
    equal: bool,
) -> Iterator[tuple[int, int, bool]]:
    """Yield pairs of leaves with similar chains, and whether their tensors fit."""
    by_end: dict[Chain, list[Leaf]] = {}
    mine_of, theirs_of = chains_of
    for one in saved:
        chain = theirs_of(one)
        for at in range(1 if equal else len(chain)):
            by_end.setdefault(chain[at:], []).append(one)
    whole: dict[Chain, list[Leaf]] = {}
    for one in saved if not equal else ():
        whole.setdefault(theirs_of(one), []).append(one)
    for one in live:
        chain = mine_of(one)
        others = list(by_end.get(chain, ()))
        if not equal:
            # Either the target's chain ends the checkpoint's, or the other way round.
            for at in range(1, len(chain)):
                others += whole.get(chain[at:], ())
        for other in others:
            if is_same_kind(one, other):
                yield one.number, other.number, fits(one, other)


def _unique(candidates: Iterable[tuple[int, int, bool]]) -> Pairs:
    """Return the pairs in which neither leaf has another candidate that fits as well."""
    mine: dict[int, set[tuple[int, bool]]] = {}
    theirs: dict[int, set[tuple[int, bool]]] = {}
    for one, other, fit in candidates:
        mine.setdefault(one, set()).add((other, fit))
        theirs.setdefault(other, set()).add((one, fit))
    pairs = {}
    for one, others in mine.items():
        best = _best(others)
        if best is not None and _best(theirs[best]) == one:
            pairs[one] = best
    return pairs


def _best(options: Collection[tuple[int, bool]]) -> int | None:
    fitting = [number for number, fit in options if fit]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting and len(options) == 1:
        return next(iter(options))[0]
    return None


def by_root(live: Side, saved: Side, pairs: Mapping[int, int]) -> Pairs:
    """Pair what hangs from the roots, if all pairs agree on where one root is below the other.

    Args:
        live: the target.
        saved: the checkpoint.
        pairs: what is paired already.
    """
    offsets: set[tuple[Chain, Chain]] = set()
    for number, other in pairs.items():
        mine, theirs = live.leaves[number].held, saved.leaves[other].held
        size = min(len(mine), len(theirs))
        if mine[len(mine) - size :] == theirs[len(theirs) - size :]:
            offsets.add((mine[: len(mine) - size], theirs[: len(theirs) - size]))
    if len(offsets) > 1:
        return {}
    here, there = offsets.pop() if offsets else ((), ())
    roots = [
        [one for one in side.leaves if one.held == chain and one.tail is None]
        for side, chain in ((live, here), (saved, there))
    ]
    if not all(len(side) == 1 for side in roots):
        return {}
    (mine_root,), (their_root,) = roots
    free = mine_root.number not in pairs and their_root.number not in set(pairs.values())
    return {mine_root.number: their_root.number} if free else {}


def by_order(
    live: Sequence[Leaf], saved: Sequence[Leaf], anchors: Mapping[int, int], looks: Looks
) -> Pairs:
    """Pair leaves by their order between leaves that are paired already.

    Between two pairs, leaves that look alike are paired in their order if both sides have equally
    many of them. A leaf that alone looks so on both sides is paired, and then separates others.

    Args:
        live: all leaves of the target, in order.
        saved: all leaves of the checkpoint, in order.
        anchors: the pairs that there are.
        looks: what the other leaves look like.

    Returns:
        Further pairs.
    """
    if not in_order(anchors, live, saved):
        # A file may list the parts of one layer, such as the projections of an attention, by their
        # names.
        live, saved = _with_sorted_parts(live), _with_sorted_parts(saved)
    if not in_order(anchors, live, saved):
        # Layers have moved. Only a layer that no other looks like is still the same.
        known, found = lonely(live, saved), _alone(live, saved, looks)
        return {number: other for number, other in found.items() if number in known}
    pairs: Pairs = {}
    waiting = [(live, saved)]
    while waiting:
        some, others = waiting.pop()
        alone = _alone(some, others, looks)
        fixed = {
            one.number: other
            for one in some
            if (other := anchors.get(one.number, alone.get(one.number))) is not None
        }
        if not in_order(fixed, some, others):
            # What is alone has moved: it does not separate the others.
            known = lonely(live, saved)
            pairs |= {one: other for one, other in alone.items() if one in known}
            alone = {}
            fixed = {one.number: anchors[one.number] for one in some if one.number in anchors}
        gaps = list(_gaps(some, others, fixed))
        pairs |= alone
        if fixed:
            waiting += gaps
        else:
            pairs |= _zipped(some, others, looks)
    return pairs


def lonely(live: Sequence[Leaf], saved: Sequence[Leaf]) -> set[int]:
    """Return the leaves of a target that alone look so on both sides."""
    counts = [Counter(one.signature for one in side) for side in (live, saved)]
    return {one.number for one in live if all(n[one.signature] == 1 for n in counts)}


def _with_sorted_parts(side: Sequence[Leaf]) -> Sequence[Leaf]:
    """Return leaves in which the parts of one layer are in the order of their names."""

    def layer(one: Leaf) -> tuple[object, ...]:
        # A leaf without a tail is a layer of its own.
        return one.path[: len(one.path) - len(one.tail)] if one.tail else (one.number,)

    return [
        one
        for _, parts in itertools.groupby(side, layer)
        for one in sorted(parts, key=lambda part: part.tail or ())
    ]


def in_order(pairs: Mapping[int, int], live: Sequence[Leaf], saved: Sequence[Leaf]) -> bool:
    """Return whether pairs have the same order on both sides."""
    places = {one.number: at for at, one in enumerate(saved)}
    order = [places[pairs[one.number]] for one in live if one.number in pairs]
    return all(a < b for a, b in itertools.pairwise(order))


def _gaps(
    live: Sequence[Leaf], saved: Sequence[Leaf], fixed: Mapping[int, int]
) -> Iterator[tuple[Sequence[Leaf], Sequence[Leaf]]]:
    """Yield what lies between the pairs, where both sides have something."""
    places = {one.number: at for at, one in enumerate(saved)}
    start = there = 0
    for at, one in enumerate(live):
        if one.number in fixed:
            place = places[fixed[one.number]]
            if at > start and place > there:
                yield live[start:at], saved[there:place]
            start, there = at + 1, place + 1
    if len(live) > start and len(saved) > there:
        yield live[start:], saved[there:]


def groups(leaves: Iterable[Leaf], looks: Mapping[int, Hashable]) -> dict[Hashable, list[Leaf]]:
    """Return the leaves that look alike, by what they look like."""
    found: dict[Hashable, list[Leaf]] = {}
    for one in leaves:
        if one.number in looks:
            found.setdefault(looks[one.number], []).append(one)
    return found


def _alone(live: Sequence[Leaf], saved: Sequence[Leaf], looks: Looks) -> Pairs:
    mine, theirs = groups(live, looks[0]), groups(saved, looks[1])
    return {
        leaves[0].number: theirs[look][0].number
        for look, leaves in mine.items()
        if len(leaves) == 1 and len(theirs.get(look, ())) == 1
    }


def _zipped(live: Sequence[Leaf], saved: Sequence[Leaf], looks: Looks) -> Pairs:
    mine, theirs = groups(live, looks[0]), groups(saved, looks[1])
    pairs: Pairs = {}
    for look, some in mine.items():
        others = theirs.get(look, ())
        if len(some) == len(others):
            pairs |= {a.number: b.number for a, b in zip(some, others, strict=True)}
    return pairs


def by_neighbours(
    live: Sequence[Leaf], saved: Sequence[Leaf], anchors: Mapping[int, int], looks: Looks
) -> Pairs:
    """Pair leaves that look alike and lie alone between the same two neighbours.

    Args:
        live: all leaves of the target, in order.
        saved: all leaves of the checkpoint, in order.
        anchors: the pairs that there are.
        looks: what the other leaves look like.

    Returns:
        Further pairs.
    """
    if not in_order(anchors, live, saved):
        return {}
    places = {one.number: at for at, one in enumerate(saved)}
    pairs: Pairs = {}
    for before, one, after in zip(live, live[1:], live[2:], strict=False):
        if one.number in anchors or not {before.number, after.number} <= anchors.keys():
            continue
        start, end = places[anchors[before.number]], places[anchors[after.number]]
        other = saved[start + 1].number
        known = looks[0].get(one.number)
        if end - start == 2 and known is not None and looks[1].get(other) == known:
            pairs[one.number] = other
    return pairs


def by_count(live: Sequence[Leaf], saved: Sequence[Leaf], looks: Looks) -> Pairs:
    """Pair leaves that look alike in the order in which the names of the checkpoint count."""
    mine, theirs = groups(live, looks[0]), groups(saved, looks[1])
    pairs: Pairs = {}
    for look, some in mine.items():
        others = counted(theirs.get(look, []))
        if others is not None and len(some) == len(others):
            pairs |= {a.number: b.number for a, b in zip(some, others, strict=True)}
    return pairs


def counted(leaves: Sequence[Leaf]) -> list[Leaf] | None:
    """Return leaves that only names describe in the order in which their names count.

    Returns:
        The leaves; None if the names of some do not count.

    Example:
        >>> member = facts.Member("k", ("x",))
        >>> def leaf(number, *path):
        ...     return Leaf(number, {"kernel": member}, path, path, path=path)
        >>> [one.number for one in counted([leaf(0, "conv10", "a"), leaf(1, "conv9", "a")])]
        [1, 0]
        >>> counted([leaf(0, "user"), leaf(1, "item")])
    """
    ordered = sorted(leaves, key=functools.cmp_to_key(_compare))
    neighbours = itertools.pairwise(ordered)
    return ordered if all(_precedes(one, other) for one, other in neighbours) else None


def _precedes(one: Leaf, other: Leaf) -> bool | None:
    for mine, theirs in zip(one.path, other.path, strict=False):
        if mine != theirs:
            return facts.precedes(mine, theirs)
    return None


def _compare(one: Leaf, other: Leaf) -> int:
    first = _precedes(one, other)
    if first is not None:
        return -1 if first else 1
    return (one.path > other.path) - (one.path < other.path)


def with_kinds(look: Look) -> Look:
    """Return a look that tells the classes of layers, and not the roles of their tensors."""

    def of_kinds(leaf: Leaf, called: Hashable) -> Hashable:
        if look(leaf, called) is None or not leaf.kinds:
            return None
        specs = Counter(member.spec for member in leaf.members.values())
        return leaf.kinds, leaf.tail, frozenset(specs.items()), called

    return of_kinds


def without_gone(looks: Looks) -> Looks:
    """Leave out what looks alike where some of several came or went.

    Example:
        >>> without_gone(({0: "a", 1: "a", 2: "b"}, {0: "a", 1: "b"}))
        ({2: 'b'}, {0: 'a', 1: 'b'})
    """
    counts = [Counter(side.values()) for side in looks]
    kept = {look for look, count in counts[0].items() if count == counts[1][look]}
    return {number: look for number, look in looks[0].items() if look in kept}, looks[1]
