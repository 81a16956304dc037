"""Which tensor of a checkpoint by names belongs to which variable of an object graph. Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.plan import Entry

_COUNTER = re.compile(r"_\d+(?=/|$)")


@attrs.frozen
class Named:
    """A variable and what it is called.

    Args:
        entry: the variable.
        names: its names, the most telling first.
    """

    entry: Entry
    names: tuple[str, ...]


def pair(members: Sequence[Named], specs: Mapping[str, TensorSpec]) -> list[Entry]:
    """Key variables as a checkpoint by names does.

    Equal names go first; then those that have most of their last parts in common, two at least or
    all that one of them has; then the same without the numbers that Keras and TensorFlow append.
    After the first round a tensor has to fit, and wherever two variables or two tensors would do,
    none is taken.

    Args:
        members: the variables.
        specs: what the checkpoint holds.

    Returns:
        The entries in their order. One without a tensor goes by its first name.

    Example:
        >>> w = Entry("w/x", "net/w", TensorSpec("float32", (2,)))
        >>> [entry.key for entry in pair([Named(w, ("net/w",))], {"w": w.spec})]
        ['w']
    """
    keys: dict[int, str] = {}
    for alike in (_same, _in_common, _in_common_without_numbers):
        keys |= _round(members, specs, keys, alike)
    return [member.entry.under(keys.get(at, member.names[0])) for at, member in enumerate(members)]


def _same(first: str, second: str) -> int:
    return int(first == second)


def _in_common(first: str, second: str) -> int:
    mine, theirs = first.split("/")[::-1], second.split("/")[::-1]
    pairs = zip(mine, theirs, strict=False)
    common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    return common if common >= min(2, len(mine), len(theirs)) else 0


def _in_common_without_numbers(first: str, second: str) -> int:
    return _in_common(_COUNTER.sub("", first), _COUNTER.sub("", second))


def _round(
    members: Sequence[Named],
    specs: Mapping[str, TensorSpec],
    taken: Mapping[int, str],
    alike: Callable[[str, str], int],
) -> dict[int, str]:
    used = set(taken.values())
    by_tail: dict[str, list[str]] = {}
    for key in specs:
        if key not in used:
            by_tail.setdefault(_tail(key), []).append(key)
    scores: dict[tuple[int, str], int] = {}
    for at, member in enumerate(members):
        for name in member.names if at not in taken else ():
            for key in by_tail.get(_tail(name), ()):
                if alike is _same or member.entry.wanted.accepts(specs[key]):
                    score = max(scores.get((at, key), 0), alike(name, key))
                    if score:
                        scores[at, key] = score
    best_key, best_member = _best(scores, 0), _best(scores, 1)
    return {at: key for at, key in best_key.items() if best_member.get(key) == at}


def _best(scores: Mapping[tuple[int, str], int], side: int) -> dict[Any, Any]:
    most: dict[Any, int] = {}
    found: dict[Any, list[Any]] = {}
    for pair, score in scores.items():
        if score > most.get(pair[side], 0):
            most[pair[side]], found[pair[side]] = score, []
        if score == most[pair[side]]:
            found[pair[side]].append(pair[1 - side])
    return {thing: others[0] for thing, others in found.items() if len(others) == 1}


def _tail(name: str) -> str:
    return _COUNTER.sub("", name.rpartition("/")[2])


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Drop empty and repeated names, and the output number of a variable's name.

    Example:
        >>> distinct(["w:0", "w", ""])
        ('w',)
    """
    return tuple(dict.fromkeys(name.removesuffix(":0") for name in names if name))
