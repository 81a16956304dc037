"""Suggest tensors for variables with quite different names. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from tfpersist.errors import printable
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.naming import slot_of
from tfpersist.matching.object_graph import ATTRIBUTES
from tfpersist.matching.plan import Missing

# Different names that TensorFlow's layer libraries use for the same thing.
_ROLES = {
    **dict.fromkeys(("w", "weight", "weights", "filter", "filters", "kernels"), "kernel"),
    **dict.fromkeys(("b", "biases"), "bias"),
    **dict.fromkeys(("scale",), "gamma"),
    **dict.fromkeys(("offset",), "beta"),
    **dict.fromkeys(("moving_mean", "running_mean"), "mean"),
    **dict.fromkeys(("moving_variance", "running_var", "moving_var"), "variance"),
    **dict.fromkeys(("embedding", "embedding_table"), "embeddings"),
}
_MOST_SHOWN = 3
_T = TypeVar("_T")


def suggested(
    missing: Sequence[Missing], specs: Mapping[str, TensorSpec], unused: Sequence[str]
) -> dict[str, str]:
    """Pair missing variables with unused tensors by type, shape, last name and order.

    Variables are in the order of the target. Keys are sorted by name, with numbers compared as
    numbers. Among variables and tensors of one type and shape, those of one last name are paired if
    both sides have equally many. If then one last name is left on each side, these are paired too.

    Args:
        missing: the variables, in the order of the target.
        specs: the specs of the checkpoint's tensors, by key.
        unused: the keys of the checkpoint that belong to no variable.

    Returns:
        {key: variable} for `rename`, without optimizer slots.

    Example:
        >>> from tfpersist.matching.plan import Entry
        >>> spec = TensorSpec("float32", (2,))
        >>> entries = [Entry(name, name, spec) for name in ("first/kernel", "last/kernel")]
        >>> missing = [Missing(entry.key, entry) for entry in entries]
        >>> suggested(missing, {"d_10/w": spec, "d_9/w": spec}, ["d_10/w", "d_9/w"])
        {'d_9/w': 'first/kernel', 'd_10/w': 'last/kernel'}
    """
    variables: dict[TensorSpec, list[Missing]] = {}
    for one in missing:
        if one.entry.slot is None and one.entry.part is None:
            variables.setdefault(one.entry.wanted, []).append(one)
    tensors: dict[TensorSpec, list[str]] = {}
    for key in sorted(unused, key=_natural) if variables else ():
        if specs[key] in variables and slot_of(key, specs) is None:
            tensors.setdefault(specs[key], []).append(key)
    names = Counter(one.entry.name for one in missing)
    suggestion = {}
    for spec, keys in tensors.items():
        mine = _by_role((_role(one.entry.name), one) for one in variables[spec])
        theirs = _by_role((_role(key), key) for key in keys)
        both = [role for role in mine if len(mine[role]) == len(theirs.get(role, ()))]
        pairs = [(role, role) for role in both]
        left, others = [r for r in mine if r not in both], [r for r in theirs if r not in both]
        if len(left) == len(others) == 1 and len(mine[left[0]]) == len(theirs[others[0]]):
            pairs.append((left[0], others[0]))
        for role, other in pairs:
            for one, key in zip(mine[role], theirs[other], strict=True):
                # If several variables have this name, it does not identify one.
                is_unique = names[one.entry.name] == 1
                suggestion[key] = one.entry.name if is_unique else one.entry.key
    return {key: suggestion[key] for key in sorted(suggestion, key=_natural)}


def advice_on(suggestion: Mapping[str, str], missing: int) -> str:
    """Return advice on how to use a suggestion; empty if there is none.

    Example:
        >>> print(advice_on({"d/w": "dense/kernel"}, 1))
        By type, shape and order, 1 of the 1 missing would be: d/w -> dense/kernel. Look at the
        report's `suggestion`, {key: variable}; give it to .rename() if it is right.
    """
    if not suggestion:
        return ""
    pairs = list(suggestion.items())[:_MOST_SHOWN]
    shown = [f"{printable(key)} -> {printable(name)}" for key, name in pairs]
    more = len(suggestion) - len(shown)
    text = ", ".join(shown) + (f" and {more} more" if more else "")
    return (
        f"By type, shape and order, {len(suggestion)} of the {missing} missing would be: {text}."
        " Look at the\nreport's `suggestion`, {key: variable}; give it to .rename() if it is right."
    )


def _by_role(pairs: Iterable[tuple[str, _T]]) -> dict[str, list[_T]]:
    groups: dict[str, list[_T]] = {}
    for role, thing in pairs:
        groups.setdefault(role, []).append(thing)
    return groups


def _role(name: str) -> str:
    last = name.partition(ATTRIBUTES)[0].rpartition("/")[2].removesuffix(":0")
    plain = re.sub(r"_?\d+$", "", last.strip("_").lower())
    return _ROLES.get(plain, plain)


def _natural(key: str) -> list[tuple[int, str]]:
    """Return a sort key that puts "a_2" before "a_10"."""
    parts = re.split(r"(\d+)", key)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
