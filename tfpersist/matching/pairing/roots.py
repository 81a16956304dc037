"""Distinguish the children of a root without an order, such as a `tf.train.Checkpoint`. Pure."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Sequence

import attrs

from tfpersist.matching.pairing.evidence import Looks
from tfpersist.matching.sides.facts import Chain, Leaf, Side


def alike(live: Side, saved: Side) -> list[tuple[list[Leaf], list[Leaf]]]:
    """Return the leaves of what one root holds with those of the only one that looks so.

    Args:
        live: the target; nothing is returned unless it holds things in the order of the alphabet.
        saved: the checkpoint.

    Returns:
        Leaves of the target and leaves of the checkpoint, for each that looks like one of the other
        side and like no second one.
    """
    if not live.alphabetical:
        return []
    sides: list[dict[Hashable, list[list[Leaf]]]] = []
    for side in (live, saved):
        held: dict[str, list[Leaf]] = {}
        for one in side.leaves:
            held.setdefault(_role(one), []).append(one)
        looks: dict[Hashable, list[list[Leaf]]] = {}
        for leaves in held.values():
            look = frozenset(Counter(one.signature for one in leaves).items())
            looks.setdefault(look, []).append(leaves)
        sides.append(looks)
    return [
        (some[0], others[0])
        for look, some in sides[0].items()
        if len(some) == len(others := sides[1].get(look, [])) == 1
    ]


def without_shared(leaves: Sequence[Leaf], looks: Looks) -> Looks:
    """Leave out what looks alike below several things that a root holds.

    Args:
        leaves: leaves of a target.
        looks: what they and those of the checkpoint look like.

    Example:
        >>> some = [Leaf(at, {}, (), (), path=(role, "a")) for at, role in enumerate("xxy")]
        >>> without_shared(some, ({0: "k", 1: "b", 2: "k"}, {}))
        ({1: 'b'}, {})
    """
    roles: dict[Hashable, set[str]] = {}
    for one in leaves:
        if one.number in looks[0]:
            roles.setdefault(looks[0][one.number], set()).add(_role(one))
    kept = {n: look for n, look in looks[0].items() if len(roles.get(look, ())) < 2}
    return kept, looks[1]


def inside(side: Side) -> Sequence[Leaf]:
    """Return the leaves of a side without the names around all of them.

    The attribute under which a `tf.train.Checkpoint` holds its only model says nothing of a layer.
    What lies beside the model, such as a counter of steps, has no names around it.

    Example:
        >>> some = [Leaf(at, {}, path, path) for at, path in enumerate([("x", "a"), ("x", "b")])]
        >>> [leaf.named for leaf in inside(Side([*some, Leaf(2, {}, ("step",), ("step",))]))]
        [('a',), ('b',), ('step',)]
    """
    chains = [leaf.named[:-1] for leaf in side.leaves if len(leaf.named) > 1]
    if len(chains) < 2:
        return side.leaves
    # What all chains begin with, the first and the last in their order begin with.
    around = min(chains)[: _alike(min(chains), max(chains))]
    return [_without(leaf, _alike(leaf.named, around)) for leaf in side.leaves]


def _alike(one: Chain, other: Chain) -> int:
    """Return with how many equal labels two chains begin."""
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return sum(1 for _ in pairs)


def _without(leaf: Leaf, size: int) -> Leaf:
    if not size:
        return leaf
    lists = tuple((chain[size:], at) for chain, at in leaf.lists)
    return attrs.evolve(leaf, named=leaf.named[size:], lists=lists)


def _role(leaf: Leaf) -> str:
    return leaf.path[0] if leaf.path else ""
