"""Read the sidecar and the meta graph of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfpersist.checkpoint import sidecar
from tfpersist.checkpoint.files import Files
from tfpersist.checkpoint.sidecar import Sidecar
from tfpersist.errors import CorruptionError, StorageError
from tfpersist.formats import crc32c
from tfpersist.storage import Storage
from tfpersist.storage.base import Stamp

# Decoded sidecars by directory and prefix, with the stamps of the sidecar and the index.
_FACTS: dict[tuple[str, str], tuple[Mapping[str, Stamp], Sidecar]] = {}
_MOST_FACTS = 100_000


def known_facts(storage: Storage, files: Files) -> Sidecar | None:
    """Return the sidecar as `read_sidecar` does; read it again only if it or the index changed.

    Args:
        storage: the directory.
        files: the files of the checkpoint.
    """
    if files.sidecar is None or files.index is None:
        return None
    stamps = storage.stamps((files.sidecar, files.index))
    key = storage.location, files.prefix
    seen = _FACTS.get(key)
    if seen is not None and seen[0] == stamps:
        return seen[1]
    facts = read_sidecar(storage, files)
    if facts is None:
        # The read may have failed only now, so the sidecar is read again the next time.
        return None
    if len(_FACTS) >= _MOST_FACTS:
        _FACTS.clear()
    _FACTS[key] = stamps, facts
    return facts


def read_sidecar(storage: Storage, files: Files) -> Sidecar | None:
    """Read the sidecar of a checkpoint; None if there is none, or if it belongs to another one.

    On a storage without mapped files, this function does not check to which checkpoint it belongs.

    Args:
        storage: the directory.
        files: the files of the checkpoint.
    """
    if files.sidecar is None or files.index is None:
        return None
    try:
        facts = sidecar.decode(storage.read(files.sidecar))
        if files.index in files.missing:
            return facts
        if facts is not None and facts.index_crc32c is not None and storage.maps:
            index = np.frombuffer(storage.read(files.index), np.uint8)
            return facts if crc32c.of(index) == facts.index_crc32c else None
    except StorageError:
        return None
    return facts


def read_meta(storage: Storage, files: Files) -> bytes:
    """Read the `.meta` of a checkpoint that has one.

    Args:
        storage: the directory.
        files: the files of the checkpoint.

    Raises:
        CorruptionError: it is not what was saved.
        StorageError: it cannot be read.
    """
    name = files.meta or f"{files.prefix}.meta"
    data = bytes(storage.read(name))
    facts = read_sidecar(storage, files)
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
