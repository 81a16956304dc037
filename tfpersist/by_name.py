"""Which tensor of a checkpoint by names belongs to which variable of an object graph. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from tfpersist.formats.tensors import TensorSpec
from tfpersist.selection import Entry

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

    Equal names go first; then a name that ends in the other, at a "/"; then the same without the
    numbers that Keras and TensorFlow append. After the first round a tensor has to fit, and
    wherever two variables or two tensors would do, none is taken.

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
    for name_of, related in (
        (lambda text: text, _same),
        (lambda text: text, _ends),
        (lambda text: _COUNTER.sub("", text), _ends),
    ):
        keys |= _round(members, specs, keys, name_of, related)
    return [member.entry.under(keys.get(at, member.names[0])) for at, member in enumerate(members)]


def _same(first: str, second: str) -> bool:
    return first == second


def _ends(first: str, second: str) -> bool:
    return first == second or first.endswith("/" + second) or second.endswith("/" + first)


def _round(
    members: Sequence[Named],
    specs: Mapping[str, TensorSpec],
    taken: Mapping[int, str],
    name_of: Callable[[str], str],
    related: Callable[[str, str], bool],
) -> dict[int, str]:
    used = set(taken.values())
    by_tail: dict[str, list[str]] = {}
    for key in specs:
        if key not in used:
            by_tail.setdefault(_tail(name_of(key)), []).append(key)
    wanted: dict[str, set[int]] = {}
    choices: dict[int, set[str]] = {}
    for at, member in enumerate(members):
        if at in taken:
            continue
        for name in map(name_of, member.names):
            for key in by_tail.get(_tail(name), ()):
                fits = related is _same or member.entry.wanted.accepts(specs[key])
                if fits and related(name, name_of(key)):
                    choices.setdefault(at, set()).add(key)
                    wanted.setdefault(key, set()).add(at)
    return {
        at: key
        for at, keys in choices.items()
        for key in keys
        if len(keys) == 1 and len(wanted[key]) == 1
    }


def _tail(name: str) -> str:
    return name.rpartition("/")[2]


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Drop empty and repeated names, and the output number of a variable's name.

    Example:
        >>> distinct(["w:0", "w", ""])
        ('w',)
    """
    return tuple(dict.fromkeys(name.removesuffix(":0") for name in names if name))
