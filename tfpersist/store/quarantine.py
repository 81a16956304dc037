"""Set a damaged checkpoint aside, so that nobody takes it for an intact one; nothing is deleted.

Its files stay in the directory, each with ".corrupt-<number>" at the end of its name. No listing,
no pruning and nothing in TensorFlow looks at such names; without that end they are as they were.

All is read once more before, while the checkpoint is held: what others read, pin or have saved anew
stays. First the state file stops naming it, then its data files go, and its index last. So if that
is cut short, the rest is known for damaged by what it lacks, and the next restore goes on with it.
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
from tfpersist.errors import StorageError
from tfpersist.storage import Storage

ENDING = ".corrupt-"


@attrs.frozen
class Outcome:
    """The result of setting a damaged checkpoint aside.

    Args:
        ending: what the names of its files end in now; empty where they are as they were.
        reason: why they are as they were.

    Example:
        >>> print(Outcome(".corrupt-1")), print(Outcome(reason="it is pinned"))
        set aside as *.corrupt-1
        left as it is: it is pinned
        (None, None)
    """

    ending: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"set aside as *{self.ending}" if self.ending else f"left as it is: {self.reason}"


def quarantine(storage: Storage, prefix: str, *, durable: bool = True) -> Outcome:
    """Set a checkpoint aside if it is still there and still damaged.

    Args:
        storage: the directory.
        prefix: the checkpoint.
        durable: wait until that would survive a power loss.

    Returns:
        What became of it.

    Raises:
        StorageError: its files cannot be read, or get no other names; they are all there.
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
    """Find out what the files of a checkpoint end in that was set aside, the last time it was.

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
