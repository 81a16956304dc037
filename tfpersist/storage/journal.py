"""Encode and decode the journal, which makes the replacement of several files one step.

The journal is a small JSON file. It lists which staged file becomes which file, and which files are
removed. Each staged name is unique: a journal that was carried out means nothing any more, and to
carry it out twice does no harm. A journal that is cut off cannot be parsed and is ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import attrs

from tfpersist.storage.base import is_plain

# The beginning of the names of all hidden files of tfpersist.
PREFIX = ".tfpersist-"
NAME = f"{PREFIX}journal"
_STAGED = re.compile(r"\.tfpersist-[0-9a-f]{16}\.[0-9]{1,9}\.tmp")
_VERSION = 1


def staged_name(token: str, number: int) -> str:
    """Return a name for a file that is being written, which tells what it is if its writer dies.

    Example:
        >>> staged_name("0123456789abcdef", 2)
        '.tfpersist-0123456789abcdef.2.tmp'
    """
    return f".tfpersist-{token}.{number}.tmp"


def is_staged(name: str) -> bool:
    """Return whether a name is that of a file that is or was being written.

    Example:
        >>> is_staged(".tfpersist-0123456789abcdef.2.tmp"), is_staged("model.tmp")
        (True, False)
    """
    return _STAGED.fullmatch(name) is not None


@attrs.frozen
class Journal:
    """The files that are being replaced and removed.

    Args:
        moves: {name: staged name}, the commit marker last.
        discards: the files to remove, in this order.
    """

    moves: Mapping[str, str]
    discards: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Return the bytes of the journal file."""
        facts = {
            "version": _VERSION,
            "moves": list(self.moves.items()),
            "discards": list(self.discards),
        }
        return json.dumps(facts).encode()


def decode(data: bytes | memoryview) -> Journal | None:
    """Decode a journal file; None if the bytes are not a whole journal.

    Example:
        >>> journal = Journal({"a": staged_name("0" * 16, 0)}, ("b",))
        >>> decode(journal.encode()) == journal, decode(journal.encode()[:-1])
        (True, None)
    """
    try:
        facts = json.loads(bytes(data))
        if facts["version"] != _VERSION:
            return None
        moves = {str(name): str(staged) for name, staged in facts["moves"]}
        discards = tuple(str(name) for name in facts["discards"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not all(map(is_staged, moves.values())) or not all(map(is_plain, {*moves, *discards})):
        return None
    return Journal(moves, discards)
