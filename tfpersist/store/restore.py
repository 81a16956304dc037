"""Find the newest sound checkpoint, and pair what it holds with a target; nothing is assigned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from tfpersist.checkpoint import files as listing
from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.locate import Located, locate, parent_of_prefix
from tfpersist.checkpoint.naming import is_called
from tfpersist.checkpoint.verify import refuse_misfits
from tfpersist.errors import (
    CheckpointNotFoundError,
    CorruptionError,
    RestoreError,
    SaveError,
    StorageError,
    TFPersistError,
)
from tfpersist.matching.overlap import overlaid
from tfpersist.matching.plan import Assignment, Entry, Plan, Tolerance
from tfpersist.matching.report import Skipped
from tfpersist.matching.selection import Selection
from tfpersist.progress import progress
from tfpersist.storage import Storage
from tfpersist.store import survey
from tfpersist.store.quarantine import ENDING, Outcome, ending_of, quarantine

if TYPE_CHECKING:
    from tfpersist.tf.targets.target import Target

# How often the checkpoints are listed anew because one was pruned before it could be read.
_MOST_GONE = 100


@attrs.frozen
class Fitted:
    """A checkpoint and what of it goes where.

    Args:
        checkpoint: where the values come from.
        plan: what goes with what.
        values: what fits, loaded and compared with its checksums; empty where not all fits.
        skipped: newer checkpoints that were passed over because they are damaged.
        note: what may be wrong with this one and may not; else empty.
        overlapping: whole tensors of what is filled in part.
    """

    checkpoint: Checkpoint
    plan: Plan
    values: Sequence[tuple[Entry, np.ndarray[Any, Any]]] = attrs.field(eq=False, repr=False)
    skipped: tuple[Skipped, ...] = ()
    note: str = ""
    overlapping: Sequence[tuple[Entry, np.ndarray[Any, Any]]] = attrs.field(
        default=(), eq=False, repr=False
    )


def called(name: str, prefixes: Sequence[str]) -> list[str]:
    """Pick the checkpoints that a store of this name has made.

    Args:
        name: the store's name for checkpoints.
        prefixes: those of the directory.

    Returns:
        Those of the name; all where there are none, since others call their checkpoints anything.

    Example:
        >>> called("m", ["m", "m-1", "m-best-1"]), called("m", ["max-1"])
        (['m', 'm-1'], ['max-1'])
    """
    ours = [prefix for prefix in prefixes if is_called(prefix, name)]
    return ours or list(prefixes)


def listed(
    storage: Storage, name: str, step: int | None = None, chosen: str | None = None
) -> list[Checkpoint]:
    """List the checkpoints that have all their files, oldest first.

    The directory is looked at once: one that is pruned meanwhile is in the list or is not.

    Args:
        storage: the directory.
        name: the store's name for checkpoints.
        step: the training step; None for all.
        chosen: the prefix of the only one that is asked for; None for all.
    """
    found = listing.checkpoints(storage)
    return [
        Checkpoint(Located(storage, found[prefix]))
        for prefix in called(name, list(listing.dated(storage, found)))
        if (chosen is None or prefix == chosen)
        and (step is None or _step_of(storage, found[prefix]) == step)
    ]


def meant(
    storage: Storage, name: str, step: int | None = None, chosen: str | None = None
) -> dict[str, listing.Files]:
    """Find the checkpoints of a store, even those that lack files, oldest first; see `listed`."""
    found = survey.known(storage)
    return {
        prefix: found[prefix]
        for prefix in called(name, list(found))
        if (chosen is None or prefix == chosen)
        and (step is None or _step_of(storage, found[prefix]) == step)
    }


def newest_first(
    storage: Storage, name: str, step: int | None = None, chosen: str | None = None
) -> list[str]:
    """List the checkpoints that may be restored, even those that lack files.

    Args:
        storage: the directory.
        name: the store's name for checkpoints.
        step: the training step; None for all.
        chosen: the prefix of the only one that is asked for; None for all.

    Returns:
        Their prefixes, newest first.

    Raises:
        CheckpointNotFoundError: there are none.
    """
    fitting = list(meant(storage, name, step, chosen))
    if not fitting:
        found = {} if step is None else meant(storage, name)
        steps = {_step_of(storage, files) for files in found.values()}
        known = sorted(each for each in steps if each is not None)
        aside = sorted(name for name in storage.names() if ENDING in name)
        raise CheckpointNotFoundError(
            f"there is no checkpoint {_asked(step, chosen)}here",
            where=storage.location,
            found=f"damaged ones that were set aside: {', '.join(aside)}" if aside else None,
            advice=f"There are those of the steps {', '.join(map(str, known))}."
            if known
            else _hint(storage.location),
        )
    return fitting[::-1]


def _hint(location: str) -> str:
    parent = parent_of_prefix(location)
    if parent is None:
        return "Save one first, or check the directory."
    return (
        "This is the prefix of one checkpoint, and a store is a directory:"
        f" ModelStore({parent!r}), with at(step) for that one."
    )


def _asked(step: int | None, chosen: str | None) -> str:
    asked = "" if chosen is None else f"{chosen!r} "
    return asked if step is None else f"{asked}of step {step} "


def fit(
    storage: Storage,
    prefixes: Callable[[], Sequence[str]],
    selection: Selection,
    target: Target,
    *,
    tolerance: Tolerance | None = None,
    partly: bool = False,
    only_one: bool = False,
) -> Fitted:
    """Load what a target needs from the first sound checkpoint.

    Args:
        storage: the directory.
        prefixes: lists the checkpoints, the best first; asked again when one of them is gone.
        selection: which variables, under which keys.
        target: what is to be restored.
        tolerance: what is put up with; None for nothing.
        partly: load what fits even if something is missing.
        only_one: raise what is wrong with the first instead of passing it over.

    Returns:
        What fits, and what does not.

    Raises:
        CorruptionError: none is sound.
        SelectionError: the selection asks for what is not there, or for one key twice.
    """
    skipped: list[Skipped] = []
    first: TFPersistError | None = None
    listed, seen = list(prefixes()), 0
    while listed:
        prefix = listed.pop(0)
        try:
            with _held(storage, prefix):
                located = locate(prefix, storage)
                note = refuse_misfits(storage, located.files)
                checkpoint = Checkpoint(located)
                plan = _plan(checkpoint, selection, target).tolerating(tolerance or Tolerance())
                loads = plan.fits or partly
                values, overlapping = _load(checkpoint, plan) if loads else ([], [])
        except (CorruptionError, CheckpointNotFoundError, StorageError) as error:
            gone = _is_gone(storage, prefix)
            aside = gone and ending_of(prefix, storage.names())
            if gone and not aside and seen < _MOST_GONE:
                # It was pruned, so a newer one is there.
                listed, skipped, first, seen = list(prefixes()), [], None, seen + 1
                continue
            if only_one or (isinstance(error, StorageError) and not aside):
                raise
            first = first or error
            skipped.append(Skipped(storage.location, prefix, str(error)))
        else:
            return Fitted(checkpoint, plan, values, tuple(skipped), note, overlapping)
    raise CorruptionError(
        f"none of the {len(skipped)} checkpoints here is sound",
        file=storage.location,
        found="; ".join(f"{each.checkpoint}: {each.reason}" for each in skipped),
    ) from first


def carry_out(fitted: Fitted, target: Target) -> None:
    """Assign what was loaded, or nothing at all.

    Raises:
        RestoreError: what is to be filled in part has no value that the rest could keep.
    """
    values = list(fitted.values)
    if fitted.overlapping:
        entries = [entry for entry, _ in fitted.overlapping]
        try:
            present = target.read(entries)
        except SaveError as error:
            raise RestoreError(
                f"a slice leaves the rest of its variable as it is; nothing was assigned: {error}",
                where=fitted.checkpoint.prefix,
            ) from error
        values += [
            (entry, overlaid(value, tensor, entry.part))
            for (entry, tensor), value in zip(fitted.overlapping, present, strict=True)
        ]
    target.assign(values)


def set_aside(storage: Storage, skipped: Sequence[Skipped], *, durable: bool) -> list[Skipped]:
    """Quarantine the checkpoints that were passed over, and say what became of each."""
    done = []
    for each in skipped:
        try:
            outcome = quarantine(storage, each.prefix, durable=durable)
        except TFPersistError as error:
            outcome = Outcome(reason=str(error))
        quarantined = bool(outcome.ending)
        done.append(attrs.evolve(each, outcome=str(outcome), quarantined=quarantined))
    return done


@attrs.frozen
class SavedGraph:
    """The `.meta` that the newest checkpoint with a sound one has.

    Args:
        data: its bytes.
        file: where it is.
        skipped: newer checkpoints whose `.meta` is damaged.
    """

    data: bytes
    file: str
    skipped: tuple[Skipped, ...] = ()


def newest_graph(storage: Storage, prefixes: Sequence[str], *, only_one: bool) -> SavedGraph:
    """Find the newest `.meta` that is sound.

    Args:
        storage: the directory.
        prefixes: the checkpoints, the best first.
        only_one: raise what is wrong with the first instead of passing it over.

    Raises:
        CheckpointNotFoundError: there is no `.meta`.
        CorruptionError: none is sound.
    """
    from tfpersist.formats import graphdef

    names, skipped = storage.names(), []
    first: CorruptionError | None = None
    for prefix in prefixes:
        file = f"{storage.location}/{prefix}{listing.META}"
        if prefix + listing.META not in names:
            continue
        try:
            data = listing.read_meta(storage, listing.described(prefix, names))
            graphdef.parse_meta(data, file)
        except CorruptionError as error:
            if only_one:
                raise
            first = first or error
            outcome = "left as it is: other files of it may be sound"
            skipped.append(Skipped(storage.location, prefix, str(error), outcome))
        else:
            return SavedGraph(data, file, tuple(skipped))
    if first is not None:
        raise first
    raise CheckpointNotFoundError(
        "no checkpoint here has a .meta file, which holds the graph",
        where=storage.location,
        advice="Save a session, or restore into a model that your code builds.",
    )


@contextmanager
def _held(storage: Storage, prefix: str) -> Iterator[None]:
    """Keep a checkpoint from being pruned while it is read, where there are locks."""
    hold = None
    with suppress(StorageError):
        hold = storage.hold(prefix + listing.INDEX)
    try:
        yield
    finally:
        if hold is not None:
            hold.release()


def _is_gone(storage: Storage, prefix: str) -> bool:
    names = [name for name in storage.names() if name.startswith(prefix)]
    found = listing.v2_files(names).keys() | listing.without_index(names).keys()
    return prefix not in found and prefix not in listing.checkpoints(storage)


def _step_of(storage: Storage, files: listing.Files) -> int | None:
    if files.step is not None:
        return files.step
    facts = listing.read_sidecar(storage, files)
    return None if facts is None else facts.step


def _plan(checkpoint: Checkpoint, selection: Selection, target: Target) -> Plan:
    saved, specs = checkpoint.object_graph, checkpoint.specs
    entries = target.entries_by_name(specs) if saved is None else target.entries(saved)
    return selection.for_restore(specs, entries, target.averages_of)


_Pairs = list[tuple[Entry, "np.ndarray[Any, Any]"]]


def _load(checkpoint: Checkpoint, plan: Plan) -> tuple[_Pairs, _Pairs]:
    sliced = [one.key for one in plan.sliced]
    wanted = list(dict.fromkeys([one.key for one in plan.assignments] + sliced))
    specs = list(map(checkpoint.specs.__getitem__, wanted))
    # Many tensors have one spec in common.
    sizes = {id(spec): spec.nbytes or 0 for spec in {id(spec): spec for spec in specs}.values()}
    arrays = []
    with progress(f"Restoring {checkpoint.name}", sum(sizes[id(s)] for s in specs)) as done:
        for array in checkpoint.load(wanted):
            arrays.append(array)
            done(array.nbytes)
    whole = dict(zip(wanted, arrays, strict=True))
    values = [
        (one.entry, whole[one.key] if one.entry.part is None else _part(whole, one))
        for one in plan.assignments
    ]
    return values, [(one.entry, whole[one.key]) for one in plan.sliced]


def _part(whole: Mapping[str, np.ndarray[Any, Any]], one: Assignment) -> np.ndarray[Any, Any]:
    part = one.entry.part
    assert part is not None
    ends = zip(part.start, part.length, strict=True)
    return whole[one.key][tuple(slice(start, start + length) for start, length in ends)]
