"""Where a checkpoint keeps the moving averages of variables. Pure, no TensorFlow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from tfpersist.errors import SelectionError, did_you_mean
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.naming import splits
from tfpersist.matching.object_graph import ATTRIBUTES
from tfpersist.matching.plan import Entry

_MOST_SHOWN = 5


def shadows_in(
    specs: Mapping[str, TensorSpec],
    averages: object,
    entries: Sequence[Entry],
    places: Mapping[str, Sequence[str]],
) -> dict[str, str]:
    """Find the average of each variable that has one.

    It stands in its place; or, where the average was made under a variable scope, in the only place
    that ends alike: "train/net/w/ExponentialMovingAverage" is that of "net/w".

    Args:
        specs: what the checkpoint holds.
        averages: what the user asked for.
        entries: the variables, keyed as the checkpoint calls them.
        places: by key, the keys where the average may stand, the likeliest first.

    Returns:
        By key of a variable, the key of its average.

    Raises:
        SelectionError: none of them has one.

    Example:
        >>> spec = TensorSpec("float32", (2,))
        >>> w = Entry("net/w", "net/w", spec)
        >>> shadows_in({"net/w": spec, "t/net/w/a": spec}, "a", [w], {"net/w": ["net/w/a"]})
        {'net/w': 't/net/w/a'}
    """
    found, waiting = {}, {}
    for entry in entries:
        places_of = places.get(entry.key, ())
        shadow = next(filter(specs.__contains__, places_of), None)
        if shadow is not None:
            found[entry.key] = shadow
        else:
            waiting.update({place: entry for place in places_of if _is_below(place, entry.key)})
    found.update(_under_scopes(specs, waiting, set(found.values())) if waiting else ())
    if not found and entries:
        raise _none(specs, averages)
    return found


def _under_scopes(
    specs: Mapping[str, TensorSpec], waiting: Mapping[str, Entry], used: Collection[str]
) -> dict[str, str]:
    candidates: dict[str, list[str]] = {}
    for key in specs:
        ending = next((end for _, end in splits(key) if end in waiting), None)
        if ending is None or key in used:
            continue
        entry = waiting[ending]
        owner = key.removesuffix(ending) + entry.key
        if owner not in specs and entry.wanted.accepts(specs[key]):
            candidates.setdefault(entry.key, []).append(key)
    return {key: places[0] for key, places in candidates.items() if len(places) == 1}


def _is_below(place: str, key: str) -> bool:
    return place.startswith(f"{key}/") and not place.endswith("/")


def _none(specs: Mapping[str, TensorSpec], averages: object) -> SelectionError:
    suffix = averages if isinstance(averages, str) else getattr(averages, "name", None)
    names = {key.partition(ATTRIBUTES)[0] for key in specs}
    counts: Counter[str] = Counter()
    for name in names:
        owner, _, last = name.rpartition("/")
        if any(end in names for _, end in splits(owner)):
            counts[last] += 1
    known = sorted(counts, key=lambda last: (-counts[last], last))
    ends = ", ".join(map(repr, known[:_MOST_SHOWN]))
    if suffix in known:
        advice = "What only() takes has none: leave averages() out."
    elif suffix and known:
        advice = did_you_mean(str(suffix), known)
    else:
        advice = "Leave averages() out to restore the variables themselves."
    return SelectionError(
        f"averages({suffix!r}) finds no moving average of what is selected",
        found=f"below variables there are keys that end in {ends}" if known else None,
        advice=advice,
    )
