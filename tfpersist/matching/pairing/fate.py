"""Decide from the evidence of a layer what each of its tensors gets. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import attrs

from tfpersist.matching.pairing import engine, evidence
from tfpersist.matching.sides.facts import Leaf, Side


@attrs.frozen
class Fate:
    """The decision on one tensor of a target.

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


def fates(live: Side, saved: Side, pairing: engine.Pairing) -> dict[Hashable, Fate]:
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
    return fates(live, saved, engine.pair(live, saved, fixed_leaves(live, saved, fixed)))
