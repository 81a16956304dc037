"""Choose the checkpoints of a directory by name, by step or by prefix."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import attrs

from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.files import is_called
from tfpersist.checkpoint.locate import parent_of_prefix
from tfpersist.errors import CheckpointNotFoundError
from tfpersist.storage import Storage
from tfpersist.store.quarantine import ENDING


@attrs.frozen
class Which:
    """A choice of checkpoints.

    Args:
        name: the name of a store's checkpoints; "-" and the step follow it. If none has this name,
            all are chosen, because other programs use other names.
        step: the training step; None for all.
        prefix: the only checkpoint; None for all.
    """

    name: str
    step: int | None = None
    prefix: str | None = None

    @property
    def is_one(self) -> bool:
        """True if one checkpoint is named, so that no other may replace it."""
        return self.step is not None or self.prefix is not None

    def known(self, directory: Directory) -> list[str]:
        """Return the chosen prefixes, also of checkpoints that lack files, oldest first."""
        return self._of(directory, directory.known)

    def complete(self, directory: Directory) -> list[str]:
        """Return the chosen prefixes of checkpoints that have all their files, oldest first."""
        return self._of(directory, directory.complete)

    def newest_first(self, directory: Directory) -> Iterator[str]:
        """Return the prefixes that may be restored, also of those that lack files.

        There may be thousands, and mostly only the first one is used.

        Raises:
            CheckpointNotFoundError: there is no such checkpoint.
        """
        if self.is_one:
            prefixes: Iterator[str] = iter(self.known(directory)[::-1])
        else:
            prefixes = (p for p in reversed(directory.known) if is_called(p, self.name))
        first = next(prefixes, None)
        if first is None and not self.is_one:
            # No checkpoint has this name, so all are chosen.
            prefixes = reversed(directory.known)
            first = next(prefixes, None)
        if first is None:
            raise self._not_found(directory)
        return itertools.chain([first], prefixes)

    def _of(self, directory: Directory, prefixes: Iterable[str]) -> list[str]:
        every = list(prefixes)
        ours = [prefix for prefix in every if is_called(prefix, self.name)] or every
        if self.prefix is not None:
            ours = [prefix for prefix in ours if prefix == self.prefix]
        if self.step is not None:
            ours = [prefix for prefix in ours if directory.step(prefix) == self.step]
        return ours

    def _not_found(self, directory: Directory) -> CheckpointNotFoundError:
        asked = "" if self.prefix is None else f"{self.prefix!r} "
        if self.step is not None:
            asked += f"of step {self.step} "
        others = Which(self.name).known(directory) if self.step is not None else []
        steps = sorted({step for step in map(directory.step, others) if step is not None})
        aside = sorted(name for name in directory.names if ENDING in name)
        return CheckpointNotFoundError(
            f"there is no checkpoint {asked}here",
            where=directory.storage.location,
            found=f"only quarantined: {', '.join(aside)}" if aside else None,
            advice=f"The store has the steps {', '.join(map(str, steps))}."
            if steps
            else _hint(directory.storage),
        )


def _hint(storage: Storage) -> str:
    parent = parent_of_prefix(storage)
    if parent is None:
        return "Save one first, or check the directory."
    return (
        "This is the prefix of one checkpoint, and a store is a directory. Use"
        f" ModelStore({parent!r}), with at(step) for this checkpoint."
    )
