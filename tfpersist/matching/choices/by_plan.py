"""Find the variables of a target that a plan means. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from tfpersist.errors import SelectionError, did_you_mean
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.choices.entry_index import EntryIndex
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.plan import Pair, Plan
from tfpersist.matching.sides.facts import is_automatic
from tfpersist.matching.sides.naming import completed


def keys_of(
    plan: Plan, entries: Sequence[Entry], specs: Mapping[str, TensorSpec]
) -> dict[int, str]:
    """Return the keys that a plan gives to variables, by the identity of the variable.

    Args:
        plan: the plan.
        entries: the variables, under the keys of a save. Variables that do not exist yet, such as
            those of an optimizer that is not built, may be left out.
        specs: the specs of the checkpoint's tensors, by key.

    Example:
        >>> w, spec = object(), TensorSpec("float32", ())
        >>> keys_of(Plan((Pair("w", "old"),)), [Entry("w", "w", spec, w)], {"old": spec})[id(w)]
        'old'
    """
    index = EntryIndex(entries)
    return {
        id(entries[at].ref): completed(pair.key, entries[at].key, specs)
        for pair in plan
        if pair.key is not None
        for at in _positions(index, pair)
    }


def as_said(plan: Plan, entries: Sequence[Entry], specs: Mapping[str, TensorSpec]) -> list[Entry]:
    """Return the variables under the keys that a plan says; the others as they are.

    Args:
        plan: the plan.
        entries: all variables of the target, under the keys that evidence gives them.
        specs: the specs of the checkpoint's tensors, by key.

    Raises:
        SelectionError: the plan names a variable that does not exist, or one twice; or the name of
            a pair means several variables, or another one than its path.

    Example:
        >>> plan, spec = Plan((Pair("w", "old"),)), TensorSpec("float32", ())
        >>> [entry.key for entry in as_said(plan, [Entry("w", "w", spec)], {"old": spec})]
        ['old']
    """
    index = EntryIndex(entries)
    pairs: dict[int, Pair] = {}
    for pair in plan:
        positions = _positions(index, pair)
        if not positions:
            raise SelectionError(
                f"the plan names a variable that this target does not have: {pair.variable!r}",
                advice=did_you_mean(pair.variable, index.names),
            )
        if len({entries[at].key for at in positions}) > 1:
            paths = " or ".join(e.aliases[0] for at in positions if (e := entries[at]).aliases)
            raise SelectionError(
                f"the target has {len(positions)} variables named {pair.variable!r}",
                advice=f"Give the pair a path: {paths}." if paths else None,
            )
        for at in positions:
            if pairs.setdefault(at, pair) is not pair:
                raise SelectionError(f"the plan has two pairs for {entries[at].name!r}")
    return [_said(entry, pairs.get(at), specs) for at, entry in enumerate(entries)]


def _said(entry: Entry, pair: Pair | None, specs: Mapping[str, TensorSpec]) -> Entry:
    if pair is None or not (pair.keep or pair.key or pair.recipe):
        return entry
    key = entry.key
    if pair.recipe is not None:
        key = pair.recipe.keys[0]
    elif pair.key is not None:
        key = completed(pair.key, entry.key, specs)
    return attrs.evolve(
        entry.under(key),
        reason=pair.reason or "as the plan says",
        proposal=None,
        alternatives=(),
        conflict="",
        recipe=pair.recipe,
        said=True,
        kept=pair.keep,
    )


def _positions(index: EntryIndex, pair: Pair) -> Sequence[int]:
    """Return the entries that a pair means: by its path, if it has one that the target knows."""
    by_name = index.by_text.get(pair.variable, ())
    by_path = [
        at
        for at in index.by_text.get(pair.path, ())
        if pair.path and pair.path in index.entries[at].aliases
    ]
    named = {at for at in by_name if index.entries[at].name == pair.variable}
    is_given = not any(map(is_automatic, pair.variable.split("/")))
    if by_path and named and is_given and not named & set(by_path):
        raise SelectionError(
            "the name and the path of a pair of the plan mean two variables",
            where=pair.variable,
            expected=f"the variable at {pair.path}",
            found=f"{index.entries[by_path[0]].name} there",
            advice="Make the plan again for this model, or leave the path out.",
        )
    return by_path or by_name
