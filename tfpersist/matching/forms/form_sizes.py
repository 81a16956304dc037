"""Read sizes as text: solve them from shapes, and put them into shapes and steps. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tfpersist.matching.forms.form import Way
from tfpersist.matching.recipes.recipe import Recipe
from tfpersist.matching.recipes.recipe_steps import KINDS

_TERM = re.compile(r"(\d*)([a-z]*)")


def _terms(text: str) -> list[tuple[int, str]]:
    """Return the terms of a size, such as 3 and "hk" of "3hk"."""
    found = []
    for term in text.split("+"):
        match = _TERM.fullmatch(term)
        assert match is not None, text
        found.append((int(match[1] or 1), match[2]))
    return found


def size_of(text: str, sizes: Mapping[str, int]) -> int:
    """Return the size that a text means.

    Args:
        text: sums and products of letters and numbers; "-" before it counts from the end.
        sizes: what the letters mean.

    Example:
        >>> size_of("i+2u", {"i": 5, "u": 3}), size_of("-u", {"u": 3})
        (11, -3)
    """
    if text.startswith("-"):
        return -size_of(text[1:], sizes)
    total = 0
    for number, letters in _terms(text):
        total += number * math.prod(sizes[letter] for letter in letters)
    return total


def solved(
    shapes: Iterable[tuple[str, tuple[int, ...]]], known: Mapping[str, int] | None = None
) -> dict[str, int] | None:
    """Return what the letters mean, as far as shapes tell.

    Args:
        shapes: shapes as text, each with the shape that a tensor has.
        known: what letters mean that are known already.

    Returns:
        The sizes, each at least 1; None if a shape contradicts.

    Example:
        >>> solved([("i+u,4u", (7, 12)), ("4u", (12,))])
        {'u': 3, 'i': 4}
        >>> solved([("i+u,4u", (7, 12)), ("4u", (13,))])
    """
    waiting: list[tuple[str, int]] = []
    for text, shape in shapes:
        axes = text.split(",")
        if len(axes) != len(shape):
            return None
        waiting += zip(axes, shape, strict=True)
    sizes = dict(known or {})
    while waiting:
        later = []
        for text, size in waiting:
            missing = {letter for _, letters in _terms(text) for letter in letters} - sizes.keys()
            if not missing:
                if size_of(text, sizes) != size:
                    return None
            elif len(missing) > 1:
                later.append((text, size))
            else:
                (letter,) = missing
                value = _solve(text, size, letter, sizes)
                if value is None:
                    return None
                sizes[letter] = value
        if len(later) == len(waiting):
            # Two letters that stand only in one product stay unknown.
            break
        waiting = later
    return sizes


def _solve(text: str, size: int, letter: str, sizes: Mapping[str, int]) -> int | None:
    rest = factor = 0
    for number, letters in _terms(text):
        count = letters.count(letter)
        product = number * math.prod(sizes[other] for other in letters.replace(letter, ""))
        if count:
            factor += product
        else:
            rest += product
    value, left = divmod(size - rest, factor)
    return value if not left and value > 0 else None


def filled(argument: Any, sizes: Mapping[str, int]) -> Any:
    """Return an argument of a step with its sizes: text becomes a number, also in a tuple.

    Example:
        >>> filled(("i", 4, "u"), {"i": 5, "u": 3})
        (5, 4, 3)
    """
    if isinstance(argument, tuple):
        return tuple(filled(one, sizes) for one in argument)
    return size_of(argument, sizes) if isinstance(argument, str) else argument


def recipe_of(way: Way, keys: Mapping[str, str], sizes: Mapping[str, int]) -> Recipe:
    """Return the recipe of one way.

    Args:
        way: how the tensor is made, with sizes as text.
        keys: the keys of the tensors that it is made of, by their names in the form.
        sizes: what the letters mean.

    Example:
        >>> way = Way(("kernel",), (("slice", 0, 0, "i"),))
        >>> print(recipe_of(way, {"kernel": "rnn/kernel"}, {"i": 5}))
        rnn/kernel: slice(axis=0, start=0, stop=5)
    """
    steps = tuple(
        KINDS[name](*(filled(argument, sizes) for argument in arguments))
        for name, *arguments in way.steps
    )
    return Recipe(tuple(keys[name] for name in way.of), steps)
