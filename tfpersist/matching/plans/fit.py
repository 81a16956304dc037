"""Describe how a checkpoint fits a target: which tensor goes into which variable. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import attrs

from tfpersist.errors import SelectionError
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.remap import RowMap
from tfpersist.matching.plans.report import Outcome, RestoreReport, Row, Rows, Skipped
from tfpersist.matching.sides.naming import slot_of

OnMissing = Literal["error", "skip"]
OnMismatch = Literal["error", "skip", "slice"]
OnUnexpected = Literal["skip", "error"]

# How often tf.train.Checkpoint has saved: a fact of its files, and of no model.
_COUNTER = "save_counter/.ATTRIBUTES/VARIABLE_VALUE"


@attrs.frozen
class Assignment:
    """A tensor of a checkpoint that goes into a variable.

    Args:
        key: the tensor's key in the checkpoint.
        entry: the variable, with its own key, without `rename()`.
        averaged: whether the tensor is a moving average of the variable.
    """

    key: str
    entry: Entry
    averaged: bool = False


@attrs.frozen
class Missing:
    """A variable for which a checkpoint has no tensor.

    Args:
        key: the key that is missing in the checkpoint.
        entry: the variable.
        nearest: similar keys of the checkpoint, best first.
    """

    key: str
    entry: Entry
    nearest: tuple[str, ...] = ()


@attrs.frozen
class Mismatch:
    """A tensor that does not fit its variable.

    Args:
        key: the tensor's key in the checkpoint.
        entry: the variable.
        found: the spec of the tensor; `entry.wanted` is the expected spec.
        other_form: whether the tensor has another form, so that no part of it is taken.
        averaged: whether the tensor is a moving average of the variable.
    """

    key: str
    entry: Entry
    found: TensorSpec
    other_form: bool = False
    averaged: bool = False

    @property
    def overlaps(self) -> bool:
        """Whether data type and rank are the same, so that only sizes differ."""
        if self.other_form:
            return False
        mine, theirs = self.entry.wanted, self.found
        if mine.shape is None or theirs.shape is None or mine.dtype != theirs.dtype:
            return False
        return len(mine.shape) == len(theirs.shape)


@attrs.frozen
class Remapped:
    """A tensor whose rows go into other rows of a variable.

    Args:
        key: the tensor's key in the checkpoint.
        entry: the variable.
        found: the spec of the tensor.
        rows: which row becomes which.
    """

    key: str
    entry: Entry
    found: TensorSpec
    rows: RowMap


def _one_of(_owner: object, field: attrs.Attribute[str], value: object) -> None:
    choices = {"missing": OnMissing, "mismatched": OnMismatch, "unexpected": OnUnexpected}
    known = get_args(choices[field.name])
    if value not in known:
        raise SelectionError(
            f"{field.name}= has an unknown value",
            expected=" or ".join(map(repr, known)),
            found=repr(value),
        )


@attrs.frozen
class Tolerance:
    """The choices for variables and tensors that do not fit.

    Args:
        missing: for a variable without a tensor: "error", or "skip" to leave it as it is.
        mismatched: for a tensor of another shape or data type: "error", "skip" to leave the
            variable as it is, or "slice" to assign the part that both shapes have.
        unexpected: for a tensor that belongs to no variable: "skip" to list it, or "error".

    Raises:
        SelectionError: a value is not one of these.
    """

    missing: OnMissing = attrs.field(default="error", validator=_one_of)
    mismatched: OnMismatch = attrs.field(default="error", validator=_one_of)
    unexpected: OnUnexpected = attrs.field(default="skip", validator=_one_of)


@attrs.frozen
class Fit:
    """The tensors that a restore assigns to variables, and what does not fit.

    Args:
        assignments: the tensors that fit, with their variables.
        missing: variables without a tensor.
        mismatched: tensors of another shape or data type.
        unexpected: keys of the checkpoint that belong to no variable of the target.
        unselected: names of variables of the target that are not selected.
        advice: how to make it fit, if that is known; else empty.
        suggestion: {key: variable} of unexpected keys and missing variables, if types, shapes and
            order allow only one way to pair them.
        kept: missing or mismatched variables that stay as they are.
        sliced: mismatched tensors whose variables take the part that both shapes have.
        remapped: tensors whose rows go into other rows of their variables.
        refused: unexpected keys that are an error.
    """

    assignments: tuple[Assignment, ...]
    missing: tuple[Missing, ...] = ()
    mismatched: tuple[Mismatch, ...] = ()
    unexpected: tuple[str, ...] = ()
    unselected: tuple[str, ...] = ()
    advice: str = ""
    suggestion: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    kept: tuple[Missing | Mismatch, ...] = ()
    sliced: tuple[Mismatch, ...] = ()
    remapped: tuple[Remapped, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether nothing is missing, mismatched or refused, apart from what is kept or sliced."""
        return not (self.missing or self.mismatched or self.refused)

    def tolerating(self, tolerance: Tolerance) -> Fit:
        """Return this fit with its misfits kept or sliced, as a tolerance says.

        Args:
            tolerance: what to do about misfits. It has no effect if nothing would be assigned.

        Returns:
            A changed copy.

        Example:
            >>> w = Entry("w", "w", TensorSpec("float32", (5,)))
            >>> fit = Fit((), mismatched=(Mismatch("w", w, TensorSpec("float32", (9,))),))
            >>> fit.tolerating(Tolerance(mismatched="slice")).fits
            True
            >>> fit.tolerating(Tolerance(mismatched="skip")).fits
            False
        """
        if tolerance.unexpected == "error":
            refused = tuple(key for key in self.unexpected if key != _COUNTER)
            others = tuple(key for key in self.unexpected if key == _COUNTER)
            return attrs.evolve(self, unexpected=others, refused=refused).tolerating(
                attrs.evolve(tolerance, unexpected="skip")
            )
        skips = tolerance.mismatched == "skip"
        kept: list[Missing | Mismatch] = [
            *(self.missing if tolerance.missing == "skip" else ()),
            *(self.mismatched if skips else ()),
        ]
        sliced = [m for m in self.mismatched if tolerance.mismatched == "slice" and m.overlaps]
        if not (self.assignments or sliced or self.remapped):
            return self
        # What belongs to a layer goes into it together or not at all.
        layers = {one.entry.layer for one in self.mismatched if skips} - {None}
        apart = [one for one in self.assignments if one.entry.layer in layers]
        # And so does the state that an optimizer keeps for it.
        left = {id(one.entry.ref) for one in apart}
        left |= {id(one.entry.ref) for one in self.mismatched if skips}
        apart += [
            one for one in self.assignments if one.entry.kept_for and one.entry.kept_for[1] in left
        ]
        kept += [Mismatch(one.key, one.entry, one.entry.wanted) for one in apart]
        gone = {id(one) for one in apart}
        return attrs.evolve(
            self,
            assignments=tuple(one for one in self.assignments if id(one) not in gone),
            missing=() if tolerance.missing == "skip" else self.missing,
            mismatched=() if skips else tuple(m for m in self.mismatched if m not in sliced),
            kept=(*self.kept, *kept),
            sliced=tuple(sliced),
        )

    def report(
        self,
        checkpoint: str,
        *,
        carried_out: bool = True,
        skipped: Iterable[Skipped] = (),
        averages: bool = False,
        note: str = "",
    ) -> RestoreReport:
        """Return the report on this fit, problems first.

        Args:
            checkpoint: where the values come from.
            carried_out: whether what fits is assigned, or nothing is.
            skipped: newer checkpoints that were skipped.
            averages: whether the user asked for moving averages.
            note: what may be wrong with the checkpoint.

        Example:
            >>> Fit((), unexpected=("w",)).report("run/model.ckpt-5").unexpected
            ('w',)
        """
        rows = [_problem_row("missing", one) for one in self.missing]
        rows += [_problem_row("mismatched", one) for one in self.mismatched]
        rows += [_problem_row("kept", one) for one in self.kept]
        rows += [_problem_row("sliced", one) for one in self.sliced]
        rows += map(_remapped_row, self.remapped)
        keys = {one.key for one in self.assignments} | {*self.unexpected, *self.refused}
        rows += [Row("refused", "", key, slot=slot_of(key, keys) or "") for key in self.refused]
        rows += [
            Row("unexpected", "", key, slot=slot_of(key, keys) or "") for key in self.unexpected
        ]
        return RestoreReport(
            checkpoint,
            Rows(tuple(rows), _FittingRows.of(self.assignments, carried_out=carried_out)),
            tuple(skipped),
            self.unselected,
            averages,
            self.advice,
            self.suggestion,
            carried_out,
            note,
        )


def _problem_row(outcome: Outcome, one: Missing | Mismatch) -> Row:
    entry = one.entry
    row = Row(
        outcome,
        entry.name,
        one.key,
        str(entry.wanted),
        slot=entry.slot or "",
        reason=entry.reason,
        path=entry.path,
        recipe=entry.recipe,
    )
    if isinstance(one, Mismatch):
        return attrs.evolve(row, found=str(one.found), alternatives=entry.alternatives)
    proposal, reason = entry.proposal or ("", entry.reason)
    return attrs.evolve(
        row,
        nearest=one.nearest,
        reason=reason,
        proposal=proposal,
        alternatives=entry.alternatives,
    )


def _remapped_row(one: Remapped) -> Row:
    row = _problem_row("remapped", Mismatch(one.key, one.entry, one.found))
    return attrs.evolve(row, reason=f"{one.rows}")


@attrs.frozen
class _FittingRows:
    """Makes the rows of what fits. It keeps no variable alive, and can be pickled."""

    bare: Sequence[tuple[Any, ...]]
    carried_out: bool

    @classmethod
    def of(cls, assignments: Sequence[Assignment], *, carried_out: bool) -> _FittingRows:
        """Return the rows of assignments."""
        bare = [
            (
                one.averaged,
                one.key,
                one.entry.name,
                one.entry.wanted,
                one.entry.slot,
                one.entry.reason,
                one.entry.path,
                one.entry.recipe,
            )
            for one in assignments
        ]
        return cls(bare, carried_out)

    def __call__(self) -> Iterable[Row]:
        """Yield the rows."""
        for is_average, key, name, spec, slot, reason, path, recipe in self.bare:
            done: Outcome = "averaged" if is_average else "restored"
            outcome: Outcome = done if self.carried_out else "fits"
            row = Row(outcome, name, key, str(spec), slot=slot or "", reason=reason, path=path)
            yield row if recipe is None else attrs.evolve(row, recipe=recipe)
