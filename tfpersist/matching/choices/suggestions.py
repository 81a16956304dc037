"""Suggest what a user may say about variables without a tensor: a rename, or a choice. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tfpersist.errors import printable
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.fit import Missing
from tfpersist.matching.sides.facts import natural

_MOST_SHOWN = 1

# Advice for a restore that lacks nothing else.
ONLY_SLOTS = (
    "Only slots of an optimizer are missing: initialize them, and restore the other variables with"
    " .only([...])."
)


def suggested(
    missing: Sequence[Missing], specs: Mapping[str, TensorSpec], entries: Sequence[Entry] = ()
) -> dict[str, str]:
    """Return the proposals for missing variables as the argument of `rename`.

    Slots of optimizers are left out: they follow their variables.

    Args:
        missing: the variables.
        specs: the specs of the checkpoint's tensors, by key.
        entries: all variables, if others have a name too that a missing one has.

    Returns:
        {key: name of a variable}. A variable whose name is not its own has a longer one.

    Example:
        >>> spec = TensorSpec("float32", (2,))
        >>> entry = Entry("w", "net/w", spec, proposal=("model/w", "same name"))
        >>> suggested([Missing("w", entry)], {"model/w": spec})
        {'model/w': 'net/w'}
    """
    if not missing:
        return {}
    names = Counter(entry.name for entry in entries or [one.entry for one in missing])
    pairs = {}
    for one in missing:
        entry = one.entry
        if entry.proposal is None or entry.slot is not None or entry.proposal[0] not in specs:
            continue
        is_own = names[entry.name] == 1
        pairs[entry.proposal[0]] = entry.name if is_own else next(iter(entry.aliases), entry.key)
    return {key: pairs[key] for key in sorted(pairs, key=natural)}


def advice_on(missing: Sequence[Missing], suggestion: Mapping[str, str]) -> str:
    """Return advice on missing variables; empty if there is none.

    Args:
        missing: the variables.
        suggestion: the proposals for them.

    Example:
        >>> spec = TensorSpec("float32", (2,))
        >>> entry = Entry("net/w", "net/w", spec, proposal=("w", "same name"))
        >>> advice_on([Missing("net/w", entry)], {"w": "net/w"})
        'The names differ in their beginning: .rename({"": "net/"}) finds 1 of the 1 missing.'
    """
    if not missing:
        return ""
    if all(one.entry.slot for one in missing):
        return ONLY_SLOTS
    parts = [_on_proposals(missing, suggestion), _on_alternatives(missing), _on_conflicts(missing)]
    return "\n".join(filter(None, parts))


def _on_proposals(missing: Sequence[Missing], suggestion: Mapping[str, str]) -> str:
    if not suggestion:
        return ""
    prefixes = {_prefixes(key, name) for key, name in suggestion.items()}
    keyed = {one.entry.key for one in missing}
    if len(prefixes) == 1 and set(suggestion.values()) <= keyed:
        there, here = (printable(part).replace('"', '\\"') for part in prefixes.pop())
        return (
            f'The names differ in their beginning: .rename({{"{there}": "{here}"}}) finds'
            f" {len(suggestion)} of the {len(missing)} missing."
        )
    pairs = list(suggestion.items())[:_MOST_SHOWN]
    shown = [f"{printable(key)} -> {printable(name)}" for key, name in pairs]
    more = len(suggestion) - len(shown)
    text = ", ".join(shown) + (f" and {more} more" if more else "")
    reasons = Counter(one.entry.proposal[1] for one in missing if one.entry.proposal)
    by = ", ".join(reason for reason, _ in sorted(reasons.items()))
    return (
        f"By other evidence ({by}), {len(suggestion)} of the {len(missing)} missing would be:"
        f" {text}.\nLook at the report's `suggestion`, {{key: variable}}; give it to .rename() if"
        " it is right."
    )


def _prefixes(key: str, name: str) -> tuple[str, str]:
    """Return the beginnings in which a key and a name differ."""
    mine, theirs = f"/{key}".split("/"), f"/{name}".split("/")
    common = 0
    while common < min(len(mine), len(theirs)) - 1 and mine[-1 - common] == theirs[-1 - common]:
        common += 1
    end = "/".join(mine[len(mine) - common :])
    return key.removesuffix(end), name.removesuffix(end)


def _on_alternatives(missing: Sequence[Missing]) -> str:
    open_ones = [one for one in missing if one.entry.alternatives]
    if not open_ones:
        return ""
    entry = open_ones[0].entry
    others = " or ".join(map(printable, entry.alternatives))
    more = f" And so for {len(open_ones) - 1} more." if len(open_ones) > 1 else ""
    return (
        f"{printable(entry.name)} may be {others}: nothing tells which. Say it with"
        f" .rename().{more}"
    )


def _on_conflicts(missing: Sequence[Missing]) -> str:
    for one in missing:
        if one.entry.conflict:
            return (
                f"The name and the attribute of {printable(one.entry.name)} contradict: it is"
                f" {printable(one.entry.conflict)}. Say which is meant with"
                " .rename()."
            )
    return ""
