"""Find the variables of a known model in the checkpoint of its twin from another library. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import attrs

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.forms.maps import inception, mobilenet, resnet
from tfpersist.matching.forms.maps.bert import ALBERT, BERT
from tfpersist.matching.forms.maps.model_map import ModelMap, Series
from tfpersist.matching.forms.maps.t2t import T2T
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.recipes.recipe import Recipe
from tfpersist.matching.recipes.recipe_steps import Pad, Reshape, Slice, Step

MAPS = (
    *(BERT, ALBERT, mobilenet.V1, mobilenet.V2),
    *(resnet.V1, resnet.V2, inception.V3, inception.RESNET_V2, T2T),
)
# A name from a file may have thousands of parts.
_DEEPEST = 16


@attrs.frozen
class Known:
    """The tensor of a variable by a map.

    Args:
        key: the key of the tensor; empty if there is none, as the models are no twins.
        recipe: how the value is made of it; None if it is the tensor as it is.
        reason: which map says so; or why nothing is made, if `refused`.
        caveat: what differs between both models though their tensors are the same.
        refused: whether the models are no twins.
    """

    key: str
    recipe: Recipe | None
    reason: str
    caveat: str = ""
    refused: bool = False


@attrs.frozen
class _Source:
    """A tensor of the checkpoint, by which rule it is the source of a variable, and how."""

    key: str
    rule: int
    zeros: bool = False


# {name in the target: what it is}, by scope.
_Saved = dict[str, dict[str, _Source]]
_Live = dict[str, dict[str, int]]


def known(
    entries: Sequence[Entry], names: Mapping[str, str], specs: Mapping[str, TensorSpec]
) -> dict[int, Known]:
    """Return the tensors of variables by the maps, if both sides are models of one map.

    Args:
        entries: the variables.
        names: the names of the tensors of the checkpoint, by key.
        specs: their specs, by key.

    Returns:
        The tensors, by the places of the variables. A variable whose tensor has another number of
        elements is left out.
    """
    for model_map in MAPS:
        if any(model_map.anchor in name for name in names.values()):
            found = _mapped(model_map, entries, names, specs)
            if found:
                return found
    return {}


def _mapped(
    model_map: ModelMap,
    entries: Sequence[Entry],
    names: Mapping[str, str],
    specs: Mapping[str, TensorSpec],
) -> dict[int, Known]:
    """Return what a map says; nothing if it is another model, or one of several."""
    saved = _saved(model_map, names)
    live = _live(model_map, entries, {name for pairs in saved.values() for name in pairs})
    needed = set(range(len(model_map.rules)))
    found = []
    for mine in live.values():
        for theirs in saved.values():
            pairs = {mine[name]: theirs[name] for name in mine if name in theirs}
            if needed <= {one.rule for one in pairs.values()}:
                numbered = _numbered(model_map, mine, theirs, entries, specs)
                if numbered is not None:
                    found.append((pairs | numbered, mine, _refusal(model_map, mine, theirs)))
    if len(found) != 1:
        return {}
    pairs, mine, refusal = found[0]
    if refusal:
        # Words would pair a block that the checkpoint lacks with another one.
        places = {**dict.fromkeys(mine.values(), ""), **{at: one.key for at, one in pairs.items()}}
        return {at: Known(key, None, refusal, refused=True) for at, key in places.items()}
    return dict(_fitting(model_map, pairs, entries, specs))


def _saved(model_map: ModelMap, names: Mapping[str, str]) -> _Saved:
    """Return what each tensor of the checkpoint is called in the target, by its scope."""
    tables = (model_map.rules, model_map.optional, model_map.zeros)
    rules = [
        (re.compile(pattern), template, table is model_map.zeros)
        for table in tables
        for pattern, template in table.items()
    ]
    exact = {
        f"{scope}/{theirs}": _nth(series, at, mine)
        for series in model_map.series
        for at, scope in enumerate(series.scopes)
        for theirs, mine in series.tensors.items()
    }
    saved: _Saved = {}
    for key, name in names.items():
        for scope, rest in _ends(name):
            if rest in exact:
                saved.setdefault(scope, {})[exact[rest]] = _Source(key, len(rules))
            for number, (pattern, template, zeros) in enumerate(rules):
                match = pattern.fullmatch(rest)
                if match:
                    source = _Source(key, number, zeros)
                    saved.setdefault(scope, {})[match.expand(template)] = source
    return saved


def _live(model_map: ModelMap, entries: Sequence[Entry], wanted: set[str]) -> _Live:
    """Return the places of the variables that may be those of the map, by scope and name."""
    patterns = [
        rf"{series.layer}(?:_[0-9]+)?/(?:{'|'.join((*series.tensors.values(), *series.zeros))})"
        for series in model_map.series
    ]
    further = list(map(re.compile, (*patterns, *model_map.stages)))
    live: _Live = {}
    for at, entry in enumerate(entries):
        for scope, rest in _ends(entry.name):
            if rest in wanted or any(one.fullmatch(rest) for one in further):
                live.setdefault(scope, {})[rest] = at
    return live


def _nth(series: Series, at: int, tensor: str) -> str:
    """Return a name for a tensor of a numbered layer that no variable has."""
    return f"{series.layer}#{at}/{tensor}"


def _numbered(
    model_map: ModelMap,
    mine: Mapping[str, int],
    theirs: Mapping[str, _Source],
    entries: Sequence[Entry],
    specs: Mapping[str, TensorSpec],
) -> dict[int, _Source] | None:
    """Return the pairs of all layers that only have numbers; None if the models are others."""
    pairs: dict[int, _Source] = {}
    lengths = set()
    for series in model_map.series:
        length, found = _in_order(series, mine, theirs, entries, specs)
        pairs |= found
        if not series.optional:
            lengths.add(length)
    differ = len(lengths) > 1 or 0 in lengths
    return None if differ or (model_map.series and not pairs) else pairs


def _in_order(
    series: Series,
    mine: Mapping[str, int],
    theirs: Mapping[str, _Source],
    entries: Sequence[Entry],
    specs: Mapping[str, TensorSpec],
) -> tuple[int, dict[int, _Source]]:
    """Return how many layers of a kind there are, and their pairs, if one first number fits."""
    layer = re.compile(rf"{series.layer}(?:_([0-9]+))?/.*")
    numbers = sorted({int(m[1] or 0) for m in map(layer.fullmatch, mine) if m})
    tensors = tuple(dict.fromkeys(series.tensors.values()))
    present = _run(
        [at for at in range(len(series.scopes)) if _nth(series, at, tensors[0]) in theirs], 0
    )
    found = []
    for start in numbers if present else ():
        length = min(_run(numbers, start), present)
        # A model that ends early has the first layers of the other, and no other such layers.
        ends_early = series.least is not None and series.least <= length == len(numbers)
        if length < present and not ends_early:
            continue
        pairs: dict[int, _Source] = {}
        for at in range(length):
            label = f"{series.layer}_{start + at}" if start + at else series.layer
            for tensor in tensors:
                place, source = mine.get(f"{label}/{tensor}"), theirs.get(_nth(series, at, tensor))
                if place is None or source is None:
                    continue
                if _is_fitting(entries[place].wanted, specs[source.key]):
                    pairs[place] = source
        if len(pairs) == length * len(tensors):
            found.append((start, length, pairs))
    if len(found) != 1:
        return 0, {}
    start, length, pairs = found[0]
    for at in range(length):
        label = f"{series.layer}_{start + at}" if start + at else series.layer
        key = theirs[_nth(series, at, tensors[0])].key
        for tensor in series.zeros:
            if f"{label}/{tensor}" in mine:
                pairs[mine[f"{label}/{tensor}"]] = _Source(key, -1, zeros=True)
    return length, pairs


def _is_fitting(wanted: TensorSpec, spec: TensorSpec) -> bool:
    """Return whether a tensor fits, if need be with heads as an axis of their own."""
    if wanted.accepts(spec):
        return True
    ranks = len(wanted.known_shape), len(spec.known_shape)
    is_reshaped = ranks[0] != ranks[1] and wanted.elements == spec.elements
    return is_reshaped and wanted.dtype == spec.dtype


def _run(numbers: Sequence[int], start: int) -> int:
    """Return how many numbers follow each other from one on."""
    known, stop = set(numbers), start
    while stop in known:
        stop += 1
    return stop - start


def _refusal(model_map: ModelMap, mine: Mapping[str, int], theirs: Mapping[str, _Source]) -> str:
    """Return why the models are no twins though their names are; empty if they are."""
    counts = [(_blocks(stage, mine), _blocks(stage, theirs)) for stage in model_map.stages]
    for at, (here, there) in enumerate(counts):
        goes_on = any(later for later, _ in counts[at + 1 :])
        if here > there or (here < there and goes_on):
            return (
                f"{model_map.title}: the model has {here} blocks where the checkpoint has {there}"
                f" (stage {at + 1})"
            )
    return ""


def _blocks(stage: str, names: Mapping[str, object]) -> int:
    matches = filter(None, (re.fullmatch(stage, name) for name in names))
    return max((int(match[1]) for match in matches), default=0)


def _ends(name: str) -> Iterator[tuple[str, str]]:
    """Yield the ways to split a name into a scope and a name below it."""
    labels = name.removesuffix(":0").split("/")
    for at in range(min(len(labels), _DEEPEST)):
        yield "/".join(labels[:at]), "/".join(labels[at:])


def _fitting(
    model_map: ModelMap,
    pairs: Mapping[int, _Source],
    entries: Sequence[Entry],
    specs: Mapping[str, TensorSpec],
) -> Iterator[tuple[int, Known]]:
    title, caveat = model_map.title, model_map.caveat
    for at, source in pairs.items():
        key, wanted, spec = source.key, entries[at].wanted, specs[source.key]
        size = wanted.elements
        if source.zeros:
            if size is not None and wanted.dtype == spec.dtype:
                steps: tuple[Step, ...] = (Slice(0, 0, 0), Pad(0, 0, size))
                if len(wanted.known_shape) != 1:
                    steps = (*steps, Reshape(wanted.known_shape))
                reason = f"{title}; zeros, as it has none"
                yield at, Known(key, Recipe((key,), steps), reason, caveat)
        elif wanted.accepts(spec):
            yield at, Known(key, None, title, caveat)
        elif size is not None and size == spec.elements and wanted.dtype == spec.dtype:
            recipe = Recipe((key,), (Reshape(wanted.known_shape),))
            yield at, Known(key, recipe, f"{title}; reshaped", caveat)
