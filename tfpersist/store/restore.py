"""Restore: find the newest intact checkpoint, plan, load, assign."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from types import NoneType

import attrs

from tfpersist.checkpoint.checkpoint import Checkpoint, opened
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.fetched import missing
from tfpersist.checkpoint.files import Files
from tfpersist.checkpoint.locate import Located, file_at, only_file, variables_of
from tfpersist.checkpoint.pins import held
from tfpersist.checkpoint.verify import open_as_saved
from tfpersist.errors import (
    ArgumentError,
    CheckpointNotFoundError,
    CorruptionError,
    RestoreError,
    SaveError,
    SelectionError,
    StorageError,
    TargetError,
    TFPersistError,
    counted,
    value_text,
)
from tfpersist.gc_pause import gc_paused
from tfpersist.graph.describe.forget_bias import forget_biases
from tfpersist.matching.choices.by_plan import as_said, keys_of
from tfpersist.matching.choices.casting import as_cast, with_casts
from tfpersist.matching.choices.remapped import with_rows
from tfpersist.matching.choices.selection import Selection
from tfpersist.matching.forms.proposed_recipes import with_recipes
from tfpersist.matching.forms.slots import with_slots
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.plans.fit import Fit, Tolerance
from tfpersist.matching.plans.plan import Plan
from tfpersist.matching.plans.report import RestoreReport, Skipped
from tfpersist.matching.plans.tied import tied
from tfpersist.storage import Storage
from tfpersist.store.quarantine import Outcome, ending_of, quarantine
from tfpersist.store.together import agreed_on
from tfpersist.store.values import Values, read_values
from tfpersist.store.which import Which
from tfpersist.tf.targets.adapt import adapt
from tfpersist.tf.targets.cluster import workers_of
from tfpersist.tf.targets.resumable import Resumable
from tfpersist.tf.targets.target import Target
from tfpersist.uninterrupted import uninterrupted

_LOG = logging.getLogger("tfpersist")

# How often a restore looks again because its checkpoint was pruned or replaced meanwhile.
_MOST_LOOKS = 100


@attrs.frozen
class Loaded:
    """A checkpoint, with the values to assign.

    Args:
        checkpoint: the checkpoint.
        fit: which tensor is assigned to which variable, and what does not fit.
        values: the tensors that fit, compared with their checksums; none if not all fit.
        skipped: newer checkpoints that were skipped because they are damaged.
        note: a possible problem of this checkpoint; empty if there is none.
        averages: whether moving averages were requested.
    """

    checkpoint: Checkpoint
    fit: Fit
    values: Values = attrs.field(eq=False, repr=False)
    skipped: tuple[Skipped, ...] = ()
    note: str = ""
    averages: bool = False

    def report(self, *, carried_out: bool) -> RestoreReport:
        """Return the report of what is assigned, or would be."""
        report = self.fit.report(
            self.checkpoint.prefix,
            carried_out=carried_out,
            skipped=self.skipped,
            averages=self.averages,
            note=self.note,
        )
        return attrs.evolve(report, losses=self.values.losses) if self.values.losses else report

    def assign(self, target: Target) -> None:
        """Assign all values, or none. A signal that comes meanwhile is handled afterwards.

        Raises:
            RestoreError: a variable that is filled in part has no value yet.
        """
        values = list(self.values.whole)
        if self.values.partial:
            entries = [entry for entry, _ in self.values.partial]
            try:
                present = target.read(entries)
            except SaveError as error:
                raise RestoreError(
                    "a variable that gets a part keeps the rest, which has no value; nothing was"
                    f" assigned: {error}",
                    where=self.checkpoint.prefix,
                ) from error
            values += [
                (entry, filled(value))
                for (entry, filled), value in zip(self.values.partial, present, strict=True)
            ]
        with uninterrupted():
            target.assign(values)


@attrs.frozen
class Source:
    """The checkpoints that a restore may use, and the variables to restore.

    Args:
        storage: the directory.
        which: the choice of checkpoints.
        selection: the variables, and their keys.
        plan: which tensor each variable gets; None to find it out.
        cast: whether tensors of another float type are cast.
        rows: the variables whose rows are remapped, and how.
        durable: wait until a quarantine would survive a power loss.
    """

    storage: Storage
    which: Which
    selection: Selection
    plan: Plan | None = None
    cast: bool = False
    rows: object = ()
    durable: bool = True


def restore_target(
    target: object, source: Source, tolerance: Tolerance, *, dry_run: bool = False
) -> RestoreReport:
    """Restore a target; see `ModelStore.restore`."""
    if not isinstance(source.plan, (Plan, NoneType)):
        raise ArgumentError(
            "plan= must be a plan",
            expected="the plan of a report, or Plan.from_json(text)",
            found=value_text(source.plan),
        )
    with gc_paused():
        adapted = adapt(target)
        workers = None if dry_run else workers_of(adapted)
        if workers is not None and isinstance(target, Resumable):
            raise TargetError(
                "a training on several workers cannot be resumed to the bit; nothing was assigned",
                expected="a training on one worker",
                found=f"{workers.of} workers",
                advice='Restore the variables alone: callback(resume="weights") or restore(model).',
            )
        if workers is None:
            loaded, report = _fitting(target, adapted, source, tolerance, dry_run=dry_run)
        else:
            loaded, report = agreed_on(
                workers,
                lambda: _fitting(target, adapted, source, tolerance),
                lambda fitting: fitting[0].checkpoint,
            )
        if dry_run:
            return report
        loaded.assign(adapted)
    if isinstance(target, Resumable):
        resume = target.resumed(loaded.checkpoint.resume)
        return attrs.evolve(report, resume=resume.without(report.unexpected))
    return report


def _fitting(
    target: object, adapted: Target, source: Source, tolerance: Tolerance, *, dry_run: bool = False
) -> tuple[Loaded, RestoreReport]:
    """Load what fits a target, without assigning it.

    Raises:
        RestoreError: the checkpoint does not fit, and this is no dry run.
    """
    source, found = _found(source, recover=not dry_run)
    if isinstance(found, Directory):
        loaded = load(found, source, adapted, tolerance)
    else:
        loaded = _load_one(found, source, adapted, tolerance)
    if not dry_run:
        loaded = quarantine_skipped(loaded, source)
    report = loaded.report(carried_out=loaded.fit.fits and not dry_run)
    if not report.fits and not dry_run:
        named = target.subject if isinstance(target, Resumable) else target
        raise RestoreError(
            f"{report.checkpoint} does not fit this {type(named).__name__}; nothing was assigned",
            report=report,
        )
    return loaded, report


def restore_graph(target: Target, source: Source, without: Sequence[Skipped]) -> RestoreReport:
    """Restore those variables of an imported `.meta` graph that the checkpoint has.

    Args:
        target: the variables of the graph.
        source: the checkpoints.
        without: checkpoints that were skipped already.

    Raises:
        RestoreError: the checkpoint does not fit its own graph.
    """
    passed = {skipped.prefix for skipped in without}
    directory = _look(source.storage, recover=True)
    loaded = load(directory, source, target, partly=True, without=passed)
    loaded = quarantine_skipped(loaded, source)
    loaded = attrs.evolve(loaded, skipped=(*without, *loaded.skipped))
    fits = not loaded.fit.mismatched and (loaded.fit.fits or bool(loaded.values.whole))
    report = loaded.report(carried_out=fits)
    if not fits:
        raise RestoreError(
            f"{report.checkpoint} does not fit its graph; nothing was assigned", report=report
        )
    with uninterrupted():
        target.assign(loaded.values.whole)
    return report


def _found(source: Source, *, recover: bool) -> tuple[Source, Directory | Files]:
    """Find out what a location is: an HDF5 file of Keras, a SavedModel, or a directory.

    Returns:
        The source with the directory to read from; and a look at that directory, or the file in it
        to restore from.
    """
    located = file_at(source.storage)
    if located is not None:
        return attrs.evolve(source, storage=located.storage), located.files
    directory = _look(source.storage, recover=recover)
    variables = variables_of(directory)
    if variables is not None:
        return attrs.evolve(source, storage=variables), _look(variables, recover=False)
    return source, only_file(directory) or directory


def _look(storage: Storage, *, recover: bool) -> Directory:
    directory = Directory.look(storage)
    if recover:
        # A process that may not delete the leftovers of a dead one can still read.
        with suppress(StorageError):
            return directory.recovered()
    return directory


def load(
    directory: Directory,
    source: Source,
    target: Target,
    tolerance: Tolerance | None = None,
    *,
    partly: bool = False,
    without: Collection[str] = (),
) -> Loaded:
    """Load what a target needs from the newest intact checkpoint.

    Args:
        directory: a look at the directory.
        source: the checkpoints and the variables.
        target: the target to restore.
        tolerance: what may be missing or mismatched; None for nothing.
        partly: load the tensors that fit even if others are missing.
        without: prefixes that are skipped.

    Returns:
        The values to assign, and how they fit.

    Raises:
        CheckpointNotFoundError: there is no checkpoint.
        CorruptionError: no checkpoint is intact.
        SelectionError: the selection names a variable that does not exist, or one key twice.
    """
    storage = source.storage

    def candidates(look: Directory) -> Iterator[str]:
        return (prefix for prefix in source.which.newest_first(look) if prefix not in without)

    skipped: list[Skipped] = []
    first: TFPersistError | None = None
    waiting, looks = candidates(directory), 0
    while (prefix := next(waiting, None)) is not None:
        files = directory.files(prefix)
        try:
            loaded = _load_one(files, source, target, tolerance, partly=partly)
        except (CorruptionError, CheckpointNotFoundError, StorageError) as error:
            look = directory.again()
            gone = prefix not in look.known
            aside = gone and ending_of(prefix, look.names)
            stale = not gone and look.files(prefix) != files
            if looks < _MOST_LOOKS and (stale or (gone and not aside)):
                # It was replaced; or it was pruned, and then there is a newer one.
                directory, looks = look, looks + 1
                waiting, skipped, first = candidates(look), [], None
                continue
            if source.which.is_one or (isinstance(error, StorageError) and not aside):
                raise
            first = first or error
            skipped.append(Skipped(storage.location, prefix, str(error)))
        else:
            return attrs.evolve(loaded, skipped=tuple(skipped)) if skipped else loaded
    raise CorruptionError(
        f"{counted(len(skipped), 'checkpoint is', 'checkpoints are')} here, and none is intact",
        file=storage.location,
        found="; ".join(f"{damaged.checkpoint}: {damaged.reason}" for damaged in skipped),
    ) from first


def _load_one(
    files: Files,
    source: Source,
    target: Target,
    tolerance: Tolerance | None,
    *,
    partly: bool = False,
) -> Loaded:
    storage = source.storage
    if files.index in files.missing:
        raise _without_index(storage, files)
    if files.missing:
        raise missing(storage, files.missing[0])
    with held(storage, files) as hold:
        contents, note = open_as_saved(storage, files, hold)
        checkpoint = opened(Located(storage, files), contents)
        fit = _fit(checkpoint, source, target)
        if not fit.fits and checkpoint.keras_file is not None:
            note = checkpoint.keras_file.note
        note = "; ".join(filter(None, (note, tied(fit))))
        if tolerance is not None:
            fit = fit.tolerating(tolerance)
        values = read_values(checkpoint, fit) if fit.fits or partly else Values()
    averages = source.selection.averages is not None
    return Loaded(checkpoint, fit, values, (), note, averages)


def _without_index(storage: Storage, files: Files) -> CheckpointNotFoundError:
    return CheckpointNotFoundError(
        "the index of this checkpoint is missing",
        where=f"{storage.location}/{files.prefix}",
        expected=files.index,
        found="only its data files",
        advice="Copy the index from where the checkpoint was saved",
    )


def _fit(checkpoint: Checkpoint, source: Source, target: Target) -> Fit:
    specs, selection, plan = checkpoint.specs, source.selection, source.plan
    fixed: Mapping[int, str] = {}
    if plan is not None and selection.says_keys:
        raise SelectionError(
            "the plan and another step both say which tensor a variable gets",
            advice="Leave rename(), averages() and the dict of only() out, or change the plan with"
            " take().",
        )
    if plan is not None:
        fixed = keys_of(plan, target.entries(), specs)
    elif selection.renames:
        fixed = selection.fixed(target.entries(), specs)
    wanted = (entry.wanted for entry in (target.entries() if source.cast else ()))
    saved = Saved(
        as_cast(specs, wanted) if source.cast else specs,
        checkpoint.object_graph,
        fixed,
        lambda: checkpoint.order,
        checkpoint.layers if checkpoint.object_graph is not None else {},
        checkpoint.keras_file,
        lambda: forget_biases(meta.graph_def) if (meta := checkpoint.meta) is not None else {},
    )
    entries = target.entries_for(saved)
    if plan is not None:
        entries = as_said(plan, entries, specs)
    fit = selection.for_restore(specs, entries, target.averages_of)
    if source.cast:
        fit = with_casts(fit)
    return with_slots(with_recipes(with_rows(fit, source.rows), saved), saved)


def quarantine_skipped(loaded: Loaded, source: Source) -> Loaded:
    """Quarantine the checkpoints that were skipped; record and log the outcome of each."""
    if not loaded.skipped:
        return loaded
    done = []
    for damaged in loaded.skipped:
        try:
            outcome = quarantine(source.storage, damaged.prefix, durable=source.durable)
        except TFPersistError as error:
            outcome = Outcome(reason=str(error))
        quarantined = bool(outcome.ending)
        skipped = attrs.evolve(damaged, outcome=str(outcome), quarantined=quarantined)
        _LOG.warning("a damaged checkpoint is skipped: %s", skipped)
        done.append(skipped)
    return attrs.evolve(loaded, skipped=tuple(done))
