"""Variables of a target, and what of a checkpoint goes into them or is in the way. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, get_args

import attrs

from tfpersist.errors import SelectionError
from tfpersist.formats.tensors import Slice, TensorSpec
from tfpersist.matching.naming import slot_of
from tfpersist.matching.report import Outcome, RestoreReport, Row, Rows, Skipped

OnMissing = Literal["error", "skip"]
OnMismatch = Literal["error", "skip", "slice"]


@attrs.frozen
class Entry:
    """One variable of a target, or one part of a partitioned variable.

    Args:
        key: the checkpoint key that it goes by; parts of one variable share it.
        name: what the user calls it: a variable's name without ":0", a path in a Keras model.
        spec: its data type and declared shape; for a part, those of the part.
        ref: the variable as the user holds it; compared by identity.
        part: which part of the tensor under `key` this is; None for the whole.
        handle: whatever else the target needs to find it again; also compared by identity, so it
            may be a second object that users hold for the same variable.
        slot: what optimizer slot this is, such as "Adam" or "momentum"; None for anything else.
        default: whether it is taken where `only()` says nothing; local variables are not.
        aliases: whatever else the user may call it, such as other paths to the same variable.
    """

    key: str
    name: str
    spec: TensorSpec
    ref: object = attrs.field(eq=False, repr=False, default=None)
    part: Slice | None = None
    handle: object = attrs.field(eq=False, repr=False, default=None)
    slot: str | None = None
    default: bool = True
    aliases: tuple[str, ...] = attrs.field(default=(), eq=False, repr=False)

    @property
    def wanted(self) -> TensorSpec:
        """What the tensor under `key` has to be: for a part, the whole variable."""
        if self.part is None:
            return self.spec
        return TensorSpec(self.spec.dtype, self.part.full_shape)

    def under(self, key: str) -> Entry:
        """Give the same variable under another key."""
        if key == self.key:
            return self
        part = self.part and attrs.evolve(self.part, full_name=key)
        return attrs.evolve(self, key=key, part=part)


@attrs.frozen
class Assignment:
    """A tensor of a checkpoint that goes into a variable.

    Args:
        key: the tensor's key in the checkpoint.
        entry: the variable, keyed as before any renaming.
        averaged: whether the tensor is a moving average of the variable.
    """

    key: str
    entry: Entry
    averaged: bool = False


@attrs.frozen
class Missing:
    """A variable for which a checkpoint has no tensor.

    Args:
        key: the key that was looked for.
        entry: the variable.
        nearest: keys of the checkpoint that look alike, best first.
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
        found: what the checkpoint holds; `entry.wanted` is what was expected.
    """

    key: str
    entry: Entry
    found: TensorSpec

    @property
    def overlaps(self) -> bool:
        """Whether the two differ in nothing but sizes."""
        mine, theirs = self.entry.wanted, self.found
        if mine.shape is None or theirs.shape is None or mine.dtype != theirs.dtype:
            return False
        return len(mine.shape) == len(theirs.shape)


def _one_of(_owner: object, field: attrs.Attribute[str], value: object) -> None:
    known = get_args({"missing": OnMissing, "mismatched": OnMismatch}[field.name])
    if value not in known:
        raise SelectionError(
            f"{field.name}= is given what it does not know",
            expected=" or ".join(map(repr, known)),
            found=repr(value),
        )


@attrs.frozen
class Tolerance:
    """What a restore puts up with.

    Args:
        missing: what becomes of a variable without a tensor: an error, or it stays as it is.
        mismatched: what becomes of one whose tensor has another shape or data type: an error, it
            stays as it is, or it takes what lies in both shapes.

    Raises:
        SelectionError: it is something else.
    """

    missing: OnMissing = attrs.field(default="error", validator=_one_of)
    mismatched: OnMismatch = attrs.field(default="error", validator=_one_of)


@attrs.frozen
class Plan:
    """What a restore will do, and what is in its way.

    Args:
        assignments: what fits.
        missing: variables without a tensor.
        mismatched: tensors of another shape or data type.
        unexpected: keys of the checkpoint that no variable of the target goes by.
        unselected: names of variables of the target that the selection leaves alone.
        advice: what would make it fit, where that can be told; else empty.
        suggestion: {key: variable} of what is missing and what is unexpected, where types, shapes
            and order leave one way to pair them.
        kept: what is missing or mismatched, and to be left as it is.
        sliced: what is mismatched, and takes what lies in both shapes.
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

    @property
    def fits(self) -> bool:
        """Whether nothing is missing or mismatched that is not put up with."""
        return not (self.missing or self.mismatched)

    def tolerating(self, tolerance: Tolerance) -> Plan:
        """Leave alone, or fill in part, what a restore puts up with.

        Args:
            tolerance: what that is. Where nothing at all would be assigned, it counts for nothing.

        Returns:
            A changed copy.

        Example:
            >>> w = Entry("w", "w", TensorSpec("float32", (5,)))
            >>> plan = Plan((), mismatched=(Mismatch("w", w, TensorSpec("float32", (9,))),))
            >>> plan.tolerating(Tolerance(mismatched="slice")).fits
            True
            >>> plan.tolerating(Tolerance(mismatched="skip")).fits
            False
        """
        skips = tolerance.mismatched == "skip"
        kept: list[Missing | Mismatch] = [
            *(self.missing if tolerance.missing == "skip" else ()),
            *(self.mismatched if skips else ()),
        ]
        sliced = [m for m in self.mismatched if tolerance.mismatched == "slice" and m.overlaps]
        if not self.assignments and not sliced:
            return self
        return attrs.evolve(
            self,
            missing=() if tolerance.missing == "skip" else self.missing,
            mismatched=() if skips else tuple(m for m in self.mismatched if m not in sliced),
            kept=tuple(kept),
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
        """Return the report on this plan, problems first.

        Args:
            checkpoint: where the values come from.
            carried_out: whether what fits is assigned, or nothing is.
            skipped: newer checkpoints that were skipped.
            averages: whether the user asked for moving averages.
            note: what may be wrong with the checkpoint.

        Example:
            >>> Plan((), unexpected=("w",)).report("run/model.ckpt-5").unexpected
            ('w',)
        """
        rows = [_problem_row("missing", one) for one in self.missing]
        rows += [_problem_row("mismatched", one) for one in self.mismatched]
        rows += [_problem_row("kept", one) for one in self.kept]
        rows += [_problem_row("sliced", one) for one in self.sliced]
        keys = {one.key for one in self.assignments} | set(self.unexpected)
        rows += [
            Row("unexpected", "", key, slot=slot_of(key, keys) or "") for key in self.unexpected
        ]
        return RestoreReport(
            checkpoint,
            Rows(tuple(rows), _fitting_rows(self.assignments, carried_out=carried_out)),
            tuple(skipped),
            self.unselected,
            averages,
            self.advice,
            self.suggestion,
            carried_out,
            note,
        )


def _problem_row(outcome: Outcome, one: Missing | Mismatch) -> Row:
    entry, slot = one.entry, one.entry.slot or ""
    if isinstance(one, Missing):
        return Row(outcome, entry.name, one.key, str(entry.wanted), slot=slot, nearest=one.nearest)
    return Row(outcome, entry.name, one.key, str(entry.wanted), str(one.found), slot)


def _fitting_rows(
    assignments: Sequence[Assignment], *, carried_out: bool
) -> Callable[[], Iterable[Row]]:
    """Return a function that makes the rows of what fits; it keeps no variable alive."""
    names = [one.entry.name for one in assignments]
    keys = [one.key for one in assignments]
    wanted = [one.entry.wanted for one in assignments]
    slots = [one.entry.slot or "" for one in assignments]
    averaged = [one.averaged for one in assignments]

    def rows() -> Iterable[Row]:
        for is_average, name, key, spec, slot in zip(
            averaged, names, keys, wanted, slots, strict=True
        ):
            done: Outcome = "averaged" if is_average else "restored"
            yield Row(done if carried_out else "fits", name, key, str(spec), slot=slot)

    return rows
