"""Remember which checkpoints this process has verified, so that each is read once.

What it has written itself counts: the checksums come from the values in memory, and reading would
only show what the system still has of the same bytes in its own memory. Checkpoints whose files
have changed since are read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from tfpersist.checkpoint.files import Files
from tfpersist.checkpoint.locate import Located
from tfpersist.checkpoint.verify import verify
from tfpersist.errors import StorageError
from tfpersist.storage import Storage
from tfpersist.storage.base import Stamp

# The stamps of all files of a checkpoint that is intact, by directory and prefix.
_INTACT: dict[tuple[str, str], Mapping[str, Stamp]] = {}


def known_intact(storage: Storage, prefixes: Iterable[str]) -> frozenset[str]:
    """Return those of some checkpoints that are known to be intact, and have not changed since."""
    known = {
        prefix: stamps
        for prefix in prefixes
        if (stamps := _INTACT.get((storage.location, prefix))) is not None
    }
    present = storage.stamps(name for stamps in known.values() for name in stamps)
    return frozenset(
        prefix
        for prefix, stamps in known.items()
        if all(present.get(name) == stamp for name, stamp in stamps.items())
    )


def is_intact(storage: Storage, files: Files) -> bool:
    """Read every byte of a checkpoint, and return whether all is what was saved.

    Raises:
        CheckpointNotFoundError: it was removed meanwhile.
        StorageError: a file cannot be read.
    """
    stamps = storage.stamps(files.all)
    intact = verify(Located(storage, files)).ok
    if intact:
        _INTACT[storage.location, files.prefix] = stamps
    return intact


def note(storage: Storage, files: Files) -> None:
    """Remember that a checkpoint was just written here."""
    # Another process may have removed it already.
    with suppress(StorageError):
        _INTACT[storage.location, files.prefix] = storage.stamps(files.all)


def forget(storage: Storage, prefix: str) -> None:
    """Forget a checkpoint that is no more."""
    _INTACT.pop((storage.location, prefix), None)
