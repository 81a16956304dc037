"""Pair variables that have names with the keys of a checkpoint, or propose pairs. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import attrs

from tfpersist.matching.pairing.fate import Fate, pair_tensors
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.sides import name_facts
from tfpersist.matching.sides.facts import Side


def keyed(entries: Sequence[Entry], saved: Saved) -> list[Entry]:
    """Return variables under the keys that their names have in a checkpoint.

    Only equal names count. What other evidence there is becomes a proposal.

    Args:
        entries: the variables of a session, or arrays, under their names.
        saved: the checkpoint.

    Example:
        >>> from tfpersist.formats.tensors import TensorSpec
        >>> spec = TensorSpec("float32", (2,))
        >>> entry, = keyed([Entry("a/x/w", "a/x/w", spec)], Saved({"x/w": spec}))
        >>> entry.key, entry.proposal
        ('a/x/w', ('x/w', 'same name'))
    """
    names = _keys_of_names(saved)
    named = [entry.under(names.get(entry.key) or entry.key) for entry in entries]
    missing = [at for at, entry in enumerate(named) if entry.key not in saved.specs]
    if not any(entries[at].default and entries[at].slot is None for at in missing):
        return named
    live = name_facts.side_of(
        (
            (at, entry.key, entry.wanted)
            for at, entry in enumerate(entries)
            if entry.slot is None and entry.part is None
        ),
        ordered=True,
    )
    fixed: dict[Hashable, Hashable] = {
        at: entry.key for at, entry in enumerate(named) if entry.key in saved.specs
    }
    fates = saved.pair_names(live, fixed) if saved.message is None else _fates(live, saved, fixed)
    for at in missing:
        fate = fates.get(at, Fate())
        proposal = (fate.source, fate.reason) if fate.reason else fate.proposal
        if proposal is not None and proposal[0] in saved.specs:
            named[at] = attrs.evolve(named[at], proposal=(str(proposal[0]), proposal[1]))
        else:
            others = tuple(str(other) for other in fate.alternatives)
            named[at] = attrs.evolve(named[at], alternatives=others)
    return named


def _keys_of_names(saved: Saved) -> dict[str, str | None]:
    """Return the keys by the full names of variables; None for a name that several have."""
    keys: dict[str, str | None] = {}
    for node in saved.message.nodes if saved.message is not None else ():
        for attribute in node.attributes:
            key = keys.setdefault(attribute.full_name, attribute.checkpoint_key)
            if key != attribute.checkpoint_key:
                keys[attribute.full_name] = None
    return keys


def _fates(live: Side, saved: Saved, fixed: Mapping[Hashable, Hashable]) -> Mapping[Hashable, Fate]:
    """Pair with the objects of a checkpoint, whose tensors are called by their keys."""
    side = saved.objects.side
    leaves = [
        attrs.evolve(
            leaf,
            members={
                role: attrs.evolve(member, id=saved.key_of(member.id))
                for role, member in leaf.members.items()
                if isinstance(member.id, int)
            },
        )
        for leaf in side.leaves
    ]
    theirs = attrs.evolve(side, leaves=leaves)
    return pair_tensors(live, theirs, fixed)
