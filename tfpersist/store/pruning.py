"""Remove the checkpoints that a store does not keep, so that no reader ever sees half of one.

First each of them is locked (*alone*). A checkpoint that is pinned or read cannot be locked, and
stays. Then one publication removes all their files, each index before its data, and writes a state
file that does not name them. If it is interrupted, the journal tells every reader and the next
writer which files to remove.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

import attrs

from tfpersist.checkpoint import verified
from tfpersist.checkpoint.contents import open_contents
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.facts import read_sidecar
from tfpersist.checkpoint.files import Files, remaining
from tfpersist.checkpoint.leftovers import leftovers
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
from tfpersist.store.retention import (
    Best,
    Candidate,
    Decision,
    Keep,
    Pruning,
    Verdict,
    best_of,
    decide_by_name,
)

_HELD = "pinned, or being read or written"
_REPLACED = "saved again meanwhile"


@attrs.frozen
class _Facts:
    """The facts about the checkpoints of a directory, from one look.

    No file is opened for a checkpoint whose name ends in its step; metrics are read when a rule
    asks for them.
    """

    directory: Directory

    def created(self, name: str) -> float:
        return self.directory.created(name)

    def step(self, name: str) -> int | None:
        return self.directory.step(name)

    def candidate(self, name: str, *, damaged: bool = False) -> Candidate:
        directory = self.directory
        return Candidate(
            name, directory.created(name), directory.step(name), directory.metrics(name), damaged
        )


def find_best(directory: Directory, name: str, best: Best) -> str:
    """Return the prefix of the checkpoint with the best value of a metric.

    Raises:
        NameNotFoundError: no checkpoint that is intact, as far as sizes tell, has a value of it.
    """
    names, facts = directory.called(name), _Facts(directory)
    damaged = set(directory.incomplete(names))
    while True:
        known = [facts.candidate(one, damaged=one in damaged) for one in names]
        chosen = best_of(known, best, directory.storage.location)
        if _sizes_fit(directory.storage, directory.files(chosen.name)):
            return chosen.name
        damaged.add(chosen.name)


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
    with _held(directory, _decide(directory, name, keep)) as going:
        if not dry_run:
            _remove(directory, going, durable=durable)
        return Pruning(directory.storage.location, going.verdicts(directory), dry_run)


def clear(directory: Directory, name: str, *, durable: bool = True) -> Pruning:
    """Remove all checkpoints of one name that nobody holds, also damaged ones.

    Args:
        directory: a look at the directory.
        name: what they are called, before "-" and the step.
        durable: wait until the removal would survive a power loss.

    Returns:
        What was removed and what stays, and why.

    Raises:
        StorageError: files could not be removed.
    """
    names = directory.called(name)
    all_of_them = _Going(Decision(names, ()), directory.incomplete(names), names)
    with _held(directory, all_of_them) as going:
        _remove(directory, going, durable=durable)
        return Pruning(directory.storage.location, going.verdicts(directory))


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
    if directory.storage.remote:
        # A save has not looked, and does not know what others have saved.
        directory = directory.again()
    verified.note(directory.storage, directory.files(prefix))
    try:
        with _held(directory, _decide(directory, name, keep)) as going:
            note_latest(directory, prefix, removed=going.holds, durable=durable)
            _forget(directory, going.holds)
            _sweep(directory)
    except (RetentionError, StorageError) as error:
        # Whatever keeps older ones from being removed, this one is to be named.
        note_latest(directory, prefix, durable=durable)
        raise type(error)(
            f"the checkpoint {prefix!r} is saved and complete, but older ones could not be"
            f" removed: {error}",
            where=directory.storage.location,
        ) from error


def _sweep(directory: Directory) -> None:
    """Remove what attempts have left in an object store, if it can be removed."""
    storage = directory.storage
    if storage.remote:
        storage.recover()
        with storage.publish() as publication:
            for name in leftovers(directory):
                publication.discard(name)


@attrs.frozen
class _Going:
    """The decision about the checkpoints of one name.

    Args:
        decision: which of them stay.
        damaged: those of them that are damaged.
        leaving: those that the rules do not keep, oldest first.
        holds: the holds on those that are to be removed.
        refusals: why others that were to be removed stay.
    """

    decision: Decision
    damaged: frozenset[str]
    leaving: Sequence[str]
    holds: dict[str, Hold] = attrs.field(factory=dict)
    refusals: dict[str, str] = attrs.field(factory=dict)

    def verdicts(self, directory: Directory) -> tuple[Verdict, ...]:
        """Return what becomes of each, and why."""
        facts = _Facts(directory)
        return tuple(
            Verdict(
                facts.candidate(name, damaged=name in self.damaged),
                (self.refusals[name],) if name in self.refusals else tuple(reasons),
            )
            for name, reasons in self.decision.reasons().items()
        )


@contextmanager
def _held(directory: Directory, going: _Going) -> Iterator[_Going]:
    """Hold those that are to be removed; one that cannot be held stays."""
    try:
        for prefix in going.leaving:
            reason = _hold(directory, prefix, going.holds)
            if reason:
                going.refusals[prefix] = reason
        yield going
    finally:
        for hold in going.holds.values():
            hold.release()


def _decide(directory: Directory, name: str, keep: Keep) -> _Going:
    """Decide, and again whenever one turns out to be damaged.

    So what is kept is intact, every byte of it, or does not count; and what is damaged stays. Where
    reading means fetching, one that is intact is enough.
    """
    names: Sequence[str] = directory.called(name)
    damaged, facts = directory.incomplete(names), _Facts(directory)
    while True:
        decision = decide_by_name(names, damaged, facts, keep)
        going = decision.going
        problem = _first_problem(directory, names, damaged, going) if going else None
        if problem is None:
            return _Going(decision, damaged, going)
        prefix, gone = problem
        if gone:
            names = [other for other in names if other != prefix]
        else:
            damaged |= {prefix}


def _first_problem(
    directory: Directory, names: Sequence[str], damaged: Collection[str], going: Sequence[str]
) -> tuple[str, bool] | None:
    """Return a checkpoint that is damaged or gone, though it counted as intact; else None."""
    storage = directory.storage
    for prefix in going:
        if not _sizes_fit(storage, directory.files(prefix)):
            return prefix, False
    kept = remaining(names, {*going, *damaged})
    for prefix in verified.to_verify(storage, kept[-1:] if storage.remote else kept):
        try:
            if not verified.is_intact(storage, directory.files(prefix)):
                return prefix, False
        except CheckpointNotFoundError:
            return prefix, True
        except (CorruptionError, UnsupportedError, StorageError):
            return prefix, False
    return None


def _sizes_fit(storage: Storage, files: Files) -> bool:
    """Return whether sizes fit together. If the sidecar fits the index, the index is not read."""
    if files.missing:
        return False
    try:
        facts = read_sidecar(storage, files)
        if facts is not None and facts.attempt:
            names = facts.shards(files.prefix)
            stamps = storage.stamps(names)
            return facts.sizes == tuple(stamps[n][1] for n in names if n in stamps)
        if facts is not None and facts.index_crc32c is not None and facts.sizes:
            return facts.sizes == tuple(map(storage.size, files.shards))
        # A damaged sidecar may have held the best metrics, so this checkpoint stays.
        if facts is None and isinstance(check_sidecar(storage, files), Flaw):
            return False
        open_contents(storage, files)
    except (CorruptionError, UnsupportedError, StorageError):
        return False
    return True


def _hold(directory: Directory, prefix: str, holds: dict[str, Hold]) -> str:
    """Hold a checkpoint that is to be removed; else return why it stays."""
    storage, files = directory.storage, directory.files(prefix)
    try:
        hold = storage.hold(marker(files), alone=True)
    except StorageError as error:
        if error.errno != errno.ENOENT:
            raise
        return ""
    if hold is None:
        return _HELD
    holds[prefix] = hold
    # Who saves under an old name replaces the sidecar with the index, before the state file.
    facts = read_sidecar(storage, files)
    if facts is not None and facts.created > directory.created(prefix):
        holds.pop(prefix).release()
        return _REPLACED
    return ""


def _remove(directory: Directory, going: _Going, *, durable: bool) -> None:
    if going.holds:
        directory.note(removed=going.holds, durable=durable)
        _forget(directory, going.holds)
    _sweep(directory)


def _forget(directory: Directory, removed: Iterable[str]) -> None:
    for name in removed:
        verified.forget(directory.storage, name)
