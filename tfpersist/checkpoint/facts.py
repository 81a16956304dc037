"""Read the sidecar and the meta graph of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tfpersist.checkpoint import sidecar
from tfpersist.checkpoint.files import META, Files, own_meta
from tfpersist.checkpoint.sidecar import Sidecar
from tfpersist.errors import CorruptionError, StorageError
from tfpersist.formats import crc32c, sstable
from tfpersist.storage import Storage
from tfpersist.storage.base import Stamp

# Decoded sidecars by directory and prefix, with the stamps of the sidecar and the index.
_FACTS: dict[tuple[str, str], tuple[Mapping[str, Stamp], Sidecar]] = {}
_MOST_FACTS = 100_000
# So many are read at once from a server.
_AT_ONCE = 8


def known_facts(storage: Storage, files: Files) -> Sidecar | None:
    """Return the sidecar as `read_sidecar` does; read it again only if it or the index changed.

    Args:
        storage: the directory.
        files: the files of the checkpoint.
    """
    return all_known_facts(storage, [files])[files.prefix]


def all_known_facts(storage: Storage, checkpoints: Sequence[Files]) -> dict[str, Sidecar | None]:
    """Return the sidecars of some checkpoints by prefix, by one look at the directory.

    Args:
        storage: the directory.
        checkpoints: the files of each.
    """
    sources = [_sources(files) for files in checkpoints]
    stamps = storage.stamps(name for names in sources for name in names)
    facts: dict[str, Sidecar | None] = {}
    unknown: list[Files] = []
    known: dict[str, Mapping[str, Stamp]] = {}
    for files, names in zip(checkpoints, sources, strict=True):
        present = known[files.prefix] = {name: stamps[name] for name in names if name in stamps}
        seen = _FACTS.get((storage.location, files.prefix))
        facts[files.prefix] = seen[1] if seen is not None and seen[0] == present else None
        if names and facts[files.prefix] is None:
            unknown.append(files)

    def read(files: Files) -> Sidecar | None:
        return read_sidecar(storage, files)

    if storage.remote and len(unknown) > 1:
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            found = list(threads.map(read, unknown))
    else:
        found = list(map(read, unknown))
    for files, one in zip(unknown, found, strict=True):
        facts[files.prefix] = one
        # A read may have failed only now, so it is tried again the next time.
        if one is not None:
            if len(_FACTS) >= _MOST_FACTS:
                _FACTS.clear()
            _FACTS[storage.location, files.prefix] = known[files.prefix], one
    return facts


def _sources(files: Files) -> tuple[str, ...]:
    """Return the files that the facts about a checkpoint are read from, its index last."""
    if files.index is None or (files.sidecar is None and not files.is_attempt):
        return ()
    return tuple(filter(None, (files.sidecar, files.index)))


def read_sidecar(storage: Storage, files: Files) -> Sidecar | None:
    """Read the facts about a checkpoint; None if there are none, or if they are of another one.

    They are in its index if an attempt has written it, else in its sidecar. On a storage that is
    read over a network, this function does not check to which index a sidecar belongs.

    Args:
        storage: the directory.
        files: the files of the checkpoint.
    """
    if files.index is None:
        return None
    is_there = files.index not in files.missing
    try:
        if files.is_attempt and is_there:
            noted = facts_in(storage.read(files.index), f"{storage.location}/{files.index}")
            if noted is not None:
                return noted
        facts = None if files.sidecar is None else sidecar.decode(storage.read(files.sidecar))
        if facts is not None and facts.index_crc32c is not None and is_there and not storage.remote:
            index = np.frombuffer(storage.read(files.index), np.uint8)
            return facts if crc32c.of(index) == facts.index_crc32c else None
    except (StorageError, CorruptionError):
        return None
    return facts


def facts_in(index: memoryview, file: str) -> Sidecar | None:
    """Return the facts in an index; None if it has none.

    Args:
        index: its bytes.
        file: its path, for errors.

    Raises:
        CorruptionError: it is not a table, or damaged.
    """
    note = sstable.read_note(index, sidecar.NOTE, file)
    return None if note is None else sidecar.decode(note)


def read_meta(storage: Storage, files: Files) -> bytes | None:
    """Read the `.meta` of a checkpoint; None if it has none, and those here are of other attempts.

    Args:
        storage: the directory.
        files: the files of the checkpoint; there is some `.meta` among them.

    Raises:
        CorruptionError: it is not what was saved.
        StorageError: it cannot be read.
    """
    facts = read_sidecar(storage, files)
    name = files.meta or f"{files.prefix}{META}"
    if facts is not None and facts.attempt:
        if facts.meta_crc32c is None:
            return None
        own = own_meta(files.prefix, facts.attempt)
        # A copy for other programs may have the usual name alone.
        name = own if storage.stamps([own]) else f"{files.prefix}{META}"
    data = bytes(storage.read(name))
    expected = None if facts is None else facts.meta_crc32c
    actual = crc32c.of(data)
    if expected is not None and actual != expected:
        raise CorruptionError(
            "this meta graph is not the one that was saved",
            file=f"{storage.location}/{name}",
            expected=f"the checksum {expected:#010x}",
            found=f"{actual:#010x}",
        )
    return data
