"""Report what a restore did, or why it did nothing: as text, HTML, a dict and JSON."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import attrs

from tfpersist.errors import printable, printable_lines
from tfpersist.matching.plans.loss import Loss
from tfpersist.matching.plans.plan import Pair, Plan
from tfpersist.matching.plans.resume import Resume
from tfpersist.matching.recipes.recipe import Recipe

Outcome = Literal[
    "missing",
    "mismatched",
    "kept",
    "sliced",
    "remapped",
    "unexpected",
    "refused",
    "fits",
    "averaged",
    "restored",
]

_HEADINGS = ("", "variable", "in the checkpoint", "expected", "found", "")
_PROBLEMS = ("missing", "mismatched", "refused")
_IN_PART: tuple[Outcome, ...] = ("sliced", "remapped")
_MOST_LOSSES = 5


@attrs.frozen
class Row:
    """One variable, or one tensor that belongs to no variable.

    Args:
        outcome: the result. "fits": it would be restored, but nothing was restored. "kept": it is
            missing or mismatched, as `expected` and `found` show, and stayed as it was. "sliced":
            it took the part that both shapes have. "remapped": it took rows, as `reason` says.
            "refused": a tensor that belongs to no variable, which the user does not accept.
        variable: the variable's name; empty for an unexpected tensor.
        key: the tensor's key in the checkpoint; for a missing tensor, the key that is missing.
        expected: the variable's data type and shape; empty for an unexpected tensor.
        found: the tensor's data type and shape if they differ; empty for a missing tensor.
        slot: the optimizer slot; empty for a variable of the model itself.
        nearest: for a missing tensor, similar keys.
        reason: by which evidence this is its tensor, or the proposed one; empty if the keys are the
            same.
        proposal: for a missing tensor, the key that would fit by weaker evidence.
        alternatives: for a missing tensor, the keys that fit equally.
        path: the attributes that lead to the variable, in an object graph.
        recipe: how the value, or the proposed one, is made from tensors of another form.

    Example:
        >>> row = Row("missing", "net/w", "net/w", "float32[2,3]", nearest=("net/v",))
        >>> row.outcome, row.nearest
        ('missing', ('net/v',))
    """

    outcome: Outcome
    variable: str
    key: str
    expected: str = ""
    found: str = ""
    slot: str = ""
    nearest: tuple[str, ...] = ()
    reason: str = ""
    proposal: str = ""
    alternatives: tuple[str, ...] = ()
    path: str = ""
    recipe: Recipe | None = None


class Rows(Sequence[Row]):
    """The rows of a report. Rows of tensors that fit are made when somebody reads them.

    So a report that nobody reads costs little, however many variables there are. It keeps names
    only: a report does not keep a model in memory.
    """

    def __init__(self, first: tuple[Row, ...], fitting: Callable[[], Iterable[Row]]) -> None:
        self.first = first
        self._fitting = fitting

    @cached_property
    def _all(self) -> tuple[Row, ...]:
        return (*self.first, *self._fitting())

    def __getitem__(self, at: Any) -> Any:
        return self._all[at]

    def __len__(self) -> int:
        return len(self._all)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Rows):
            return self._all == other._all
        return self._all == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._all)

    def __repr__(self) -> str:
        return repr(self._all)


@attrs.frozen
class Skipped:
    """A newer checkpoint that a restore skipped.

    Args:
        location: the path or URL of its directory.
        prefix: its name in that directory.
        reason: what is wrong with it.
        outcome: what was done with its files.
        quarantined: whether its files were renamed, so that nobody takes them for a checkpoint.

    Example:
        >>> print(Skipped("run", "model.ckpt-6", "it is cut", "not quarantined: the disk is full"))
        run/model.ckpt-6: it is cut [not quarantined: the disk is full]
    """

    location: str
    prefix: str
    reason: str
    outcome: str = ""
    quarantined: bool = False

    @property
    def checkpoint(self) -> str:
        """The path or URL of the checkpoint."""
        return f"{self.location}/{self.prefix}"

    def __str__(self) -> str:
        outcome = f" [{self.outcome}]" if self.outcome else ""
        return printable(f"{self.checkpoint}: {self.reason}{outcome}")


@attrs.frozen
class RestoreReport:
    """The result of a restore, or of a dry run.

    Args:
        checkpoint: the path or URL of the checkpoint.
        rows: every selected variable, and every tensor that belongs to no variable.
        skipped: newer checkpoints that were skipped because they are damaged.
        unselected: names of variables that were not selected.
        wanted_averages: whether moving averages were asked for.
        advice: how to make it fit, if that is known; else empty.
        suggestion: {key in the checkpoint: variable} for `ModelStore.rename`, if the names have
            nothing in common, and types, shapes and order allow only one way to pair them.
        carried_out: whether values were assigned: not if something does not fit, and not in a dry
            run.
        note: what may be wrong with the checkpoint; else empty.
        losses: what each cast has lost, or would lose.
        resume: what the checkpoint carries of the training that goes on; None where a model alone
            is restored.

    Example:
        >>> report = RestoreReport("run/model.ckpt-5", (Row("restored", "w", "w", "float32[2]"),))
        >>> report.restored, report.unexpected
        (('w',), ())
        >>> print(report)
        run/model.ckpt-5: 1 variable restored
          restored  w  float32[2]
    """

    checkpoint: str
    rows: Sequence[Row]
    skipped: tuple[Skipped, ...] = ()
    unselected: tuple[str, ...] = ()
    wanted_averages: bool = False
    advice: str = ""
    suggestion: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    carried_out: bool = True
    note: str = ""
    losses: tuple[Loss, ...] = ()
    resume: Resume | None = None

    @property
    def restored(self) -> tuple[str, ...]:
        """Names of the variables that got a value, an average, a slice or rows."""
        done: tuple[Outcome, ...] = ("restored", "averaged")
        return self._names(*done, *_IN_PART) if self.carried_out else self._names(*done)

    @property
    def averaged(self) -> tuple[str, ...]:
        """Names of the variables that got their moving average."""
        return self._names("averaged")

    @property
    def raw(self) -> tuple[str, ...]:
        """Names of the variables that got their own value, though averages were asked for."""
        return self._names("restored") if self.wanted_averages else ()

    @property
    def renamed(self) -> dict[str, str]:
        """{key in the checkpoint: variable} for the names that differ, without averages."""
        return {
            row.key: row.variable
            for row in self.rows
            if row.outcome == "restored" and row.key != row.variable
        }

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the variables without a tensor in the checkpoint."""
        return self._names("missing")

    @property
    def mismatched(self) -> tuple[str, ...]:
        """Names of the variables whose tensor has another shape or data type."""
        return self._names("mismatched")

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the missing or mismatched variables that stay as they are."""
        return self._names("kept")

    @property
    def sliced(self) -> tuple[str, ...]:
        """Names of the variables that take the part that both shapes have."""
        return self._names("sliced")

    @property
    def remapped(self) -> tuple[str, ...]:
        """Names of the variables that take rows of a tensor into other rows."""
        return self._names("remapped")

    @property
    def unexpected(self) -> tuple[str, ...]:
        """Keys of the tensors that belong to no variable."""
        unexpected = ("unexpected", "refused")
        return tuple(row.key for row in self.rows if row.outcome in unexpected)

    @property
    def slots(self) -> dict[str, str]:
        """{name or key: slot} of all slots of optimizers and all moving averages."""
        return {row.variable or row.key: row.slot for row in self.rows if row.slot}

    @property
    def fits(self) -> bool:
        """Whether nothing is missing, mismatched or refused, apart from what is kept or sliced."""
        rows = self.rows.first if isinstance(self.rows, Rows) else self.rows
        return not any(row.outcome in _PROBLEMS for row in rows)

    @property
    def plan(self) -> Plan:
        """The tensor of each variable with its reason, as `ModelStore.restore(plan=...)` takes it.

        It has the proposals too. `print(report.plan)` shows the reasons.
        """
        pairs = tuple(_pair_of(row) for row in self.rows if row.variable)
        return Plan(pairs, self.checkpoint)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain dicts, lists and strings.

        Returns:
            All fields by name; a row is a dict too, and so is a skipped checkpoint, which also has
            its `checkpoint`.

        Example:
            >>> RestoreReport("run/model.ckpt-5", ()).as_dict()["checkpoint"]
            'run/model.ckpt-5'
        """
        fields = attrs.asdict(attrs.evolve(self, rows=tuple(self.rows)), value_serializer=_plain)
        for skipped, values in zip(self.skipped, fields["skipped"], strict=True):
            values["checkpoint"] = skipped.checkpoint
        return fields

    def to_json(self) -> str:
        """Return the report as JSON.

        Returns:
            The text, with the fields of `as_dict`.

        Example:
            >>> RestoreReport("run", (), advice="Nothing to do.").to_json()[:37]
            '{"checkpoint": "run", "rows": [], "sk'
        """
        return json.dumps(self.as_dict(), ensure_ascii=False)

    def headline(self) -> str:
        """Return the first line of the report: how many variables had which outcome.

        Returns:
            One line of text.

        Example:
            >>> RestoreReport("run", (Row("missing", "w", "w"),)).headline()
            'run: 1 missing, 0 variables restored'
        """
        counts = []
        for outcome in ("missing", "mismatched"):
            if count := sum(row.outcome == outcome for row in self.rows):
                counts.append(f"{count} {outcome}")
        fitting = 0 if self.carried_out else len(self._names("fits", *_IN_PART))
        count = fitting or len(self.restored)
        text = f"{count} variable{'' if count == 1 else 's'}"
        text += " that would fit" if fitting else " restored"
        if self.wanted_averages and not fitting:
            text += f" ({len(self.averaged)} averages, {len(self.raw)} raw)"
        counts.append(text)
        if in_part := len(self._names(*_IN_PART)):
            counts.append(f"{in_part} of them in part")
        if self.kept:
            counts.append(f"{len(self.kept)} kept")
        if self.unexpected:
            counts.append(f"{len(self.unexpected)} unexpected in the checkpoint")
        if self.unselected:
            counts.append(f"{len(self.unselected)} left alone")
        return printable(f"{self.checkpoint}: {', '.join(counts)}")

    def __str__(self) -> str:
        lines = [self.headline()]
        lines += [f"  skipped {skipped}" for skipped in self.skipped]
        lines += [f"  {note}" for note in self._notes()]
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width)
            lines.append("  " + "  ".join(padded).rstrip())
        if self.resume is not None:
            lines.append(str(self.resume))
        if self.advice:
            lines.append(self.advice)
        return printable_lines(*lines)

    def _repr_html_(self) -> str:
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._cells()
        )
        head = "".join(f"<th>{name}</th>" for name in _HEADINGS)
        texts = [*(f"skipped {skipped}" for skipped in self.skipped), *self._notes()]
        notes = "".join(f"<p>{html.escape(text)}</p>" for text in texts)
        return (
            f"<p>{html.escape(self.headline())}</p>{notes}<table><tr>{head}</tr>{body}</table>"
            f"<p>{html.escape(printable_lines(self.advice))}</p>"
        )

    def _notes(self) -> list[str]:
        """Return the note, and the worst losses."""
        worst = sorted(self.losses, key=lambda loss: (-loss.overflows, -loss.relative))
        notes = [f"note: {printable(self.note)}"] if self.note else []
        notes += [f"cast {loss}" for loss in worst[:_MOST_LOSSES]]
        if len(worst) > _MOST_LOSSES:
            notes.append(f"cast {len(worst) - _MOST_LOSSES} more, with no larger error")
        return notes

    def _names(self, *outcomes: Outcome) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.variable for row in self.rows if row.outcome in outcomes))

    def _cells(self) -> list[tuple[str, ...]]:
        shown: Sequence[Row] = self.rows
        if not self.fits:
            shown = [row for row in shown if row.outcome in (*_PROBLEMS, "unexpected")]
        return [tuple(map(printable, _cells_of(group))) for group in _folded(shown)]


def _pair_of(row: Row) -> Pair:
    """Return what a plan says about the variable of a row."""
    if row.outcome == "kept":
        return Pair(row.variable, keep=True, expected=row.expected, path=row.path)
    key = row.proposal or None if row.outcome == "missing" else row.key
    if row.outcome == "mismatched" and row.alternatives:
        key = None
    return Pair(
        row.variable,
        None if row.recipe else key,
        row.recipe,
        proposed=bool(row.recipe or (key and row.outcome == "missing"))
        and row.outcome in _PROBLEMS,
        reason=row.reason,
        alternatives=row.alternatives,
        expected=row.expected,
        path=row.path,
    )


def _plain(_owner: object, _field: object, value: Any) -> Any:
    if isinstance(value, Recipe):
        return value.as_json()
    return list(value) if isinstance(value, tuple) else value


def _folded(rows: Sequence[Row]) -> list[list[Row]]:
    """Return rows in groups that differ only in the numbers in their names."""
    groups: dict[object, list[Row]] = {}
    for row in rows:
        pattern = re.sub(r"\d+", "#", f"{row.variable} {row.key}")
        renamed = row.key != row.variable
        groups.setdefault((row.outcome, pattern, renamed, row.expected, row.found), []).append(row)
    return list(groups.values())


def _cells_of(group: Sequence[Row]) -> tuple[str, ...]:
    row = group[0]
    note = f"slot {row.slot}" if row.slot else ""
    if row.nearest and len(group) == 1:
        note += f"{'; ' if note else ''}nearest: {', '.join(row.nearest)}"
    if len(group) > 1:
        note += f"{'; ' if note else ''}{len(group)} alike"
    key = "" if row.key == row.variable else _span([row.key for row in group])
    return (
        row.outcome,
        _span([row.variable for row in group]),
        key,
        row.expected,
        row.found,
        note,
    )


def _span(names: Sequence[str]) -> str:
    """Return names that differ in numbers only as one: "layer_{0..11}/kernel"."""
    pieces = [re.split(r"(\d+)", name) for name in names]
    joined = []
    for column in zip(*pieces, strict=True):
        values = list(dict.fromkeys(column))
        if len(values) == 1:
            joined.append(values[0])
        else:
            numbers = sorted(map(int, values))
            joined.append(f"{{{numbers[0]}..{numbers[-1]}}}")
    return "".join(joined)
