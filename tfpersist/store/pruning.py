"""Remove the checkpoints that a store need not keep, so that nobody ever sees half of one.

What is there is judged from the directory and the sidecars each time. Those that are to go are held
alone first, which a pin or a reader prevents; then all their files go in one publication, each
index before the data it speaks of, together with the new state file. If that is cut short, the
journal tells every reader, and the next writer, what was to go.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

import attrs

from tfpersist.checkpoint import files as listing
from tfpersist.checkpoint import verified
from tfpersist.checkpoint.contents import open_contents
from tfpersist.checkpoint.files import Files
from tfpersist.checkpoint.naming import is_called
from tfpersist.checkpoint.pins import marker
from tfpersist.checkpoint.sidecar import Sidecar
from tfpersist.checkpoint.verify import Flaw, judge_sidecar
from tfpersist.checkpoint.writer import correct_state, encode_state
from tfpersist.errors import (
    CheckpointNotFoundError,
    CorruptionError,
    RetentionError,
    StorageError,
    UnsupportedError,
)
from tfpersist.storage import Hold, Storage
from tfpersist.store.retention import Candidate, Keep, Pruning, Verdict, decide

_HELD = "pinned, or being read or written"
_ANEW = "saved anew meanwhile"


@attrs.frozen
class Census:
    """The checkpoints of one name in a directory.

    Args:
        candidates: what is known of each, oldest first.
        files: the files of each, by name.
        marks: what tells the index of each from one that is saved in its place later.
        dates: when each whole checkpoint of the directory was saved, of any name, oldest first.
    """

    candidates: tuple[Candidate, ...]
    files: Mapping[str, Files]
    marks: Mapping[str, tuple[float, int]]
    dates: Mapping[str, float]


def take_census(storage: Storage, name: str) -> Census:
    """Look at the checkpoints of a directory that were saved under one name.

    Args:
        storage: the directory.
        name: what they are called, before "-" and the step; others are left alone, and so are
            those of the V1 format.

    Raises:
        StorageError: the directory cannot be read.
    """
    whole = listing.checkpoints(storage)
    found = {**listing.v2_files(storage.names()), **whole}
    dates = listing.dated(storage, found)
    candidates, marks = [], {}
    for prefix, created in dates.items():
        files = found[prefix]
        if files.index is not None and is_called(prefix, name):
            marks[prefix] = _mark(storage, files)
            candidates.append(_candidate(storage, files, created))
    dates = {prefix: date for prefix, date in dates.items() if prefix in whole}
    return Census(tuple(candidates), found, marks, dates)


def _candidate(storage: Storage, files: Files, created: float) -> Candidate:
    facts = listing.read_sidecar(storage, files)
    damaged = not _sound(storage, files, facts)
    if facts is None:
        return Candidate(files.prefix, created, files.step, damaged=damaged)
    step = facts.step if files.step is None else files.step
    return Candidate(files.prefix, created, step, facts.metrics, damaged)


def _sound(storage: Storage, files: Files, facts: Sidecar | None) -> bool:
    """Whether sizes fit together. A sidecar that fits the index makes reading it needless."""
    if files.missing:
        return False
    try:
        if facts is not None and facts.index_crc32c is not None and facts.sizes:
            return facts.sizes == tuple(map(storage.size, files.shards))
        # Without what a damaged sidecar says nobody can tell whether this one may go.
        if facts is None and isinstance(judge_sidecar(storage, files), Flaw):
            return False
        open_contents(storage, files)
    except (CorruptionError, UnsupportedError, StorageError):
        return False
    return True


def _mark(storage: Storage, files: Files) -> tuple[float, int]:
    try:
        return storage.modified(marker(files)), storage.size(marker(files))
    except StorageError:
        return -1.0, -1


def prune(
    storage: Storage,
    name: str,
    keep: Keep,
    *,
    dry_run: bool = False,
    durable: bool = True,
    written: str | None = None,
) -> Pruning:
    """Remove the checkpoints of one name that need not be kept.

    Args:
        storage: the directory.
        name: what they are called, before "-" and the step.
        keep: which are kept.
        dry_run: only say what would go.
        durable: wait until the removal would survive a power loss.
        written: the checkpoint that this process has just saved; None for none.

    Returns:
        What went and what stays, and why.

    Raises:
        RetentionError: a `where` failed; nothing was removed.
        StorageError: files could not be removed.
    """
    census = take_census(storage, name)
    if written is not None and written in census.marks:
        verified.note(storage, census.files[written])
    verdicts = _decide(storage, census, keep)
    holds: dict[str, Hold] = {}
    try:
        for place, verdict in enumerate(verdicts):
            reason = "" if verdict.kept else _hold(storage, census, verdict, holds)
            if reason:
                verdicts[place] = attrs.evolve(verdict, reasons=(reason,))
        if holds and not dry_run:
            _remove(storage, census, holds, durable=durable)
    finally:
        for hold in holds.values():
            hold.release()
    return Pruning(storage.location, tuple(verdicts), dry_run)


def _decide(storage: Storage, census: Census, keep: Keep) -> list[Verdict]:
    """Decide, and again whenever one that would be kept turns out to be damaged.

    So what is kept is sound, every byte of it, or does not count. Where reading means fetching, one
    that is sound is enough.
    """
    candidates = list(census.candidates)
    while True:
        verdicts = list(decide(candidates, keep))
        if all(verdict.kept for verdict in verdicts):
            return verdicts
        damaged: Candidate | None = None
        for verdict in reversed(verdicts):
            candidate = verdict.candidate
            if not verdict.kept or candidate.damaged:
                continue
            try:
                if verified.is_sound(storage, census.files[candidate.name]):
                    if not storage.maps:
                        break
                    continue
                damaged = candidate
            except CheckpointNotFoundError:
                candidates.remove(candidate)
                damaged = candidate
            except (CorruptionError, UnsupportedError, StorageError):
                damaged = candidate
            break
        if damaged is None:
            return verdicts
        candidates = [
            attrs.evolve(each, damaged=True) if each is damaged else each for each in candidates
        ]


def _hold(storage: Storage, census: Census, verdict: Verdict, holds: dict[str, Hold]) -> str:
    """Hold a checkpoint that is to go; else say why it stays."""
    name = verdict.candidate.name
    files = census.files[name]
    try:
        hold = storage.hold(marker(files), alone=True)
    except StorageError as error:
        if error.errno != errno.ENOENT:
            raise
        return ""
    if hold is None:
        return _HELD
    if _mark(storage, files) != census.marks[name]:
        hold.release()
        return _ANEW
    holds[name] = hold
    return ""


def _remove(storage: Storage, census: Census, holds: Mapping[str, Hold], *, durable: bool) -> None:
    present = storage.names()
    left = {prefix: date for prefix, date in census.dates.items() if prefix not in holds}
    with storage.publish(durable=durable) as publication:
        for name, hold in holds.items():
            belonging = listing.belonging(name, present)
            for file in (*census.files[name].all, *sorted(belonging)):
                publication.discard(file, held=hold)
        publication.create(listing.STATE_FILE).write(encode_state(storage, left))
    for name in holds:
        verified.forget(storage, name)
    correct_state(storage, durable=durable)


def prune_after(
    storage: Storage, prefix: str, name: str, keep: Keep | None, *, durable: bool
) -> None:
    """Remove what need not be kept once a checkpoint is saved.

    Raises:
        RetentionError: a `where` failed; the message says that the checkpoint is safe.
        StorageError: files could not be removed; so it does.
    """
    if keep is None:
        return
    try:
        prune(storage, name, keep, durable=durable, written=prefix)
    except (RetentionError, StorageError) as error:
        raise type(error)(
            f"the checkpoint {prefix!r} is saved and whole, but older ones could not be removed: "
            f"{error}",
            where=storage.location,
        ) from error
