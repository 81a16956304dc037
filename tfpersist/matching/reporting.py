"""Describe a plan in a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tfpersist.matching.naming import slot_of
from tfpersist.matching.plan import Assignment, Mismatch, Missing, Plan
from tfpersist.matching.report import Outcome, RestoreReport, Row, Rows, Skipped


def report_on(
    plan: Plan,
    checkpoint: str,
    *,
    carried_out: bool = True,
    skipped: Iterable[Skipped] = (),
    averages: bool = False,
    note: str = "",
) -> RestoreReport:
    """Describe a plan.

    Args:
        plan: what goes with what.
        checkpoint: where the values come from.
        carried_out: whether what fits is assigned, or nothing is.
        skipped: newer checkpoints that were passed over.
        averages: whether moving averages were asked for.
        note: what may be wrong with the checkpoint.

    Returns:
        The report, problems first.

    Example:
        >>> report_on(Plan((), unexpected=("w",)), "run/model.ckpt-5").unexpected
        ('w',)
    """
    rows = [_unlike("missing", one) for one in plan.missing]
    rows += [_unlike("mismatched", one) for one in plan.mismatched]
    rows += [_unlike("kept", one) for one in plan.kept]
    rows += [_unlike("sliced", one) for one in plan.sliced]
    known = {one.key for one in plan.assignments} | set(plan.unexpected)
    rows += [Row("unexpected", "", key, slot=slot_of(key, known) or "") for key in plan.unexpected]
    fitting = _fitting(plan.assignments, carried_out=carried_out)
    return RestoreReport(
        checkpoint,
        Rows(tuple(rows), fitting),
        tuple(skipped),
        plan.unselected,
        averages,
        plan.advice,
        plan.suggestion,
        carried_out,
        note,
    )


def _unlike(outcome: Outcome, one: Missing | Mismatch) -> Row:
    entry, slot = one.entry, one.entry.slot or ""
    if isinstance(one, Missing):
        return Row(outcome, entry.name, one.key, str(entry.wanted), slot=slot, nearest=one.nearest)
    return Row(outcome, entry.name, one.key, str(entry.wanted), str(one.found), slot)


def _fitting(
    assignments: Sequence[Assignment], *, carried_out: bool
) -> Callable[[], Iterable[Row]]:
    names = [one.entry.name for one in assignments]
    keys = [one.key for one in assignments]
    wanted = [one.entry.wanted for one in assignments]
    slots = [one.entry.slot or "" for one in assignments]
    done: dict[bool, Outcome] = {True: "averaged", False: "restored"}
    averaged = [one.averaged for one in assignments]

    def rows() -> Iterable[Row]:
        for fate, name, key, spec, slot in zip(averaged, names, keys, wanted, slots, strict=True):
            yield Row(done[fate] if carried_out else "fits", name, key, str(spec), slot=slot)

    return rows
