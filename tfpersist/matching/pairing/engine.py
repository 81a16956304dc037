"""Pair the leaves of a target with those of a checkpoint, by evidence in a fixed order. Pure.

What is certain enough is carried out: equal names, equal attributes, the same structure. What
needs words or an order that nothing confirms is proposed. Where several leaves fit equally, they
are alternatives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence

import attrs

from tfpersist.matching.pairing import evidence, words
from tfpersist.matching.sides import positions
from tfpersist.matching.sides.facts import Chain, Leaf, Side

_MOST_ALTERNATIVES = 5


@attrs.frozen
class Pairing:
    """Which leaf of the checkpoint is which leaf of the target.

    Args:
        pairs: {number in the target: number in the checkpoint}, to be carried out.
        proposals: the same, to be confirmed.
        reasons: why, for each leaf of the target in `pairs` or in `proposals`.
        alternatives: for other leaves of the target, leaves of the checkpoint that fit equally.
        conflicts: for leaves whose evidence contradicts: the leaf by its name, and by attributes.
        disputed: leaves of the target of which no order says anything.
    """

    pairs: Mapping[int, int]
    proposals: Mapping[int, int]
    reasons: Mapping[int, str]
    alternatives: Mapping[int, Sequence[int]]
    conflicts: Mapping[int, tuple[int, int]]
    disputed: frozenset[int]


def pair(live: Side, saved: Side, fixed: Mapping[int, int] | None = None) -> Pairing:
    """Pair the leaves of a target with those of a checkpoint.

    Args:
        live: the target.
        saved: the checkpoint.
        fixed: pairs that the user gave.

    Example:
        >>> from tfpersist.formats.tensors import TensorSpec
        >>> from tfpersist.matching.sides.name_facts import side_of
        >>> spec = TensorSpec("float32", (2,))
        >>> live = side_of([(0, "net/a/kernel", spec), (1, "net/b/kernel", spec)], ordered=True)
        >>> saved = side_of([("k", "b/w", spec), ("l", "a/w", spec)], ordered=False)
        >>> pairing = pair(live, saved)
        >>> pairing.pairs, pairing.reasons[0]
        ({0: 1, 1: 0}, 'same name')
    """
    return _Rounds(live, saved, dict(fixed or {})).result()


class _Rounds:
    def __init__(self, live: Side, saved: Side, fixed: dict[int, int]) -> None:
        self.live, self.saved = live, saved
        self.pairs = fixed
        self.reasons = dict.fromkeys(fixed, "same layer")
        self.proposals: dict[int, int] = {}
        self.conflicts: dict[int, tuple[int, int]] = {}
        self.disputed = positions.disputed(live, saved)
        self.displaced = positions.displaced(live, saved)
        # A name that both sides know never goes with another one.
        mine = {one.named for one in live.leaves if one.named}
        theirs = {one.named for one in saved.leaves if one.named}
        self.known = mine & theirs
        self.labels = [
            {label for leaf in side.leaves if leaf.lists for label in _unplaced(leaf)}
            for side in (live, saved)
        ]

    def result(self) -> Pairing:
        self._carry_out(self._names(), "same name")
        self._carry_out(self._names_in_lists(), "same name")
        self._carry_out(evidence.by_joined(*self._free()), "same name")
        self._carry_out(self._attributes(), "same attributes")
        self._carry_out(evidence.by_root(self.live, self.saved, self.pairs), "same attributes")
        self._carry_out(self._structure(), "same place in the same structure")
        self._propose(words.by_words(*self._free(), self._looks()), "shared words")
        self._propose(self._order(self._without_gone(self._looks())), "same order")
        return Pairing(
            self.pairs,
            self.proposals,
            self.reasons,
            self._alternatives(),
            self.conflicts,
            frozenset(one.number for one in self.live.leaves if not self._is_open(one)),
        )

    def _names(self) -> dict[int, int]:
        live, saved = self._free()
        named = [one for one in live if not (self._is_moved(one) and _has_position(one))]
        by_name = evidence.by_names(named, saved, lambda leaf: leaf.named if leaf.is_named else ())
        live = [one for one in live if one.tail is None and not one.lists]
        saved = [one for one in saved if one.tail is None and not one.lists]
        by_attribute = evidence.by_names(live, saved, lambda leaf: leaf.held)
        for number, other in by_attribute.items():
            if by_name.get(number, other) != other:
                leaf, meant = self.live.leaves[number], by_name.pop(number)
                # Without a name of its own, an attribute was taken for the name of another layer.
                if leaf.named != leaf.held:
                    self.conflicts[number] = meant, other
        return by_name

    def _attributes(self) -> dict[int, int]:
        live, saved = self._free()
        plain = [one for one in live if self._is_placed(one)]
        if not self.saved.objects:
            # Names that look automatic may be attributes of the target.
            attributes = [one for one in plain if one.tail is None]
            self._carry_out(
                evidence.by_names(
                    attributes, saved, lambda leaf: leaf.held, lambda leaf: leaf.path
                ),
                "same attributes",
            )
            live, saved = self._free()
            plain = [one for one in live if self._is_placed(one)]
        found = evidence.by_names(plain, saved, lambda leaf: leaf.held if leaf.is_named else ())
        return {one: other for one, other in found.items() if not self._contradict(one, other)}

    def _contradict(self, number: int, other: int) -> bool:
        """Return whether positions lead to a layer whose name another place has now."""
        mine, theirs = self.live.leaves[number], self.saved.leaves[other]
        if not mine.lists or not theirs.lists:
            return False
        if positions.resized(self.live, self.saved, mine, theirs):
            return True
        here, there = _unplaced(mine), _unplaced(theirs)
        if here == there or not here or not there:
            return False
        return not self.labels[1].isdisjoint({*here} - {*there}) or not self.labels[0].isdisjoint(
            {*there} - {*here}
        )

    def _names_in_lists(self) -> dict[int, int]:
        """Return what has names in lists of lists, whose positions do not count then."""
        live, saved = self._free()
        return evidence.by_names(
            [one for one in live if one.lists], [one for one in saved if one.lists], _unplaced
        )

    def _structure(self) -> dict[int, int]:
        found: dict[int, int] = {}
        if any(one.kinds for one in self.saved.leaves):
            look = self._with_kinds(self._place(self.live.leaves, self.saved.leaves))
            found = self._order(self._looks(look))
            self._carry_out(found, "")
        # First what both sides hold under one name, such as two models in one checkpoint.
        for around in self._common_surroundings():
            sides = tuple(
                [one for one in side.leaves if one.around == around]
                for side in (self.live, self.saved)
            )
            found |= self._order(self._looks(self._place(*sides)), *sides)
        self._carry_out(found, "")
        rest = self._order(self._looks(self._place(self.live.leaves, self.saved.leaves)))
        placed = {
            number: other
            for number, other in (found | rest).items()
            if self._is_placed(self.live.leaves[number])
        }
        return self._without_contradicted(placed)

    def _without_contradicted(self, pairs: Mapping[int, int]) -> dict[int, int]:
        """Leave out what looks alike where the words of given names contradict the places."""
        live = [leaf for leaf in self.live.leaves if leaf.is_named and leaf.number in pairs]
        others = set(pairs.values())
        saved = [leaf for leaf in self.saved.leaves if leaf.is_named and leaf.number in others]
        looks = self._looks()
        by_words = words.by_words(live, saved, looks)
        moved = {looks[0][number] for number, other in by_words.items() if pairs[number] != other}
        return {
            number: other for number, other in pairs.items() if looks[0].get(number) not in moved
        }

    def _common_surroundings(self) -> list[Chain]:
        sides = [
            dict.fromkeys(one.around for one in side.leaves if not one.is_named and one.around)
            for side in (self.live, self.saved)
        ]
        return [around for around in sides[0] if around in sides[1]]

    def _place(self, live: Sequence[Leaf], saved: Sequence[Leaf]) -> Callable[[Leaf], Hashable]:
        # A file may lead to some layers by attributes, and list others that have attributes here.
        partners = {other: number for number, other in self.pairs.items()}
        held_there = [self._is_held(one, self.pairs, self.saved) for one in live]
        held_here = [self._is_held(one, partners, self.live) for one in saved]
        same_size = held_there.count(False) == held_here.count(False)
        # A list of variables has no structure: a name is all that it says of a layer.
        is_listed = any(one.listed for one in saved)

        def look(leaf: Leaf) -> Hashable:
            if leaf.tail is None:
                return None
            # Where layers came or went, only layers without a name of their own keep places.
            if leaf.is_named and not leaf.by_attribute and not same_size:
                return None
            return self._look(leaf), leaf.tail, is_listed and leaf.is_named

        return look

    def _with_kinds(self, look: Callable[[Leaf], Hashable]) -> Callable[[Leaf], Hashable]:
        """Return a look that tells the classes of layers, and not the roles of their tensors."""

        def with_kinds(leaf: Leaf) -> Hashable:
            if look(leaf) is None or not leaf.kinds:
                return None
            specs = Counter(member.spec for member in leaf.members.values())
            named = leaf.named if leaf.is_named and leaf.named in self.known else None
            return leaf.kinds, leaf.tail, frozenset(specs.items()), named

        return with_kinds

    def _is_held(self, leaf: Leaf, partners: Mapping[int, int], others: Side) -> bool:
        """Return whether an attribute holds a leaf, or the one that it is paired with."""
        other = partners.get(leaf.number)
        return leaf.tail is None or (other is not None and others.leaves[other].tail is None)

    def _order(
        self,
        looks: evidence.Looks,
        live: Sequence[Leaf] | None = None,
        saved: Sequence[Leaf] | None = None,
    ) -> dict[int, int]:
        mine = self.live.leaves if live is None else live
        theirs = self.saved.leaves if saved is None else saved
        if not self.saved.ordered:
            return evidence.by_count(mine, theirs, looks)
        inside = {one.number for one in theirs}
        anchors = {**self.pairs, **self.proposals}
        anchors = {
            one.number: other
            for one in mine
            if (other := anchors.get(one.number)) is not None and other in inside
        }
        return evidence.by_order(mine, theirs, anchors, looks)

    def _without_gone(self, looks: evidence.Looks) -> evidence.Looks:
        """Leave out what looks alike where some of several came or went."""
        counts = [Counter(side.values()) for side in looks]
        kept = {
            look
            for look, count in counts[0].items()
            if count == counts[1][look] or min(count, counts[1][look]) == 1
        }
        return {number: look for number, look in looks[0].items() if look in kept}, looks[1]

    def _look(self, leaf: Leaf) -> Hashable:
        """Return what a leaf has in common with those that it may be paired with by order."""
        is_known = leaf.is_named and leaf.named in self.known and not _has_position(leaf)
        return leaf.signature, leaf.named if is_known else None

    def _looks(self, look: Callable[[Leaf], Hashable] | None = None) -> evidence.Looks:
        look = look or self._look
        live, saved = self._free()
        mine = {one.number: look(one) for one in live if self._is_open(one)}
        theirs = {one.number: look(one) for one in saved}
        return (
            {number: known for number, known in mine.items() if known is not None},
            {number: known for number, known in theirs.items() if known is not None},
        )

    def _is_open(self, leaf: Leaf) -> bool:
        """Return whether order may say something about a leaf of the target."""
        return leaf.number not in self.conflicts and not self.disputed(leaf)

    def _is_placed(self, leaf: Leaf) -> bool:
        """Return whether the positions in lists say something about a leaf of the target."""
        return self._is_open(leaf) and not self.displaced(leaf)

    def _is_moved(self, leaf: Leaf) -> bool:
        return self.disputed(leaf) or self.displaced(leaf)

    def _free(self) -> tuple[list[Leaf], list[Leaf]]:
        used = {*self.pairs.values(), *self.proposals.values()}
        mine = self.pairs.keys() | self.proposals.keys()
        return (
            [one for one in self.live.leaves if one.number not in mine],
            [one for one in self.saved.leaves if one.number not in used],
        )

    def _carry_out(self, pairs: Mapping[int, int], reason: str) -> None:
        self.pairs.update(pairs)
        self.reasons.update(dict.fromkeys(pairs, reason))

    def _propose(self, pairs: Mapping[int, int], reason: str) -> None:
        self.proposals.update(pairs)
        self.reasons.update(dict.fromkeys(pairs, reason))

    def _alternatives(self) -> dict[int, list[int]]:
        live, saved = self._free()
        looks = self._looks()
        theirs = evidence.groups(saved, looks[1])
        found = {}
        for one in live:
            others = [other.number for other in theirs.get(self._look(one), ())]
            if others:
                found[one.number] = others[:_MOST_ALTERNATIVES]
        return found


def _unplaced(leaf: Leaf) -> Chain:
    """Return the names on the path of a leaf, without positions; empty if it has no own name."""
    if not leaf.is_named or not leaf.named or leaf.named[-1].startswith("#"):
        return ()
    return tuple(label for label in leaf.named if not label.startswith("#"))


def _has_position(leaf: Leaf) -> bool:
    """Return whether the chain of a leaf says a position in a list."""
    return any(label.startswith("#") for label in leaf.named)


@attrs.frozen
class Fate:
    """What becomes of one tensor of a target.

    Args:
        source: the tensor of the checkpoint that it gets; None for none.
        reason: by which evidence that is its tensor.
        proposal: a tensor that would fit by weaker evidence, and by which; None if there is none.
        alternatives: tensors that fit equally, where the evidence does not decide.
        conflict: the tensor that a name means and the one that an attribute means, if they differ.
    """

    source: Hashable = None
    reason: str = ""
    proposal: tuple[Hashable, str] | None = None
    alternatives: tuple[Hashable, ...] = ()
    conflict: tuple[Hashable, Hashable] | None = None


def fates(live: Side, saved: Side, pairing: Pairing) -> dict[Hashable, Fate]:
    """Return what becomes of each tensor of a target, by what the target calls it.

    Args:
        live: the target.
        saved: the checkpoint.
        pairing: which leaf is which.
    """
    found: dict[Hashable, Fate] = {}
    for leaf in live.leaves:

        def partners(role: str, *numbers: int, leaf: Leaf = leaf) -> list[Hashable]:
            others = [saved.leaves[number] for number in numbers]
            return [
                other.members[there].id
                for other in others
                if (there := evidence.partner(role, leaf, other)) is not None
            ]

        number = leaf.number
        reason = pairing.reasons.get(number, "")
        for role, member in leaf.members.items():
            fate = Fate()
            if number in pairing.pairs:
                other = saved.leaves[pairing.pairs[number]]
                alike = evidence.numbered(role, leaf, other)
                fate = Fate(alternatives=tuple(other.members[label].id for label in alike))
                for source in partners(role, pairing.pairs[number]):
                    fate = Fate(source, reason)
            elif number in pairing.proposals:
                for source in partners(role, pairing.proposals[number]):
                    fate = Fate(proposal=(source, reason))
            elif number in pairing.conflicts:
                both = partners(role, *pairing.conflicts[number])
                if len(both) > 1:
                    fate = Fate(conflict=(both[0], both[1]))
            else:
                others = partners(role, *pairing.alternatives.get(number, ()))
                fate = Fate(alternatives=tuple(others))
            found[member.id] = fate
    return found


def fixed_leaves(live: Side, saved: Side, fixed: Mapping[Hashable, Hashable]) -> dict[int, int]:
    """Return the leaves that pairs of tensors pair.

    Args:
        live: the target.
        saved: the checkpoint.
        fixed: {tensor of the target: tensor of the checkpoint}.
    """
    if not fixed:
        return {}
    owner = {member.id: leaf.number for leaf in saved.leaves for member in leaf.members.values()}
    pairs: dict[int, set[int]] = {}
    for leaf in live.leaves:
        for member in leaf.members.values():
            other = fixed.get(member.id)
            if other in owner:
                pairs.setdefault(leaf.number, set()).add(owner[other])
    return {number: others.pop() for number, others in pairs.items() if len(others) == 1}


def pair_tensors(
    live: Side, saved: Side, fixed: Mapping[Hashable, Hashable]
) -> dict[Hashable, Fate]:
    """Pair the leaves of both sides, and return what becomes of each tensor of the target.

    Args:
        live: the target.
        saved: the checkpoint.
        fixed: {tensor of the target: tensor of the checkpoint} as the user or equal names say it.
    """
    return fates(live, saved, pair(live, saved, fixed_leaves(live, saved, fixed)))
