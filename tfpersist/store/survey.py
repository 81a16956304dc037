"""Whether all checkpoints of a directory are sound."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from tfpersist.checkpoint import files as listing
from tfpersist.checkpoint.files import Files, readable
from tfpersist.checkpoint.locate import Located
from tfpersist.checkpoint.verify import Verification, verify
from tfpersist.errors import CheckpointNotFoundError, printable
from tfpersist.storage import Storage


@attrs.frozen
class Survey:
    """What the reading of all checkpoints of a directory found.

    Args:
        location: the directory.
        checkpoints: what was found of each, oldest first.

    Example:
        >>> from tfpersist.checkpoint.verify import Flaw
        >>> sound = Verification("runs/m-1", 2, 800)
        >>> damaged = Verification("runs/m-2", 1, 800, (Flaw("v", "the checksum does not match"),))
        >>> print(Survey("runs", (sound, damaged)))
        runs: 1 of 2 checkpoints is DAMAGED (1.6 KB read)
          ok       m-1  2 tensors are sound
          DAMAGED  m-2  1 tensor is sound; v: the checksum does not match
    """

    location: str
    checkpoints: tuple[Verification, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with any."""
        return not self.damaged

    @property
    def damaged(self) -> tuple[Verification, ...]:
        """Those with which something is wrong, oldest first."""
        return tuple(each for each in self.checkpoints if not each.ok)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        total, bad = len(self.checkpoints), len(self.damaged)
        count = "1 checkpoint" if total == 1 else f"{total} checkpoints"
        state = f"{bad} of {count} {'is' if bad == 1 else 'are'} DAMAGED" if bad else f"{count}, ok"
        size = readable(sum(each.size for each in self.checkpoints))
        names = [each.prefix.rsplit("/", 1)[-1] for each in self.checkpoints]
        width, first = max(map(len, names), default=0), 7 if bad else 2
        rows = [
            f"  {'ok' if each.ok else 'DAMAGED':{first}}  {name:{width}}  {_row(each)}"
            for name, each in zip(names, self.checkpoints, strict=True)
        ]
        return "\n".join(map(printable, [f"{self.location}: {state} ({size} read)", *rows]))


def _row(found: Verification) -> str:
    sound = "1 tensor is sound" if found.tensors == 1 else f"{found.tensors} tensors are sound"
    shown = [str(flaw) for flaw in found.flaws[:1]]
    if len(found.flaws) > 1:
        shown.append(f"{len(found.flaws) - 1} more")
    if found.unchecked:
        shown.append(f"not checked: {', '.join(found.unchecked)}")
    return "; ".join([sound, *shown, *found.notes])


def known(storage: Storage) -> dict[str, Files]:
    """Find the checkpoints of a directory, even those that lack files, oldest first."""
    names = storage.names()
    cut = {**listing.v2_files(names), **listing.without_index(names)}
    found = {**cut, **listing.checkpoints(storage)}
    return {prefix: found[prefix] for prefix in listing.dated(storage, found)}


def survey(storage: Storage, found: Mapping[str, Files]) -> Survey:
    """Read every byte of these checkpoints.

    Args:
        storage: the directory.
        found: the checkpoints; those that are removed meanwhile are left out.

    Raises:
        StorageError: a file cannot be read at all.
    """
    verified = []
    for files in found.values():
        try:
            verified.append(verify(Located(storage, files)))
        except CheckpointNotFoundError:
            continue
    return Survey(storage.location, tuple(verified))
