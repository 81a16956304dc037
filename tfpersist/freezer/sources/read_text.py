"""Read the text file that fills a lookup table, if the policy of the model allows it."""

from __future__ import annotations

from tfpersist import graph_file
from tfpersist.errors import UnsafeModelError
from tfpersist.safety import Policy


def read_text(policy: Policy | None, home: str | None, path: str, where: str) -> bytes:
    """Return the bytes of a file that fills a lookup table.

    Args:
        policy: what the model may do; None for everything.
        home: the directory whose files the model may read under every policy; None for none.
        path: the path or URL of the file.
        where: the table, for the error.

    Raises:
        UnsafeModelError: the model must not read that file.
        StorageError: there is no such file, or it cannot be read.
    """
    if policy is None or "file read" in policy.allowed:
        return bytes(graph_file.read(path)[0])
    inside = None if home is None else graph_file.inside(home, path)
    if inside is None:
        raise UnsafeModelError(
            "a file that is not the model's own would fill this table",
            where=where,
            expected=f"a file in {home}" if home else "no file, for a graph that has no directory",
            found=path,
            advice="Put the file there. Or, if you trust the model's author with all your files,"
            " freeze with policy=Policy.trusted(): the content of the file goes into the frozen"
            " model.",
        )
    return bytes(graph_file.read(inside)[0])
