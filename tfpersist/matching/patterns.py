"""Names of variables that a pattern makes of the keys of a checkpoint. Pure, no TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tfpersist.errors import SelectionError, did_you_mean
from tfpersist.matching.entry_index import EntryIndex
from tfpersist.matching.naming import twice
from tfpersist.matching.object_graph import ATTRIBUTES


def template(choice: object) -> str:
    """Check what a pattern is to be replaced with.

    Raises:
        SelectionError: it is no text.
    """
    if isinstance(choice, str):
        return choice
    raise SelectionError(
        "rename() is given a pattern, and nothing to make a name of what it matches",
        expected=r'a str, such as r"blocks/\1/kernel"',
        found=type(choice).__name__,
    )


def matched(
    patterns: Mapping[re.Pattern[Any], str], index: EntryIndex, saved: Iterable[str] | None
) -> dict[int, str]:
    """Tell which variables have a name that a pattern makes of a key.

    Args:
        patterns: {pattern on the whole key: name, with references to groups such as "\\1"}.
        index: the variables.
        saved: the keys of the checkpoint; None for a save.

    Returns:
        The key of each variable, by its position.

    Raises:
        SelectionError: a pattern finds no variable, or a variable gets two keys.

    Example:
        >>> from tfpersist.formats.tensors import TensorSpec
        >>> from tfpersist.matching.plan import Entry
        >>> index = EntryIndex([Entry("b/7/w", "b/7/w", TensorSpec("float32", ()))])
        >>> pattern = re.compile("layer_([0-9]+)/w")
        >>> matched({pattern: r"b/\\g<1>/w"}, index, ["layer_7/w", "step"])
        {0: 'layer_7/w'}
    """
    if patterns and saved is None:
        raise SelectionError(
            "a pattern in rename() makes names of keys, and a save needs keys for names",
            advice='Rename one by one, {"key": "name"}, or by beginnings, {"new/": "old/"}.',
        )
    found: dict[int, str] = {}
    for pattern, name in patterns.items():
        made = _made(pattern, name, saved or ())
        known = {key: text for key, text in made.items() if text in index.by_text}
        if not known:
            key, text = next(iter(made.items()), ("", ""))
            raise SelectionError(
                f"rename() makes {text!r} of the key {key!r}, and no variable has that name"
                if made
                else f"rename() finds no key that the pattern {pattern.pattern!r} matches whole",
                advice=did_you_mean(text, index.names)
                if made
                else did_you_mean(str(pattern.pattern), list(saved or ())),
            )
        for key, text in known.items():
            for at in index.one(text, "rename()"):
                if found.setdefault(at, key) != key:
                    raise twice(index.entries[at].name, found[at], key)
    return found


def _made(pattern: re.Pattern[Any], name: str, saved: Iterable[str]) -> dict[str, str]:
    made = {}
    try:
        for key in saved:
            # Users need not spell the end of an object's key.
            plain = key.partition(ATTRIBUTES)[0]
            for text in (plain, key):
                match = pattern.fullmatch(text)
                if match:
                    made[text] = match.expand(name).removesuffix(":0")
                    break
    except (re.error, IndexError, TypeError) as error:
        raise SelectionError(
            f"rename() cannot make names with the pattern {pattern.pattern!r}: {error}",
            expected="a pattern of str, and a name with references to its groups only",
            found=repr(name),
        ) from error
    return made
