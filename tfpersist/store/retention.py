"""Decide which checkpoints are kept and which are removed, without files and TensorFlow.

Each rule of a `Keep` chooses some of all intact checkpoints, oldest first. A checkpoint is kept if
a rule chooses it, or if it is the newest, held or damaged. A rule that does not choose a checkpoint
never chooses it later. So it makes no difference how often one prunes, and a program that starts
again makes the same decisions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, Protocol, SupportsIndex, TypeAlias

import attrs

from tfpersist.arguments import count_of, seconds
from tfpersist.errors import (
    NameNotFoundError,
    RetentionError,
    counted,
    did_you_mean,
    printable,
)
from tfpersist.formats.read_only import ReadOnly

Mode = Literal["max", "min"]

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


@attrs.frozen
class Candidate:
    """The facts about one checkpoint that rules decide on.

    Args:
        name: its name, such as "model.ckpt-1000".
        created: when it was saved, in seconds since 1970.
        step: the training step; None if it is not known.
        metrics: the metrics at that step, by name.
        damaged: whether files of it are missing, or do not fit together.

    Example:
        >>> Candidate("model.ckpt-5", 1.7e9, 5, {"accuracy": 0.9}).metrics["accuracy"]
        0.9
    """

    name: str
    created: float
    step: int | None = None
    metrics: Mapping[str, float] = ReadOnly({})
    damaged: bool = False


@attrs.frozen
class Best:
    """Keep the checkpoints with the best values of a metric.

    Args:
        metric: its name, as it was passed to `save`.
        mode: whether larger ("max") or smaller ("min") values are better.
        count: the number of checkpoints to keep.

    Example:
        >>> Keep(best=("loss", "min", 3)).best
        Best(metric='loss', mode='min', count=3)
    """

    metric: str
    mode: Mode = "max"
    count: int = 1

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.metric, str) or self.mode not in ("max", "min"):
            raise _unclear("best", (self.metric, self.mode), 'such as ("accuracy", "max")')
        _count("best", self.count)

    def rank(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Sort checkpoints by the metric, the best first, without NaN; of equals the newer first.

        Args:
            candidates: the checkpoints, oldest first.

        Returns:
            Those that have the metric.

        Example:
            >>> losses = {1: 0.5, 2: 0.4}
            >>> saved = [Candidate(f"m-{n}", n, n, {"loss": loss}) for n, loss in losses.items()]
            >>> [candidate.step for candidate in Best("loss", "min").rank(saved)]
            [2, 1]
        """
        sign = 1.0 if self.mode == "max" else -1.0
        measured = [
            candidate for candidate in candidates if not math.isnan(_value(candidate, self.metric))
        ]
        return sorted(measured, key=lambda candidate: sign * _value(candidate, self.metric))[::-1]


# What a user writes for `best`: the metric; perhaps whether more is better, and how many to keep.
BestRule: TypeAlias = Best | str | tuple[str] | tuple[str, Mode] | tuple[str, Mode, int]


def _value(candidate: Candidate, metric: str) -> float:
    return candidate.metrics.get(metric, math.nan)


def _unclear(rule: str, value: object, expected: str) -> RetentionError:
    return RetentionError(
        f"{rule}= does not say what to keep", where="Keep", expected=expected, found=repr(value)
    )


def _count(rule: str, value: Any) -> int | None:
    if value is None:
        return None
    count = count_of(value)
    if count is None:
        raise _unclear(rule, value, "a whole number from 1 on")
    return count


def _last(value: SupportsIndex | None) -> int | None:
    return _count("last", value)


def _steps(value: SupportsIndex | None) -> int | None:
    return _count("steps", value)


def _every(value: str | float | timedelta | None) -> float | None:
    if value is None:
        return None
    time = seconds(value)
    if time is None:
        raise _unclear("every", value, 'a time such as "1h", "30m", seconds or a timedelta')
    return time


def _best(value: BestRule | None) -> Best | None:
    if value is None or isinstance(value, Best):
        return value
    facts = (value,) if isinstance(value, str) else value
    if not isinstance(facts, (tuple, list)) or not 1 <= len(facts) <= 3:
        raise _unclear("best", value, 'such as ("accuracy", "max")')
    return Best(*facts)


@attrs.frozen(kw_only=True)
class Keep:
    """The rules for keeping checkpoints. A checkpoint stays if at least one rule keeps it.

    The newest intact checkpoint always stays. Join two `Keep`s with `|`.

    Args:
        last: keep this many of the newest.
        every: keep the oldest, and then each one that is at least this much newer than the last one
            kept: "1h", "30m", seconds or a timedelta.
        best: keep the one with the best value of a metric: ("accuracy", "max"), ("loss", "min"). A
            third element is the number to keep. NaN is never best; of equal values the newer wins.
        steps: keep those whose training step is a multiple of this.
        where: keep those for which this function returns true. Its argument has `name`, `step`,
            `created` and `metrics`. For one checkpoint it should always return the same.
        also: the rules that were joined with `|`.

    Raises:
        RetentionError: there are no rules, or a rule has a wrong value.

    Example:
        >>> keep = Keep(last=2, best=("accuracy", "max")) | Keep(steps=1000)
        >>> saved = [Candidate(f"m-{step}", step, step, {"accuracy": 1 / step})
        ...          for step in (20, 1000, 1010, 1020, 1030)]
        >>> [verdict.candidate.step for verdict in decide(saved, keep) if verdict.kept]
        [20, 1000, 1020, 1030]
    """

    last: int | None = attrs.field(default=None, converter=_last)
    every: float | None = attrs.field(default=None, converter=_every)
    best: Best | None = attrs.field(default=None, converter=_best)
    steps: int | None = attrs.field(default=None, converter=_steps)
    where: Callable[[Candidate], Any] | None = None
    also: tuple[Keep, ...] = ()

    def __attrs_post_init__(self) -> None:
        if self.where is not None and not callable(self.where):
            raise _unclear("where", self.where, "a function of one checkpoint's facts")
        if (self.last, self.every, self.best, self.steps, self.where) == (None,) * 5:
            raise RetentionError(
                "Keep() has no rules",
                expected="at least one of last, every, best, steps and where",
                advice="Keep(last=1) keeps only the newest; keep=None keeps all.",
            )

    def __or__(self, other: object) -> Keep:
        if not isinstance(other, Keep):
            return NotImplemented
        return attrs.evolve(self, also=(*self.also, other))


def as_keep(value: Keep | Sequence[Keep] | None) -> Keep | None:
    """Return the rules that a user passes as `keep`: a Keep, several of them, or None for all.

    Raises:
        RetentionError: it has another type.

    Example:
        >>> as_keep((Keep(last=3), Keep(steps=100))) == Keep(last=3) | Keep(steps=100)
        True
    """
    if value is None or isinstance(value, Keep):
        return value
    if isinstance(value, (tuple, list)) and value and all(isinstance(k, Keep) for k in value):
        joined: Keep = value[0]
        for other in value[1:]:
            joined |= other
        return joined
    raise RetentionError(
        "this does not say what to keep",
        where="keep",
        expected="a Keep, a tuple of them, or None for all",
        found=repr(value),
        advice="Keep(last=5) keeps the newest five.",
    )


@attrs.frozen
class Verdict:
    """The decision on one checkpoint.

    Args:
        candidate: the checkpoint.
        reasons: why it is kept; empty if it is removed.

    Example:
        >>> Verdict(Candidate("model.ckpt-5", 1.7e9), ("among the last 3",)).kept
        True
    """

    candidate: Candidate
    reasons: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """True if the checkpoint stays."""
        return bool(self.reasons)


class Facts(Protocol):
    """The facts about some checkpoints, by name; each is looked up when a rule asks for it."""

    def created(self, name: str) -> float:
        """Return when a checkpoint was saved, in seconds since 1970."""

    def step(self, name: str) -> int | None:
        """Return its training step."""

    def candidate(self, name: str) -> Candidate:
        """Return all facts about it."""


@attrs.frozen
class _Given:
    """Facts that are all known already."""

    by_name: Mapping[str, Candidate]

    def created(self, name: str) -> float:
        return self.by_name[name].created

    def step(self, name: str) -> int | None:
        return self.by_name[name].step

    def candidate(self, name: str) -> Candidate:
        return self.by_name[name]


# Checkpoints that one rule keeps, and a function that returns why, by name.
_Kept = tuple[Collection[str], Callable[[str], str]]


@attrs.frozen
class Decision:
    """The decision which checkpoints stay.

    Args:
        names: all checkpoints, oldest first.
        kept: those that stay, by rule.
    """

    names: Sequence[str]
    kept: Sequence[_Kept]

    @property
    def going(self) -> list[str]:
        """The names of those that are removed, oldest first."""
        going = set(self.names).difference(*(names for names, _ in self.kept))
        if len(going) == 1:
            return list(going)
        return [name for name in self.names if name in going] if going else []

    def reasons(self) -> dict[str, list[str]]:
        """Return why each checkpoint stays, by name; an empty list if it does not."""
        reasons: dict[str, list[str]] = {name: [] for name in self.names}
        for names, reason in self.kept:
            for name in names:
                if (text := reason(name)) not in reasons[name]:
                    reasons[name].append(text)
        return reasons


def decide(candidates: Sequence[Candidate], keep: Keep) -> tuple[Verdict, ...]:
    """Decide which checkpoints stay, and why.

    Args:
        candidates: the checkpoints, oldest first, with names of their own.
        keep: the rules.

    Returns:
        A verdict on each, in the same order. The newest intact one and the damaged stay; damaged
        ones do not count, so that `last=5` means five that can be restored.

    Raises:
        RetentionError: a `where` failed.
    """
    by_name = {candidate.name: candidate for candidate in candidates}
    damaged = {candidate.name for candidate in candidates if candidate.damaged}
    reasons = decide_by_name(list(by_name), damaged, _Given(by_name), keep).reasons()
    return tuple(Verdict(candidate, tuple(reasons[candidate.name])) for candidate in candidates)


def decide_by_name(
    names: Sequence[str], damaged: Collection[str], facts: Facts, keep: Keep
) -> Decision:
    """Decide as `decide` does, and look up no facts but those that the rules ask for.

    Args:
        names: the checkpoints, oldest first.
        damaged: those of them that are damaged.
        facts: the facts about each.
        keep: the rules.

    Raises:
        RetentionError: a `where` failed.
    """
    intact = [name for name in names if name not in damaged] if damaged else names
    kept: list[_Kept] = [
        (damaged, lambda _: "damaged; kept for you to examine"),
        (intact[-1:], lambda _: "the newest"),
    ]
    for rules in (keep, *_joined(keep)):
        kept += _kept(intact, facts, rules)
    return Decision(names, kept)


def _joined(keep: Keep) -> Iterator[Keep]:
    for other in keep.also:
        yield other
        yield from _joined(other)


def _kept(intact: Sequence[str], facts: Facts, keep: Keep) -> Iterator[_Kept]:
    if keep.last is not None:
        yield intact[-keep.last :], lambda _: f"among the last {keep.last}"
    if keep.every is not None:
        time = _readable(keep.every)
        yield list(_spaced(intact, facts, keep.every)), lambda _: f"one every {time}"
    if keep.best is not None:
        best = keep.best
        ranked = best.rank([facts.candidate(name) for name in intact])[: best.count]
        values = {candidate.name: candidate.metrics[best.metric] for candidate in ranked}
        yield values, lambda name: f"best {best.metric} ({best.mode}): {values[name]:g}"
    if keep.steps is not None:
        steps = ((name, facts.step(name)) for name in intact)
        multiples = [name for name, step in steps if step is not None and step % keep.steps == 0]
        yield multiples, lambda _: f"its step is a multiple of {keep.steps}"
    if keep.where is not None:
        wanted = [name for name in intact if _asked(keep.where, facts.candidate(name))]
        yield wanted, lambda _: "where= returned true"


def _spaced(intact: Sequence[str], facts: Facts, every: float) -> Iterator[str]:
    before = -math.inf
    for name in intact:
        created = facts.created(name)
        # A clock that went back by so much was set right; it counts anew from there.
        if abs(created - before) >= every:
            before = created
            yield name


def _asked(where: Callable[[Candidate], Any], candidate: Candidate) -> bool:
    try:
        return bool(where(candidate))
    except Exception as error:
        raise RetentionError(
            f"where= failed on {candidate.name!r}: {type(error).__name__}: {error}",
            advice="A checkpoint may lack a step or a metric; metrics.get(name) returns None then.",
        ) from error


def _readable(time: float) -> str:
    for unit, size in _UNITS.items():
        if time >= size:
            return f"{time / size:g}{unit}"
    return f"{time:g}s"


def best_of(candidates: Sequence[Candidate], best: Best, where: str) -> Candidate:
    """Return the best intact checkpoint.

    Args:
        candidates: the checkpoints, oldest first.
        best: by which metric.
        where: what they are in, for the error.

    Returns:
        The best; of two that are equal the newer.

    Raises:
        NameNotFoundError: none has a value of this metric; the message names the nearest.
    """
    ranked = best.rank([candidate for candidate in candidates if not candidate.damaged])
    if ranked:
        return ranked[0]
    known = sorted({name for candidate in candidates for name in candidate.metrics})
    if best.metric in known:
        problem = f"no intact checkpoint has a number for the metric {best.metric!r}"
        advice = "Its values are NaN, or belong to damaged checkpoints."
    else:
        problem = f"no checkpoint has a metric {best.metric!r}"
        advice = did_you_mean(best.metric, known) if known else "Pass metrics= to save()."
    raise NameNotFoundError(problem, where=where, advice=advice)


@attrs.frozen
class Pruning:
    """The result of pruning, or of a dry run of it.

    Args:
        location: the directory.
        verdicts: what became of each checkpoint, oldest first.
        dry_run: whether nothing was removed.

    Example:
        >>> saved = [Candidate(f"m-{step}", step, step) for step in (1, 2, 3)]
        >>> print(Pruning("runs", decide(saved, Keep(last=2)), dry_run=True))
        runs: 2 checkpoints stay, 1 would go
          goes   m-1
          stays  m-2  among the last 2
          stays  m-3  the newest; among the last 2
    """

    location: str
    verdicts: tuple[Verdict, ...]
    dry_run: bool = False

    @property
    def kept(self) -> tuple[str, ...]:
        """The names of those that stay, oldest first."""
        return tuple(verdict.candidate.name for verdict in self.verdicts if verdict.kept)

    @property
    def dropped(self) -> tuple[str, ...]:
        """The names of those that went or would go, oldest first."""
        return tuple(verdict.candidate.name for verdict in self.verdicts if not verdict.kept)

    def __str__(self) -> str:
        stay, go = len(self.kept), len(self.dropped)
        count = counted(stay, "checkpoint stays", "checkpoints stay")
        lines = [f"{self.location}: {count}, {go} {'would go' if self.dry_run else 'went'}"]
        gone = "goes " if self.dry_run else "gone "
        width = max((len(verdict.candidate.name) for verdict in self.verdicts), default=0)
        for verdict in self.verdicts:
            row = f"  {'stays' if verdict.kept else gone}  {verdict.candidate.name:{width}}"
            lines.append(f"{row}  {'; '.join(verdict.reasons)}".rstrip())
        return "\n".join(map(printable, lines))
