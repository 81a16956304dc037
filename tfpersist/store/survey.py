"""Verify all checkpoints of a directory."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.files import readable
from tfpersist.checkpoint.locate import Located
from tfpersist.checkpoint.verify import Verification, count_intact, verify
from tfpersist.errors import CheckpointNotFoundError, StorageError, counted, printable

# How often a checkpoint that others replace is verified again.
_TRIES = 20


@attrs.frozen
class Survey:
    """The result of verifying the checkpoints of a directory.

    Args:
        location: the directory.
        checkpoints: the result for each, oldest first.

    Example:
        >>> from tfpersist.checkpoint.verify import Flaw
        >>> intact = Verification("runs/m-1", 2, 800)
        >>> damaged = Verification("runs/m-2", 1, 800, (Flaw("v", "the checksum does not match"),))
        >>> print(Survey("runs", (intact, damaged)))
        runs: 1 of 2 checkpoints is DAMAGED (1.6 KB read)
          ok       m-1  2 tensors are intact
          DAMAGED  m-2  1 tensor is intact; v: the checksum does not match
    """

    location: str
    checkpoints: tuple[Verification, ...]

    @property
    def ok(self) -> bool:
        """True if all checkpoints are intact."""
        return not self.damaged

    @property
    def damaged(self) -> tuple[Verification, ...]:
        """The checkpoints that have flaws, oldest first."""
        return tuple(result for result in self.checkpoints if not result.ok)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        total, bad = len(self.checkpoints), len(self.damaged)
        count = counted(total, "checkpoint")
        state = f"{bad} of {count} {'is' if bad == 1 else 'are'} DAMAGED" if bad else f"{count}, ok"
        size = readable(sum(result.size for result in self.checkpoints))
        # In an archive, what follows "::" says where the archive is.
        names = [r.prefix.partition("::")[0].rsplit("/", 1)[-1] for r in self.checkpoints]
        width, first = max(map(len, names), default=0), 7 if bad else 2
        rows = [
            f"  {'ok' if result.ok else 'DAMAGED':{first}}  {name:{width}}  {_row(result)}"
            for name, result in zip(names, self.checkpoints, strict=True)
        ]
        return "\n".join(map(printable, [f"{self.location}: {state} ({size} read)", *rows]))


def _row(result: Verification) -> str:
    shown = [str(flaw) for flaw in result.flaws[:1]]
    if len(result.flaws) > 1:
        shown.append(f"{len(result.flaws) - 1} more")
    if result.unchecked:
        shown.append(f"not checked: {', '.join(result.unchecked)}")
    return "; ".join([count_intact(result), *shown, *result.notes])


def survey(directory: Directory, prefixes: Iterable[str]) -> Survey:
    """Read every byte of some checkpoints.

    Args:
        directory: a look at the directory.
        prefixes: the checkpoints; those that are removed meanwhile are left out.

    Raises:
        StorageError: a file cannot be read at all.
    """
    verified = []
    for prefix in prefixes:
        result = _verified(directory, prefix)
        verified += [result] if result is not None else []
    return Survey(directory.storage.location, tuple(verified))


def _verified(directory: Directory, prefix: str) -> Verification | None:
    """Verify a checkpoint; None where it was removed since the look."""
    for _ in range(_TRIES):
        files = directory.files(prefix)
        failure: StorageError | None = None
        result: Verification | None = None
        try:
            result = verify(Located(directory.storage, files))
        except CheckpointNotFoundError:
            pass
        except StorageError as error:
            failure = error
        if result is not None and result.ok:
            return result
        directory = directory.again()
        if prefix not in directory.known:
            return None
        # It may have been saved again since the look, and then its files are others.
        if directory.files(prefix) == files:
            if failure is not None:
                raise failure
            return result
    return result
