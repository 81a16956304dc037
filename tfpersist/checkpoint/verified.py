"""Remember which checkpoints this process has verified, so that each is read once.

A checkpoint that this process has written counts as verified: its checksums come from the values in
memory, and a read would come from the page cache. Checkpoints whose files have changed since are
read again. To notice changes, each call checks the stamps of the newest four checkpoints and, in
turn, of four others; nobody writes into files of a checkpoint, so this is only a second check.
Checkpoints that lack files are noticed by the listing of the directory, without this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from tfpersist.checkpoint.files import Files, split_step
from tfpersist.checkpoint.locate import Located
from tfpersist.checkpoint.verify import verify
from tfpersist.errors import StorageError
from tfpersist.storage import Storage
from tfpersist.storage.base import Stamp

# The number of the newest checkpoints, and of the others, whose stamps are checked in each call.
_NEWEST = 4
_OTHERS = 4

# The stamps of all files of intact checkpoints, by directory, then by prefix.
_INTACT: dict[str, dict[str, Mapping[str, Stamp]]] = {}
# The last of the others whose stamps were checked, by directory and name of the checkpoints.
_LAST: dict[tuple[str, str], str] = {}


def to_verify(storage: Storage, prefixes: Sequence[str]) -> list[str]:
    """Return the checkpoints that must be read: unknown ones, and those that changed since.

    Args:
        storage: the directory.
        prefixes: the checkpoints, oldest first.

    Returns:
        Their prefixes, newest first.
    """
    intact = _INTACT.get(storage.location, {})
    looked_at = {*prefixes[-_NEWEST:], *_next(storage.location, prefixes[:-_NEWEST])}
    expected: dict[str, Stamp] = {}
    for prefix in looked_at:
        expected.update(intact.get(prefix, {}))
    present = storage.stamps(expected)
    if present == expected and all(map(intact.__contains__, prefixes)):
        return []
    changed = {
        prefix
        for prefix in looked_at
        if any(present.get(name) != stamp for name, stamp in intact.get(prefix, {}).items())
    }
    return [p for p in reversed(prefixes) if p not in intact or p in changed]


def _next(location: str, prefixes: Sequence[str]) -> Sequence[str]:
    """Return the next few checkpoints in turn, after those that were returned last."""
    if len(prefixes) <= _OTHERS:
        return prefixes
    key = location, split_step(prefixes[-1])[0]
    last = _LAST.get(key)
    start = prefixes.index(last) + 1 if last in prefixes else 0
    following = (*prefixes[start : start + _OTHERS], *prefixes)[:_OTHERS]
    _LAST[key] = following[-1]
    return following


def is_intact(storage: Storage, files: Files) -> bool:
    """Read every byte of a checkpoint, and return whether all is what was saved.

    Raises:
        CheckpointNotFoundError: it was removed meanwhile.
        StorageError: a file cannot be read.
    """
    stamps = storage.stamps(files.all)
    intact = verify(Located(storage, files)).ok
    if intact:
        _INTACT.setdefault(storage.location, {})[files.prefix] = stamps
    return intact


def note(storage: Storage, files: Files) -> None:
    """Remember that a checkpoint was just written here."""
    # Another process may have removed it already.
    with suppress(StorageError):
        stamps = storage.stamps(files.all)
        _INTACT.setdefault(storage.location, {})[files.prefix] = stamps


def forget(storage: Storage, prefix: str) -> None:
    """Forget a checkpoint that is no more."""
    _INTACT.get(storage.location, {}).pop(prefix, None)
