"""Find the newest `.meta` file of a store that is intact."""

from __future__ import annotations

import attrs

from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.facts import read_meta
from tfpersist.errors import CheckpointNotFoundError, CorruptionError, StorageError
from tfpersist.formats import graphdef
from tfpersist.matching.plans.report import Skipped
from tfpersist.store.which import Which


@attrs.frozen
class SavedGraph:
    """The `.meta` of the newest checkpoint that has an intact one.

    Args:
        data: its bytes.
        file: its path.
        skipped: newer checkpoints whose `.meta` is damaged.
    """

    data: bytes
    file: str
    skipped: tuple[Skipped, ...] = ()


def newest_graph(directory: Directory, which: Which) -> SavedGraph:
    """Find the newest `.meta` that is intact.

    Args:
        directory: a look at the directory.
        which: the checkpoints that are meant.

    Raises:
        CheckpointNotFoundError: there is no `.meta`.
        CorruptionError: none is intact, or that of the only one that is meant is damaged.
    """
    storage = directory.storage
    skipped: list[Skipped] = []
    first: CorruptionError | None = None
    for prefix in which.newest_first(directory):
        files = directory.files(prefix)
        if files.meta is None:
            continue
        file = f"{storage.location}/{files.meta}"
        try:
            data = read_meta(storage, files)
            if data is None:
                continue
            graphdef.parse_meta(data, file)
        except CorruptionError as error:
            if which.is_one:
                raise
            first = first or error
            outcome = "not quarantined: its other files may be intact"
            skipped.append(Skipped(storage.location, prefix, str(error), outcome))
        except StorageError:
            look = directory.again()
            if files.meta in look.names:
                raise
            # It was pruned, so a newer one is there.
            return newest_graph(look, which)
        else:
            return SavedGraph(data, file, tuple(skipped))
    if first is not None:
        raise first
    raise CheckpointNotFoundError(
        "no checkpoint here has a .meta file, which holds the graph",
        where=storage.location,
        advice="Save a session, or restore into a model that your code builds.",
    )
