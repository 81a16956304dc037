"""Match the variables of an object graph with a checkpoint that has names as keys. Pure."""

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
    """A variable and its names.

    Args:
        entry: the variable.
        names: its names, the most specific first.
    """

    entry: Entry
    names: tuple[str, ...]


def pair(members: Sequence[Named], specs: Mapping[str, TensorSpec]) -> list[Entry]:
    """Return variables under the keys that they have in a checkpoint with names as keys.

    There are three rounds. The first pairs equal names. The second pairs names that have the most
    of their last parts in common: at least two, or all parts of one name. The third does the same
    without the numbers that Keras and TensorFlow append. After the first round the tensor has to
    fit the variable, and nothing is paired if two variables or two tensors are equally good.

    Args:
        members: the variables.
        specs: the specs of the checkpoint's tensors, by key.

    Returns:
        The entries in their order. An entry without a tensor has its first name as key.

    Example:
        >>> w = Entry("w/x", "net/w", TensorSpec("float32", (2,)))
        >>> [entry.key for entry in pair([Named(w, ("net/w",))], {"w": w.spec})]
        ['w']
    """
    keys: dict[int, str] = {}
    for similarity in (_same, _in_common, _in_common_without_numbers):
        keys |= _round(members, specs, keys, similarity)
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
    paired: Mapping[int, str],
    similarity: Callable[[str, str], int],
) -> dict[int, str]:
    used = set(paired.values())
    by_tail: dict[str, list[str]] = {}
    for key in specs:
        if key not in used:
            by_tail.setdefault(_tail(key), []).append(key)
    scores: dict[tuple[int, str], int] = {}
    for at, member in enumerate(members):
        for name in member.names if at not in paired else ():
            for key in by_tail.get(_tail(name), ()):
                if similarity is _same or member.entry.wanted.accepts(specs[key]):
                    score = max(scores.get((at, key), 0), similarity(name, key))
                    if score:
                        scores[at, key] = score
    best_key, best_member = _best(scores, 0), _best(scores, 1)
    return {at: key for at, key in best_key.items() if best_member.get(key) == at}


def _best(scores: Mapping[tuple[int, str], int], side: int) -> dict[Any, Any]:
    """Return the partner with the highest score of each member of one side, if there is one."""
    highest: dict[Any, int] = {}
    partners: dict[Any, list[Any]] = {}
    for pair, score in scores.items():
        if score > highest.get(pair[side], 0):
            highest[pair[side]], partners[pair[side]] = score, []
        if score == highest[pair[side]]:
            partners[pair[side]].append(pair[1 - side])
    return {member: others[0] for member, others in partners.items() if len(others) == 1}


def _tail(name: str) -> str:
    return _COUNTER.sub("", name.rpartition("/")[2])


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Return names without empty ones, repetitions and the ":0" of a variable's name.

    Example:
        >>> distinct(["w:0", "w", ""])
        ('w',)
    """
    return tuple(dict.fromkeys(name.removesuffix(":0") for name in names if name))
