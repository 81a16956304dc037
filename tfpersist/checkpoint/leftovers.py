"""Find the files that attempts have left: of dead processes, and of losers."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator

from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.files import INDEX, attempt_of, is_part, prefix_of
from tfpersist.errors import StorageError

# An upload that takes longer than this loses its files to a pruning.
_ABANDONED_AFTER = 24 * 3600.0


def leftovers(look: Directory) -> Iterator[str]:
    """Yield the files of attempts that no index names, if they are older than a day.

    Younger ones may belong to an attempt that is under way.

    Args:
        look: a look at the directory.

    Raises:
        StorageError: an age cannot be asked for.

    Example:
        >>> from tfpersist.storage import open_storage
        >>> list(leftovers(Directory.look(open_storage("memory://doc/leftovers"))))
        []
    """
    attempts: dict[str, dict[int, list[str]]] = {}
    for name in look.names:
        number = attempt_of(name)
        if number:
            attempts.setdefault(prefix_of(name), {}).setdefault(number, []).append(name)
        elif is_part(name) and _is_old(look, name):
            yield name
    for prefix, named in attempts.items():
        facts = look.facts(prefix) if prefix + INDEX in look.names and len(named) > 1 else None
        for number, names in named.items():
            is_own = prefix + INDEX in look.names and (facts is None or facts.attempt == number)
            for name in () if is_own else names:
                if _is_old(look, name):
                    yield name


def _is_old(look: Directory, name: str) -> bool:
    try:
        return time.time() - look.storage.modified(name) > _ABANDONED_AFTER
    except StorageError as error:
        if error.errno != errno.ENOENT:
            raise
        return False
