"""Which variables a user means by a name, a pattern or an object. Pure, no TensorFlow."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from typing import Any

from tfpersist.errors import (
    SelectionError,
    did_you_mean,
    value_text,
)
from tfpersist.matching.plan import Entry


class EntryIndex:
    """The variables of a target by their names and by identity.

    Args:
        entries: all of them.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.by_text: dict[str, list[int]] = {}
        self.by_identity: dict[int, list[int]] = {}
        for position, entry in enumerate(entries):
            for text in dict.fromkeys((entry.name, entry.key, *entry.aliases)):
                self.by_text.setdefault(text, []).append(position)
            for thing in {id(entry.ref), id(entry.handle)} - {id(None)}:
                self.by_identity.setdefault(thing, []).append(position)

    @property
    def names(self) -> list[str]:
        return list(self.by_text)

    def matching(self, choice: object, step: str) -> list[int]:
        if isinstance(choice, str):
            text = choice.removesuffix(":0")
            found = self.by_text.get(choice) or self.by_text.get(text)
            if not found:
                pattern = re.compile(fnmatch.translate(text))
                found = sorted(
                    {n for name in self.by_text if pattern.match(name) for n in self.by_text[name]}
                )
            if not found:
                raise SelectionError(
                    f"{step} finds no variable named {choice!r}",
                    advice=did_you_mean(text, self.names),
                )
            return found
        found = self._held(choice)
        if not found:
            name = getattr(choice, "name", None) or getattr(choice, "path", None)
            raise SelectionError(
                f"{step} is given {value_text(choice)}{f' {name!r}' if name else ''}, which is no"
                " variable of this target",
                advice=did_you_mean(str(name or "").removesuffix(":0"), self.names),
            )
        return found

    def one(self, choice: object, step: str) -> list[int]:
        found = self.matching(choice, step)
        keys = sorted({self.entries[position].key for position in found})
        if len(keys) > 1:
            raise SelectionError(
                f"{step} gives one key to {len(keys)} variables: {', '.join(keys[:5])}",
                advice="Name one variable for each key.",
            )
        return found

    def _held(self, choice: object) -> list[int]:
        found = self.by_identity.get(id(choice))
        if found:
            return found
        members: Any = getattr(choice, "variables", choice)
        if isinstance(members, (str, bytes)):
            return []
        try:
            parts = list(members)
        except TypeError:
            return []
        return [n for part in parts for n in self.by_identity.get(id(part), ())]
