"""Find the moving averages of variables in a checkpoint. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from tfpersist.errors import SelectionError, did_you_mean
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.sides.naming import splits
from tfpersist.matching.sides.object_graph import ATTRIBUTES

_MOST_SHOWN = 5


def shadows_in(
    specs: Mapping[str, TensorSpec],
    averages: object,
    entries: Sequence[Entry],
    places: Mapping[str, Sequence[str]],
) -> dict[str, str]:
    """Return the keys of the moving averages, by the keys of their variables.

    An average has one of the keys in `places`. If it was made under a variable scope, it has the
    only key that ends so: "train/net/w/ExponentialMovingAverage" is the average of "net/w".

    Args:
        specs: the specs of the checkpoint's tensors, by key.
        averages: the argument of the user.
        entries: the variables, under their keys in the checkpoint.
        places: for each key, the possible keys of its average, the most likely first.

    Returns:
        {key of a variable: key of its average}; variables without an average are left out.

    Raises:
        SelectionError: no variable has an average.

    Example:
        >>> spec = TensorSpec("float32", (2,))
        >>> w = Entry("net/w", "net/w", spec)
        >>> shadows_in({"net/w": spec, "t/net/w/a": spec}, "a", [w], {"net/w": ["net/w/a"]})
        {'net/w': 't/net/w/a'}
    """
    shadows: dict[str, str] = {}
    waiting: dict[str, Entry] = {}
    for entry in entries:
        places_of = places.get(entry.key, ())
        shadow = next(filter(specs.__contains__, places_of), None)
        if shadow is not None:
            shadows[entry.key] = shadow
        else:
            waiting.update({place: entry for place in places_of if _is_below(place, entry.key)})
    shadows.update(_under_scopes(specs, waiting, set(shadows.values())) if waiting else ())
    if not shadows and entries:
        raise _no_average(specs, averages)
    return shadows


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


def _no_average(specs: Mapping[str, TensorSpec], averages: object) -> SelectionError:
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
        advice = "The variables of only() have no averages: leave averages() out."
    elif suffix and known:
        advice = did_you_mean(str(suffix), known)
    else:
        advice = "Leave averages() out to restore the variables themselves."
    return SelectionError(
        f"averages({suffix!r}) finds no moving average of the selected variables",
        found=f"keys below variables that end in {ends}" if known else None,
        advice=advice,
    )
