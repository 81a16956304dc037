"""Look up the variables that a user means by a name, a pattern or an object. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from typing import Any

from tfpersist.errors import SelectionError, did_you_mean, value_text
from tfpersist.matching.plans.entry import Entry


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
            self.by_text.setdefault(entry.name, []).append(position)
            for identity in {id(entry.ref), id(entry.handle)} - {id(None)}:
                self.by_identity.setdefault(identity, []).append(position)
        # The name of one variable may be another name, or the key in a checkpoint, of another one.
        for texts_of in (lambda entry: entry.aliases, lambda entry: (entry.key,)):
            found: dict[str, list[int]] = {}
            for position, entry in enumerate(entries):
                for text in dict.fromkeys(texts_of(entry)):
                    if text not in self.by_text:
                        found.setdefault(text, []).append(position)
            self.by_text.update(found)

    @property
    def names(self) -> list[str]:
        """All names, keys and aliases."""
        return list(self.by_text)

    def matching(self, choice: object, step: str) -> list[int]:
        """Return the positions of the entries that a choice means.

        Args:
            choice: a name, a glob, a variable, or an object that has variables.
            step: the step that got the choice, for the error.

        Raises:
            SelectionError: it means no variable of the target.
        """
        if isinstance(choice, str):
            text = choice.removesuffix(":0")
            positions = self.by_text.get(choice) or self.by_text.get(text)
            if not positions:
                pattern = re.compile(fnmatch.translate(text))
                positions = sorted(
                    {n for name in self.by_text if pattern.match(name) for n in self.by_text[name]}
                )
            if not positions:
                raise SelectionError(
                    f"{step} finds no variable named {choice!r}",
                    advice=did_you_mean(text, self.names),
                )
            return positions
        positions = self._by_object(choice)
        if not positions:
            name = getattr(choice, "name", None) or getattr(choice, "path", None)
            raise SelectionError(
                f"{step} got {value_text(choice)}{f' {name!r}' if name else ''}, which is not a"
                " variable of this target",
                advice=did_you_mean(str(name or "").removesuffix(":0"), self.names),
            )
        return positions

    def known(self, choice: object) -> list[int]:
        """Return the positions of the entries that a choice means; empty if it means none."""
        try:
            return self.matching(choice, "")
        except SelectionError:
            return []

    def one(self, choice: object, step: str) -> list[int]:
        """Return the positions of the entries of the one variable that a choice means.

        Raises:
            SelectionError: it means no variable, or several.
        """
        positions = self.matching(choice, step)
        keys = sorted({self.entries[position].key for position in positions})
        if len(keys) > 1:
            raise SelectionError(
                f"{step} gives one key to {len(keys)} variables: {', '.join(keys[:5])}",
                advice="Name one variable for each key.",
            )
        return positions

    def _by_object(self, choice: object) -> list[int]:
        positions = self.by_identity.get(id(choice))
        if positions:
            return positions
        members: Any = getattr(choice, "variables", choice)
        if isinstance(members, (str, bytes)):
            return []
        try:
            parts = list(members)
        except TypeError:
            return []
        return [n for part in parts for n in self.by_identity.get(id(part), ())]
