"""Rename by patterns: make names of variables from the keys of a checkpoint. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tfpersist.errors import SelectionError, did_you_mean
from tfpersist.matching.choices.entry_index import EntryIndex
from tfpersist.matching.sides.naming import twice
from tfpersist.matching.sides.object_graph import ATTRIBUTES


def template(choice: object) -> str:
    """Return the replacement of a pattern.

    Raises:
        SelectionError: it is not a str.
    """
    if isinstance(choice, str):
        return choice
    raise SelectionError(
        "rename() got a pattern without a replacement",
        expected=r'a str, such as r"blocks/\1/kernel"',
        found=type(choice).__name__,
    )


def matched(
    patterns: Mapping[re.Pattern[Any], str], index: EntryIndex, saved: Iterable[str] | None
) -> dict[int, str]:
    """Return the keys of the variables whose names the patterns make.

    Args:
        patterns: {pattern for the whole key: name, with references to groups such as "\\1"}.
        index: the variables.
        saved: the keys of the checkpoint; None for a save.

    Returns:
        The key of each variable, by its position.

    Raises:
        SelectionError: a pattern finds no variable, or a variable gets two keys.

    Example:
        >>> from tfpersist.formats.tensors import TensorSpec
        >>> from tfpersist.matching.plans.entry import Entry
        >>> index = EntryIndex([Entry("b/7/w", "b/7/w", TensorSpec("float32", ()))])
        >>> pattern = re.compile("layer_([0-9]+)/w")
        >>> matched({pattern: r"b/\\g<1>/w"}, index, ["layer_7/w", "step"])
        {0: 'layer_7/w'}
    """
    if patterns and saved is None:
        raise SelectionError(
            "a pattern in rename() makes names from keys, and a save needs keys for names",
            advice='Rename one by one, {"key": "name"}, or by beginnings, {"new/": "old/"}.',
        )
    keys: dict[int, str] = {}
    for pattern, name in patterns.items():
        names = _names(pattern, name, saved or ())
        known = {key: text for key, text in names.items() if text in index.by_text}
        if not known:
            key, text = next(iter(names.items()), ("", ""))
            raise SelectionError(
                f"rename() makes {text!r} from the key {key!r}, and no variable has that name"
                if names
                else f"rename() finds no key that the pattern {pattern.pattern!r} matches whole",
                advice=did_you_mean(text, index.names)
                if names
                else did_you_mean(str(pattern.pattern), list(saved or ())),
            )
        for key, text in known.items():
            for at in index.one(text, "rename()"):
                if keys.setdefault(at, key) != key:
                    raise twice(index.entries[at].name, keys[at], key)
    return keys


def _names(pattern: re.Pattern[Any], name: str, saved: Iterable[str]) -> dict[str, str]:
    """Return the names that a pattern makes, by key."""
    names = {}
    try:
        for key in saved:
            # Users need not write the end of an object's key.
            plain = key.partition(ATTRIBUTES)[0]
            for text in (plain, key):
                match = pattern.fullmatch(text)
                if match:
                    names[text] = match.expand(name).removesuffix(":0")
                    break
    except (re.error, IndexError, TypeError) as error:
        raise SelectionError(
            f"rename() cannot make names with the pattern {pattern.pattern!r}: {error}",
            expected="a pattern of str, and a name that refers only to groups of the pattern",
            found=repr(name),
        ) from error
    return names
