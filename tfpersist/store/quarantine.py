"""Quarantine a damaged checkpoint: rename its files, so that no reader finds it.

Its files are never deleted. They get ".corrupt-<number>" at the end of their names. Listings,
prunings and TensorFlow ignore such names.

First the checkpoint is locked and read once more: one that others read or pin, or have saved again,
stays. Then the state file stops naming it, its data files are renamed, and its index last. If this
is interrupted, the rest lacks files, counts as damaged, and the next restore completes the rename.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterable

import attrs

from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.files import Files, Listing
from tfpersist.checkpoint.locate import Located
from tfpersist.checkpoint.pins import marker
from tfpersist.checkpoint.verify import examine
from tfpersist.errors import StorageError, printable
from tfpersist.storage import Storage

ENDING = ".corrupt-"


@attrs.frozen
class Outcome:
    """The result of a quarantine.

    Args:
        ending: the ending that was added to the names of its files; empty if they were not renamed.
        reason: why they were not renamed.

    Example:
        >>> print(Outcome(".corrupt-1")), print(Outcome(reason="it is pinned"))
        quarantined as *.corrupt-1
        not quarantined: it is pinned
        (None, None)
    """

    ending: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return (
            f"quarantined as *{self.ending}"
            if self.ending
            else f"not quarantined: {printable(self.reason)}"
        )


def quarantine(storage: Storage, prefix: str, *, durable: bool = True) -> Outcome:
    """Rename the files of a checkpoint if it is still there and still damaged.

    Args:
        storage: the directory.
        prefix: the checkpoint.
        durable: wait until that would survive a power loss.

    Returns:
        The new ending, or the reason why nothing was renamed.

    Raises:
        StorageError: its files cannot be read or renamed; they are all there.
    """
    look = Directory.look(storage)
    if prefix not in look.known:
        return Outcome(ending_of(prefix, look.names), "it is gone")
    files = look.files(prefix)
    last = _last(files)
    try:
        hold = storage.hold(last, alone=True)
    except StorageError as error:
        if error.errno == errno.ENOENT:
            return Outcome(ending_of(prefix, storage.names()), "it is gone")
        raise
    if hold is None:
        return Outcome(reason="it is pinned, or being read or written")
    try:
        if examine(Located(storage, files)).restorable:
            return Outcome(reason="it is intact now")
        look = look.again()
        look.correct(unnamed=[prefix], durable=durable)
        own = [name for name in files.all if name in look.names]
        own += look.listing.belonging(prefix).difference(own)
        ending = _free(own, look.names)
        order = [name for name in dict.fromkeys(sorted(own)) if name != last]
        moves = {name: name + ending for name in (*order, last)}
        if not storage.rename(moves, held=hold, durable=durable):
            return Outcome(reason="it was saved again")
    finally:
        hold.release()
    return Outcome(ending)


def ending_of(prefix: str, names: Iterable[str]) -> str:
    """Return the newest ending of a checkpoint in quarantine; empty if it is not there.

    Example:
        >>> ending_of("m-1", ["m-1.index.corrupt-1", "m-1.index.corrupt-2", "m-2.index"])
        '.corrupt-2'
        >>> ending_of("m-2", ["m-1.index.corrupt-1", "m-2.index"])
        ''
    """
    numbers = []
    for name in names:
        whole, ending, number = name.rpartition(ENDING)
        if ending and number.isdecimal() and Listing(frozenset([whole])).belonging(prefix):
            numbers.append(int(number))
    return f"{ENDING}{max(numbers)}" if numbers else ""


def _last(files: Files) -> str:
    if files.index in files.missing and files.sidecar is not None:
        return files.sidecar
    return marker(files)


def _free(names: Iterable[str], present: frozenset[str]) -> str:
    endings = (f"{ENDING}{number}" for number in itertools.count(1))
    return next(end for end in endings if not any(name + end in present for name in names))
