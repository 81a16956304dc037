"""Remove the checkpoints that a store need not keep, so that nobody ever sees half of one.

Those that are to go are held alone first, which a pin or a reader prevents. Then all their files go
in one publication, each index before the data it speaks of, together with a state file that does
not name them. If that is cut short, the journal tells every reader, and the next writer, what was
to go.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import attrs

from tfpersist.checkpoint import verified
from tfpersist.checkpoint.contents import open_contents
from tfpersist.checkpoint.directory import Directory, read_sidecar
from tfpersist.checkpoint.files import Files, is_called
from tfpersist.checkpoint.pins import marker
from tfpersist.checkpoint.verify import Flaw, check_sidecar
from tfpersist.checkpoint.writer import note_latest
from tfpersist.errors import (
    CheckpointNotFoundError,
    CorruptionError,
    RetentionError,
    StorageError,
    UnsupportedError,
)
from tfpersist.storage import Hold, Storage
from tfpersist.store.retention import Best, Candidate, Keep, Pruning, Verdict, best_of, decide

_HELD = "pinned, or being read or written"
_REPLACED = "saved again meanwhile"


def candidates(directory: Directory, name: str) -> list[Candidate]:
    """Return what is known of the checkpoints of one name, oldest first.

    No file is opened: metrics are read when a rule asks for them. A checkpoint that lacks files is
    damaged; the others are taken for intact until something depends on it.

    Args:
        directory: a look at the directory.
        name: what they are called, before "-" and the step; others are left out, and so are those
            of the V1 format.
    """
    v2, complete = directory.listing.v2, frozenset(directory.complete)
    return [
        Candidate(
            prefix,
            directory.created(prefix),
            directory.step(prefix),
            directory.metrics(prefix),
            damaged=prefix not in complete,
        )
        for prefix in directory.known
        if prefix in v2 and is_called(prefix, name)
    ]


def find_best(directory: Directory, name: str, best: Best) -> str:
    """Return the prefix of the checkpoint with the best value of a metric.

    Raises:
        NameNotFoundError: no checkpoint that is intact, as far as sizes tell, has a value of it.
    """
    known = candidates(directory, name)
    while True:
        chosen = best_of(known, best, directory.storage.location)
        if _sizes_fit(directory.storage, directory.files(chosen.name)):
            return chosen.name
        known = _with_damaged(known, chosen)


def prune(
    directory: Directory, name: str, keep: Keep, *, dry_run: bool = False, durable: bool = True
) -> Pruning:
    """Remove the checkpoints of one name that need not be kept.

    Args:
        directory: a look at the directory.
        name: what they are called, before "-" and the step.
        keep: which are kept.
        dry_run: only report what would be removed.
        durable: wait until the removal would survive a power loss.

    Returns:
        What was removed and what stays, and why.

    Raises:
        RetentionError: a `where` failed; nothing was removed.
        StorageError: files could not be removed.
    """
    with _going(directory, name, keep) as (verdicts, holds):
        if holds and not dry_run:
            directory.note(removed=holds, durable=durable)
            _forget(directory, holds)
    return Pruning(directory.storage.location, tuple(verdicts), dry_run)


def prune_after(directory: Directory, prefix: str, name: str, keep: Keep, *, durable: bool) -> None:
    """Name a checkpoint that was just saved the latest, and remove what need not be kept.

    Args:
        directory: the directory with the checkpoint in it.
        prefix: the checkpoint.
        name: what the checkpoints are called, before "-" and the step.
        keep: which are kept.
        durable: wait until that would survive a power loss.

    Raises:
        RetentionError: a `where` failed; the message says that the checkpoint is saved.
        StorageError: files could not be removed; so it does.
    """
    verified.note(directory.storage, directory.files(prefix))
    try:
        with _going(directory, name, keep) as (_, holds):
            note_latest(directory, prefix, removed=holds, durable=durable)
            _forget(directory, holds)
    except (RetentionError, StorageError) as error:
        # Whatever keeps older ones from being removed, this one is to be named.
        note_latest(directory, prefix, durable=durable)
        raise type(error)(
            f"the checkpoint {prefix!r} is saved and complete, but older ones could not be"
            f" removed: {error}",
            where=directory.storage.location,
        ) from error


@contextmanager
def _going(
    directory: Directory, name: str, keep: Keep
) -> Iterator[tuple[list[Verdict], dict[str, Hold]]]:
    """Decide, and hold those that are to be removed; one that cannot be held stays."""
    verdicts = _decide(directory, candidates(directory, name), keep)
    holds: dict[str, Hold] = {}
    try:
        for place, verdict in enumerate(verdicts):
            reason = "" if verdict.kept else _hold(directory, verdict.candidate, holds)
            if reason:
                verdicts[place] = attrs.evolve(verdict, reasons=(reason,))
        yield verdicts, holds
    finally:
        for hold in holds.values():
            hold.release()


def _decide(directory: Directory, known: list[Candidate], keep: Keep) -> list[Verdict]:
    """Decide, and again whenever one turns out to be damaged.

    So what is kept is intact, every byte of it, or does not count; and what is damaged stays. Where
    reading means fetching, one that is intact is enough.
    """
    while True:
        verdicts = list(decide(known, keep))
        if all(verdict.reasons for verdict in verdicts):
            return verdicts
        problem = _first_problem(directory, verdicts)
        if problem is None:
            return verdicts
        candidate, gone = problem
        known = (
            [other for other in known if other is not candidate]
            if gone
            else _with_damaged(known, candidate)
        )


def _first_problem(directory: Directory, verdicts: list[Verdict]) -> tuple[Candidate, bool] | None:
    """Return a checkpoint that is damaged, or gone, and was taken for intact; None for none."""
    storage = directory.storage
    for verdict in verdicts:
        candidate = verdict.candidate
        if not verdict.kept and not _sizes_fit(storage, directory.files(candidate.name)):
            return candidate, False
    kept = [verdict.candidate for verdict in verdicts if verdict.kept]
    kept = [candidate for candidate in kept if not candidate.damaged]
    known = verified.known_intact(storage, [candidate.name for candidate in kept])
    for candidate in reversed(kept):
        try:
            if candidate.name not in known and not verified.is_intact(
                storage, directory.files(candidate.name)
            ):
                return candidate, False
        except CheckpointNotFoundError:
            return candidate, True
        except (CorruptionError, UnsupportedError, StorageError):
            return candidate, False
        if not storage.maps:
            return None
    return None


def _with_damaged(known: list[Candidate], candidate: Candidate) -> list[Candidate]:
    return [attrs.evolve(other, damaged=True) if other is candidate else other for other in known]


def _sizes_fit(storage: Storage, files: Files) -> bool:
    """Return whether sizes fit together. If the sidecar fits the index, the index is not read."""
    if files.missing:
        return False
    try:
        facts = read_sidecar(storage, files)
        if facts is not None and facts.index_crc32c is not None and facts.sizes:
            return facts.sizes == tuple(map(storage.size, files.shards))
        # Without what a damaged sidecar says nobody can tell whether this one may go.
        if facts is None and isinstance(check_sidecar(storage, files), Flaw):
            return False
        open_contents(storage, files)
    except (CorruptionError, UnsupportedError, StorageError):
        return False
    return True


def _hold(directory: Directory, candidate: Candidate, holds: dict[str, Hold]) -> str:
    """Hold a checkpoint that is to be removed; else return why it stays."""
    storage, files = directory.storage, directory.files(candidate.name)
    try:
        hold = storage.hold(marker(files), alone=True)
    except StorageError as error:
        if error.errno != errno.ENOENT:
            raise
        return ""
    if hold is None:
        return _HELD
    holds[candidate.name] = hold
    # Who saves under an old name replaces the sidecar with the index, before the state file.
    facts = read_sidecar(storage, files)
    if facts is not None and facts.created > candidate.created:
        holds.pop(candidate.name).release()
        return _REPLACED
    return ""


def _forget(directory: Directory, removed: Iterable[str]) -> None:
    for name in removed:
        verified.forget(directory.storage, name)
