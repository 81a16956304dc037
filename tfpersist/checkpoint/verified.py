"""Remember which checkpoints this process has verified, so that each is read once.

What it has written itself counts: the checksums come from the values in memory, and reading would
only show what the system still has of the same bytes in its own memory. Checkpoints whose files
have changed since are read again. Of very many, the newest are looked at each time, and an eighth
of the others: files of a checkpoint are not written into, so this is a second look, not the first.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress

from tfpersist.checkpoint.files import Files
from tfpersist.checkpoint.locate import Located
from tfpersist.checkpoint.verify import verify
from tfpersist.errors import StorageError
from tfpersist.storage import Storage
from tfpersist.storage.base import Stamp

# How many are looked at each time, and in how many turns all others are.
_NEWEST = 16
_TURNS = 8
_TURN = itertools.count()

# The stamps of all files of a checkpoint that is intact, by directory and prefix.
_INTACT: dict[tuple[str, str], Mapping[str, Stamp]] = {}


def known_intact(storage: Storage, prefixes: Sequence[str]) -> frozenset[str]:
    """Return those of some checkpoints that are known to be intact, and have not changed since.

    Args:
        storage: the directory.
        prefixes: the checkpoints, oldest first.
    """
    turn = next(_TURN) % _TURNS
    known = {
        prefix: stamps
        for prefix in prefixes
        if (stamps := _INTACT.get((storage.location, prefix))) is not None
    }
    checked = {
        prefix: known[prefix]
        for prefix in (*prefixes[-_NEWEST:], *_of_turn(prefixes[:-_NEWEST], turn))
        if prefix in known
    }
    present = storage.stamps(name for stamps in checked.values() for name in stamps)
    changed = {
        prefix
        for prefix, stamps in checked.items()
        if any(present.get(name) != stamp for name, stamp in stamps.items())
    }
    return frozenset(known.keys() - changed)


def _of_turn(prefixes: Sequence[str], turn: int) -> list[str]:
    return [
        prefix
        for prefix in prefixes
        if zlib.crc32(prefix.encode(errors="surrogateescape")) % _TURNS == turn
    ]


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
