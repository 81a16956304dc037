"""Which checkpoints this process knows to be sound, so that each is read once, not at every save.

What it has written itself counts: the checksums come from the values in memory, and reading would
only show what the system still has of the same bytes in its own memory. Files that have changed
since, in size or age, are read again.
"""

from __future__ import annotations

from contextlib import suppress

from tfpersist.checkpoint.files import Files
from tfpersist.checkpoint.locate import Located
from tfpersist.checkpoint.pins import held
from tfpersist.checkpoint.verify import verify
from tfpersist.errors import StorageError
from tfpersist.storage import Storage

_Marks = tuple[tuple[str, float, int], ...]

# By directory and prefix.
_SOUND: dict[tuple[str, str], _Marks] = {}


def is_sound(storage: Storage, files: Files) -> bool:
    """Whether every byte of a checkpoint is what was saved; it is read unless that is known.

    Raises:
        CheckpointNotFoundError: it was removed meanwhile.
        StorageError: a file cannot be read.
    """
    with held(storage, files):
        marks = _marks(storage, files)
    if _SOUND.get((storage.location, files.prefix)) == marks:
        return True
    sound = verify(Located(storage, files)).ok
    if sound:
        _SOUND[storage.location, files.prefix] = marks
    return sound


def note(storage: Storage, files: Files) -> None:
    """Remember that a checkpoint was just written here."""
    # Another process may have removed it already.
    with suppress(StorageError):
        _SOUND[storage.location, files.prefix] = _marks(storage, files)


def forget(storage: Storage, prefix: str) -> None:
    """Forget a checkpoint that is no more."""
    _SOUND.pop((storage.location, prefix), None)


def _marks(storage: Storage, files: Files) -> _Marks:
    return tuple((name, storage.modified(name), storage.size(name)) for name in files.all)
