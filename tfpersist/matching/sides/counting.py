"""Order what one object holds by the numbers in its attributes. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tfpersist.matching.sides import facts

_POSITION = re.compile(r"layer(_with_weights)?-\d+")


def is_position(label: str) -> bool:
    """Return whether a label is a place in the list of layers that Keras 2 wrote."""
    return _POSITION.fullmatch(label) is not None


def ordered(children: Sequence[int], label_of: Callable[[int], str]) -> list[int]:
    """Return objects in the order of the numbers in their labels, those of one stem each.

    The alphabet puts "up_10" before "up_2". What is in another order than that of the alphabet is
    in that in which it was made.

    Args:
        children: what one object holds.
        label_of: returns the attribute that holds one of them.

    Example:
        >>> ordered([0, 1, 2], ["up_1", "up_10", "up_2"].__getitem__)
        [0, 2, 1]
        >>> ordered([0, 1], ["up_2", "up_1"].__getitem__)
        [0, 1]
    """
    places: dict[str, list[int]] = {}
    numbers: dict[int, int] = {}
    for place, child in enumerate(children):
        numbered = facts.number_in(label_of(child))
        if numbered:
            places.setdefault(numbered[0], []).append(place)
            numbers[child] = numbered[1]
    found = list(children)
    for group in places.values():
        labels = [label_of(children[place]) for place in group]
        is_given = not all(facts.is_index(label) or is_position(label) for label in labels)
        if is_given and labels != sorted(labels):
            continue
        members = sorted((children[place] for place in group), key=numbers.__getitem__)
        for place, child in zip(group, members, strict=True):
            found[place] = child
    return found
