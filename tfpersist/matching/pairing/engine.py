"""Pair the leaves of a target with those of a checkpoint, by evidence in a fixed order. Pure.

What is certain enough is carried out: equal names, equal attributes, the same structure. What
needs words or an order that nothing confirms is proposed. Where several leaves fit equally, they
are alternatives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property

import attrs

from tfpersist.matching.pairing import evidence, kinship, roots, words
from tfpersist.matching.sides import positions
from tfpersist.matching.sides.facts import Chain, Leaf, Side

_MOST_ALTERNATIVES = 5
_PLACED = "same place in the same structure"


@attrs.frozen
class Pairing:
    """The pairs of leaves of a checkpoint and of a target.

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
        self.in_other_list = positions.in_other_list(live, saved)

    @cached_property
    def called(self) -> tuple[Mapping[int, kinship.Called], Mapping[int, kinship.Called]]:
        """The names of the leaves; none is ever paired with one that people called otherwise."""
        return kinship.called(self.live, self.saved)

    @cached_property
    def inside(self) -> tuple[Sequence[Leaf], Sequence[Leaf]]:
        """The leaves without the names around all of them, which are no words of theirs."""
        return roots.inside(self.live), roots.inside(self.saved)

    def result(self) -> Pairing:
        wholes = [] if self.pairs else evidence.by_whole(self.live.leaves, self.saved.leaves)
        if len(wholes) > 1:
            return self._of_several(wholes)
        for whole in wholes:
            self._carry_out(whole, "same name")
        self._carry_out(self._names(), "same name")
        self._carry_out(self._names_in_lists(), "same name")
        self._carry_out(evidence.by_joined(*self._free()), "same name")
        self._carry_out(self._attributes(), "same attributes")
        self._carry_out(evidence.by_root(self.live, self.saved, self.pairs), "same attributes")
        self._carry_out(self._structure(), _PLACED)
        # In a list that has changed, a position is no number that both sides know.
        placed = not any(map(self._is_moved, self._free()[0]))
        found = words.by_words(
            *self._inside(*self._free()), self._looks(), ordered=self.saved.ordered, placed=placed
        )
        self._propose(found, "shared words")
        self._propose_order()
        self._propose_places()
        return Pairing(
            self.pairs,
            self.proposals,
            self.reasons,
            self._alternatives(),
            self.conflicts,
            frozenset(one.number for one in self.live.leaves if not self._is_open(one)),
        )

    def _of_several(self, wholes: Sequence[evidence.Pairs]) -> Pairing:
        """Return what is known if each of several pairings of all leaves is possible."""
        everywhere = range(len(self.live.leaves))
        alternatives = {
            number: [whole[number] for whole in wholes[:_MOST_ALTERNATIVES] if number in whole]
            for number in everywhere
        }
        return Pairing({}, {}, {}, alternatives, {}, frozenset(everywhere))

    def _propose_order(self) -> None:
        looks = self._looks()
        if self.saved.ordered:
            anchors = {**self.pairs, **self.proposals}
            found = evidence.by_neighbours(self.live.leaves, self.saved.leaves, anchors, looks)
            self._propose(found, "between the same neighbours")
            looks = self._looks()
        looks = evidence.without_gone(looks)
        alike = Counter(looks[0].values())
        found = self._order(looks)
        if self._cross(found):
            leaves = self.live.leaves
            found = {one: o for one, o in found.items() if not self.displaced(leaves[one])}
        found = words.without_contradicted(found, *self._inside(*self._free()), looks)
        for number, other in self._by_last_name(found).items():
            is_alone = alike[looks[0][number]] == 1
            reason = "only one of its shape" if is_alone else "same order"
            self._propose({number: other}, reason)

    def _cross(self, pairs: Mapping[int, int]) -> bool:
        """Return whether items of lists that have changed would not keep their order."""
        live, saved = self.live.leaves, self.saved.leaves
        items = {
            one: other
            for one, other in {**self.pairs, **self.proposals, **pairs}.items()
            if live[one].lists and saved[other].lists and self.displaced(live[one])
        }
        return not evidence.in_order(items, live, saved)

    def _names(self) -> dict[int, int]:
        live, saved = self._free()
        named = [one for one in live if not (self._is_moved(one) and _has_position(one))]
        by_name = evidence.by_names(named, saved, lambda leaf: leaf.named if leaf.is_named else ())
        by_name = self._without(self.in_other_list, by_name)
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
        found = self._without(self._is_in_other_group, found)
        return self._without(positions.contradict(self.live, self.saved), found)

    def _is_in_other_group(self, mine: Leaf, theirs: Leaf) -> bool:
        mine_called, theirs_called = self.called
        return mine_called[mine.number].groups != theirs_called[theirs.number].groups

    def _without(self, denies: positions.Denies, pairs: evidence.Pairs) -> evidence.Pairs:
        live, saved = self.live.leaves, self.saved.leaves
        return {one: other for one, other in pairs.items() if not denies(live[one], saved[other])}

    def _names_in_lists(self) -> dict[int, int]:
        """Return what has names in lists of lists, whose positions do not count then."""
        live, saved = ([one for one in side if one.lists] for side in self._free())
        found = evidence.by_names(live, saved, lambda leaf: leaf.given)
        used = set(found.values())
        # A file may name the items of a list, and what is inside of them only by attributes.
        return found | evidence.by_names(
            [one for one in live if one.number not in found],
            [one for one in saved if one.number not in used],
            positions.by_items(self.live),
            positions.by_items(self.saved),
        )

    def _structure(self) -> dict[int, int]:
        found: dict[int, int] = {}
        if any(one.kinds for one in self.saved.leaves):
            look = evidence.with_kinds(self._place(self.live.leaves, self.saved.leaves))
            found = self._where_placed(self._order(self._looks(look)))
            self._carry_out(found, "")
        # First what both sides hold under one name, such as two models in one checkpoint.
        parts = [
            tuple(
                [one for one in side.leaves if one.around == around]
                for side in (self.live, self.saved)
            )
            for around in self._common_surroundings()
        ]
        for sides in [*parts, *roots.alike(self.live, self.saved)]:
            found |= self._where_placed(self._order(self._looks(self._place(*sides)), *sides))
        self._carry_out(found, "")
        rest = self._order(self._looks(self._place(self.live.leaves, self.saved.leaves)))
        for number in found:
            # They only had to separate others.
            del self.pairs[number]
        return self._without_contradicted(found | self._where_placed(rest))

    def _where_placed(self, pairs: Mapping[int, int]) -> dict[int, int]:
        leaves = self.live.leaves
        return {one: other for one, other in pairs.items() if self._is_placed(leaves[one])}

    def _without_contradicted(self, pairs: Mapping[int, int]) -> dict[int, int]:
        """Leave out what looks alike where the words of given names contradict the places."""
        live = [leaf for leaf in self.live.leaves if leaf.is_named and leaf.number in pairs]
        others = set(pairs.values())
        saved = [leaf for leaf in self.saved.leaves if leaf.is_named and leaf.number in others]
        looks = self._looks()
        by_words = words.by_words(*self._inside(live, saved), looks)
        moved = {looks[0][number] for number, other in by_words.items() if pairs[number] != other}
        kept = {one: other for one, other in pairs.items() if looks[0].get(one) not in moved}
        return self._by_last_name(kept)

    def _by_last_name(self, pairs: Mapping[int, int]) -> dict[int, int]:
        """Leave out pairs of other last names, if both sides have one of these names.

        Groups may have layers of the same names. Then no whole name and no words tell the group.
        """
        live, saved = self.live.leaves, self.saved.leaves
        strangers = kinship.strangers([(live[one], saved[o]) for one, o in pairs.items()])
        return {one: other for one, other in pairs.items() if one not in strangers}

    def _propose_places(self) -> None:
        """Propose what only places say, if proposals say that layers have moved."""
        live, saved = self.live.leaves, self.saved.leaves
        together = {**self.pairs, **self.proposals}
        if not self.saved.ordered or evidence.in_order(together, live, saved):
            return
        if not evidence.in_order(self.pairs, live, saved):
            return
        lonely = evidence.lonely(live, saved)
        for number in [n for n, reason in self.reasons.items() if reason == _PLACED]:
            if number in self.pairs and number not in lonely:
                self.proposals[number] = self.pairs.pop(number)

    def _common_surroundings(self) -> list[Chain]:
        sides = [
            dict.fromkeys(one.around for one in side.leaves if not one.is_named and one.around)
            for side in (self.live, self.saved)
        ]
        return [around for around in sides[0] if around in sides[1]]

    def _place(self, live: Sequence[Leaf], saved: Sequence[Leaf]) -> evidence.Look:
        # A file may lead to some layers by attributes, and list others that have attributes here.
        partners = {other: number for number, other in self.pairs.items()}
        held_there = [self._is_held(one, self.pairs, self.saved) for one in live]
        held_here = [self._is_held(one, partners, self.live) for one in saved]
        same_size = held_there.count(False) == held_here.count(False)
        # A list of variables has no structure: a name is all that it says of a layer.
        is_listed = any(one.listed for one in saved)

        def look(leaf: Leaf, called: Hashable) -> Hashable:
            if leaf.tail is None:
                return None
            # Where layers came or went, only layers without a name of their own keep places.
            if leaf.is_named and not leaf.by_attribute and not same_size:
                return None
            return leaf.signature, called, leaf.tail, is_listed and leaf.is_named

        return look

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
        if self.live.alphabetical:
            looks = roots.without_shared(mine, looks)
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

    def _looks(self, look: evidence.Look | None = None) -> evidence.Looks:
        """Return what the leaves that are left look like, where order may tell more."""
        look = look or _look
        sides = self._free()
        if not all(sides):
            return {}, {}
        counts = [
            Counter((called[one.number].name, one.signature) for one in side)
            for side, called in zip(sides, self.called, strict=True)
        ]
        found: tuple[dict[int, Hashable], ...] = {}, {}
        for side, called, looks in zip(sides, self.called, found, strict=True):
            for one in side:
                alike = called[one.number].name, one.signature
                # Of those that people called alike, some came or went.
                is_clear = alike[0] is None or counts[0][alike] == counts[1][alike]
                is_open = looks is found[1] or self._is_open(one)
                if is_clear and is_open and (known := look(one, called[one.number])) is not None:
                    looks[one.number] = known
        mine, theirs = (
            evidence.groups(side, looks) for side, looks in zip(sides, found, strict=True)
        )
        hidden = {
            known
            for known, some in mine.items()
            if known in theirs and kinship.hides_names(some, theirs[known])
        }
        return {one: known for one, known in found[0].items() if known not in hidden}, found[1]

    def _is_open(self, leaf: Leaf) -> bool:
        """Return whether order may say something about a leaf of the target."""
        return leaf.number not in self.conflicts and not self.disputed(leaf)

    def _is_placed(self, leaf: Leaf) -> bool:
        """Return whether the positions in lists say something about a leaf of the target."""
        return self._is_open(leaf) and not self.displaced(leaf)

    def _is_moved(self, leaf: Leaf) -> bool:
        return self.disputed(leaf) or self.displaced(leaf)

    def _inside(
        self, live: Sequence[Leaf], saved: Sequence[Leaf]
    ) -> tuple[Sequence[Leaf], Sequence[Leaf]]:
        mine, theirs = self.inside
        return [mine[one.number] for one in live], [theirs[one.number] for one in saved]

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
        if not live or not saved:
            return {}
        mine, theirs = self.called
        looks = {one.number: _look(one, theirs[one.number].kin) for one in saved}
        alike = evidence.groups(saved, looks)
        found = {}
        for one in live:
            others = [other.number for other in alike.get(_look(one, mine[one.number].kin), ())]
            if others:
                found[one.number] = others[:_MOST_ALTERNATIVES]
        return found


def _look(leaf: Leaf, called: Hashable) -> Hashable:
    """Return what a leaf has in common with those that it may be paired with by order."""
    return leaf.signature, called


def _has_position(leaf: Leaf) -> bool:
    """Return whether the chain of a leaf says a position in a list."""
    return any(label.startswith("#") for label in leaf.named)
