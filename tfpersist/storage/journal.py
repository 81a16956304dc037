"""The journal that makes the replacing of several files one step.

It is a small JSON file that says which staged file is to become which file, and which files go.
Each staged name is unique, so a journal that was carried out already means nothing any more, and
carrying one out twice does no harm. A journal that is cut short does not parse and counts as none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import attrs

from tfpersist.storage.base import is_plain

# What the names of all files begin with that are no one's but tfpersist's.
PREFIX = ".tfpersist-"
NAME = ".tfpersist-journal"
_STAGED = re.compile(r"\.tfpersist-[0-9a-f]{16}\.[0-9]{1,9}\.tmp")
_VERSION = 1


def staged_name(token: str, number: int) -> str:
    """Name a file that is being written, so that it is known for what it is if its writer dies.

    Example:
        >>> staged_name("0123456789abcdef", 2)
        '.tfpersist-0123456789abcdef.2.tmp'
    """
    return f".tfpersist-{token}.{number}.tmp"


def is_staged(name: str) -> bool:
    """Whether `name` is that of a file which was, or is, being written.

    Example:
        >>> is_staged(".tfpersist-0123456789abcdef.2.tmp"), is_staged("model.tmp")
        (True, False)
    """
    return _STAGED.fullmatch(name) is not None


@attrs.frozen
class Journal:
    """What is being replaced.

    Args:
        moves: name of the staged file, by the name it is to have; the commit marker last.
        discards: the files that go, in this order.
    """

    moves: Mapping[str, str]
    discards: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Give the bytes of the journal file."""
        facts = {
            "version": _VERSION,
            "moves": list(self.moves.items()),
            "discards": list(self.discards),
        }
        return json.dumps(facts).encode()


def decode(data: bytes | memoryview) -> Journal | None:
    """Read a journal file; None where it is none, or not a whole one.

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
