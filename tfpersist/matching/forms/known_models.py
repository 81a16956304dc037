"""Find the variables of a known model in the checkpoint of its twin from another library. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import attrs

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.forms.maps import mobilenet
from tfpersist.matching.forms.maps.bert import ALBERT, BERT
from tfpersist.matching.forms.maps.model_map import ModelMap
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.recipes.recipe import Recipe
from tfpersist.matching.recipes.recipe_steps import Reshape

MAPS = (BERT, ALBERT, mobilenet.V1, mobilenet.V2)
# A name from a file may have thousands of parts.
_DEEPEST = 16


@attrs.frozen
class Known:
    """The tensor of a variable by a map.

    Args:
        key: the key of the tensor.
        recipe: how the value is made of it; None if it is the tensor as it is.
        reason: which map says so.
    """

    key: str
    recipe: Recipe | None
    reason: str


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
            found = _mapped(model_map, entries, names)
            if found:
                return dict(_fitting(model_map, found, entries, specs))
    return {}


def _mapped(
    model_map: ModelMap, entries: Sequence[Entry], names: Mapping[str, str]
) -> dict[int, str]:
    """Return {place of a variable: key}; empty if it is another model, or one of several."""
    rules = [
        (re.compile(pattern), template)
        for pattern, template in (*model_map.rules.items(), *model_map.optional.items())
    ]
    saved: dict[str, dict[str, tuple[str, int]]] = {}
    for key, name in names.items():
        for scope, rest in _ends(name):
            for number, (pattern, template) in enumerate(rules):
                match = pattern.fullmatch(rest)
                if match:
                    saved.setdefault(scope, {})[match.expand(template)] = key, number
    live: dict[str, dict[str, int]] = {}
    wanted = {name for pairs in saved.values() for name in pairs}
    for at, entry in enumerate(entries):
        for scope, rest in _ends(entry.name):
            if rest in wanted:
                live.setdefault(scope, {})[rest] = at
    needed = set(range(len(model_map.rules)))
    found = [
        {mine[name]: theirs[name][0] for name in mine if name in theirs}
        for mine in live.values()
        for theirs in saved.values()
        if needed <= {theirs[name][1] for name in mine if name in theirs}
    ]
    return found[0] if len(found) == 1 else {}


def _ends(name: str) -> Iterator[tuple[str, str]]:
    """Yield the ways to split a name into a scope and a name below it."""
    labels = name.removesuffix(":0").split("/")
    for at in range(min(len(labels), _DEEPEST)):
        yield "/".join(labels[:at]), "/".join(labels[at:])


def _fitting(
    model_map: ModelMap,
    found: Mapping[int, str],
    entries: Sequence[Entry],
    specs: Mapping[str, TensorSpec],
) -> Iterator[tuple[int, Known]]:
    for at, key in found.items():
        wanted, spec = entries[at].wanted, specs[key]
        if wanted.accepts(spec):
            yield at, Known(key, None, model_map.title)
            continue
        size = wanted.elements
        if size is not None and size == spec.elements and wanted.dtype == spec.dtype:
            recipe = Recipe((key,), (Reshape(wanted.known_shape),))
            yield at, Known(key, recipe, f"{model_map.title}; reshaped")
