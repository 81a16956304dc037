"""Decide which leaves of both sides people called alike, so that nothing else may pair them. Pure.

A name that both sides know never goes with another name. As names may stand at another depth, as
"down" and "up/down", the leaves of both sides fall into kins: those whose names end one another.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence

import attrs

from tfpersist.matching.sides import facts
from tfpersist.matching.sides.eras import ONLY_PARTS
from tfpersist.matching.sides.facts import Chain, Leaf, Side


@attrs.frozen
class Called:
    """The names that people gave to a leaf, as far as both sides know them.

    Args:
        kin: its kin; None for a leaf without a name, or with one that only its own side has.
        groups: the names of the groups that it is in.
        attribute: the attribute that holds it.
    """

    kin: int | None = None
    groups: Chain = ()
    attribute: str = ""

    @property
    def name(self) -> tuple[int, Chain] | None:
        """Its kin in its groups; None if it has none."""
        return None if self.kin is None else (self.kin, self.groups)


def called(live: Side, saved: Side) -> tuple[Mapping[int, Called], Mapping[int, Called]]:
    """Return what people called the leaves of a target and of a checkpoint, by their numbers."""
    kin_of, groups_of = kins(live, saved), groups(live, saved)
    attribute_of = attributes(live, saved)
    mine, theirs = (
        {
            leaf.number: Called(
                kin_of[at].get(leaf.number),
                groups_of[at].get(leaf.number, ()),
                attribute_of[at].get(leaf.number, ""),
            )
            for leaf in side.leaves
        }
        for at, side in enumerate((live, saved))
    )
    return mine, theirs


def kins(live: Side, saved: Side) -> tuple[Mapping[int, int], Mapping[int, int]]:
    """Return the kin of each leaf of a target and of a checkpoint, by their numbers.

    A leaf without a name, or with one that only its own side knows, has no kin.

    Example:
        >>> from tfpersist.formats.tensors import TensorSpec
        >>> from tfpersist.matching.sides.name_facts import side_of
        >>> def side(*names):
        ...     return side_of([(n, n, TensorSpec("float32", ())) for n in names], ordered=True)
        >>> kins(side("up/down/w", "item/down/w", "new/w"), side("old/w", "down/w"))
        ({0: 0, 1: 0}, {1: 0})
    """
    mine, theirs = _by_name(live), _by_name(saved)
    above: dict[Chain, Chain] = {}

    def root(chain: Chain) -> Chain:
        while (higher := above.setdefault(chain, chain)) != chain:
            above[chain] = above[higher]
            chain = higher
        return chain

    for some, others in ((mine, theirs), (theirs, mine)):
        for chain in some:
            for at in range(len(chain)):
                if (end := chain[at:]) in others:
                    above[root(chain)] = root(end)
    kin_of: dict[Chain, int] = {}
    found: tuple[dict[int, int], dict[int, int]] = {}, {}
    for side, numbers in zip(found, (mine, theirs), strict=True):
        for chain in numbers:
            if chain in above:
                kin = kin_of.setdefault(root(chain), len(kin_of))
                side.update(dict.fromkeys(numbers[chain], kin))
    return found


def _by_name(side: Side) -> dict[Chain, list[int]]:
    found: dict[Chain, list[int]] = {}
    for leaf in side.leaves:
        if leaf.given:
            found.setdefault(leaf.given, []).append(leaf.number)
    return found


def attributes(live: Side, saved: Side) -> tuple[Mapping[int, str], Mapping[int, str]]:
    """Return the attributes that hold leaves, by their numbers, as far as both sides have them.

    What one attribute holds was not held by another one that is still there.

    Example:
        >>> from tfpersist.matching.sides.facts import Leaf
        >>> def side(*labels):
        ...     return Side([Leaf(n, {}, (l,), (l,)) for n, l in enumerate(labels)], objects=True)
        >>> attributes(side("up", "down", "new"), side("up", "old", "down"))
        ({0: 'up', 1: 'down'}, {0: 'up', 2: 'down'})
    """
    if not live.objects or not saved.objects:
        return {}, {}
    mine, theirs = (
        {leaf.number: label for leaf in side.leaves if (label := _attribute(leaf))}
        for side in (live, saved)
    )
    both = {*mine.values()} & {*theirs.values()}
    return (
        {number: label for number, label in mine.items() if label in both},
        {number: label for number, label in theirs.items() if label in both},
    )


def _attribute(leaf: Leaf) -> str:
    """Return the attribute that holds a leaf, or a layer whose only part it is; empty for none."""
    # A layer in a list of layers has no attribute of its own.
    labels = leaf.held if leaf.tail is None else leaf.tail
    label = next((one for one in reversed(labels) if one not in ONLY_PARTS), "")
    return "" if label.startswith("#") else label


def groups(live: Side, saved: Side) -> tuple[Mapping[int, Chain], Mapping[int, Chain]]:
    """Return the names of the groups that leaves are in, by their numbers, that both sides have.

    What is in a group was in no other one, nor outside of it, if that group is still there.

    Example:
        >>> from tfpersist.matching.sides.facts import Leaf
        >>> def side(*paths):
        ...     leaves = [Leaf(n, {}, p, p, called=p) for n, p in enumerate(paths)]
        ...     return Side(leaves, objects=True)
        >>> groups(side(("up",), ("head", "up")), side(("head", "up"), ("tail", "up")))
        ({1: ('head',)}, {0: ('head',)})
    """
    if not live.objects or not saved.objects or any(leaf.listed for leaf in saved.leaves):
        return {}, {}
    sides = [{leaf.number: _groups(leaf) for leaf in side.leaves} for side in (live, saved)]
    known = [{name for names in side.values() for name in names} for side in sides]
    both = known[0] & known[1]
    mine, theirs = (
        {
            number: kept
            for number, names in side.items()
            if (kept := tuple(name for name in names if name in both))
        }
        for side in sides
    )
    return mine, theirs


def _groups(leaf: Leaf) -> Chain:
    return tuple(
        name
        for name in leaf.called[:-1]
        if name and not facts.is_automatic(name) and not facts.is_index(name)
    )


def strangers(pairs: Collection[tuple[Leaf, Leaf]]) -> set[int]:
    """Return the leaves of a target whose last names differ, though both sides have one of them.

    Args:
        pairs: leaves of a target, each with one of a checkpoint.

    Example:
        >>> def leaf(number, *names):
        ...     return Leaf(number, {}, names, names)
        >>> strangers([(leaf(0, "net", "up"), leaf(0, "model", "down")),
        ...            (leaf(1, "net", "down"), leaf(1, "model", "old"))])
        {0, 1}
    """
    both = {one.given[-1:] for one, _ in pairs} & {other.given[-1:] for _, other in pairs} - {()}
    return {
        one.number
        for one, other in pairs
        if one.given[-1:] != other.given[-1:]
        and not both.isdisjoint((one.given[-1:], other.given[-1:]))
    }


def hides_names(live: Sequence[Leaf], saved: Sequence[Leaf]) -> bool:
    """Return whether names tell leaves of a target apart, and a checkpoint has none of them.

    Such leaves may have been reordered without a trace, unless their names count.

    Args:
        live: leaves of the target that look alike, in their order.
        saved: leaves of the checkpoint that look so.

    Example:
        >>> live = [Leaf(at, {}, (name,), (name,)) for at, name in enumerate(["left", "right"])]
        >>> hides_names(live, [Leaf(at, {}, (), (), listed=True) for at in range(2)])
        True
    """
    if not all(one.listed for one in saved):
        return False
    # Joined names that tell something have paired their leaves before.
    alike: dict[Chain, list[Leaf]] = {}
    for one, other in zip(live, saved, strict=False):
        alike.setdefault(other.named, []).append(one)
    return any(
        len({_labels(one) for one in some}) > 1
        and not all(_counts(one, other) for one, other in itertools.pairwise(some))
        for some in alike.values()
    )


def _labels(leaf: Leaf) -> Chain:
    return tuple(label for label in leaf.named if not label.startswith("#"))


def _counts(one: Leaf, other: Leaf) -> bool:
    for mine, theirs in zip(_labels(one), _labels(other), strict=False):
        if mine != theirs:
            return facts.precedes(mine, theirs) is True
    return False
