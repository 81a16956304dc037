"""The errors that tfpersist raises, and helpers for their messages.

TFPersistError
├── ArgumentError            an argument has the wrong type or value           (also TypeError)
├── StorageError             the disk or the remote store refused: full, no permission, gone
│   └── ConflictError        another process has saved the same checkpoint meanwhile
├── CorruptionError          bytes are damaged: names the file and the offset
├── UnsupportedError         the bytes are intact, but hold what cannot be represented here
├── CheckpointNotFoundError  there is no checkpoint at this path       (also FileNotFoundError)
├── NameNotFoundError        no tensor, node or variable of this name; nearest names (also KeyError)
├── TargetError              this object cannot be saved, restored or frozen    (also TypeError)
├── SelectionError           only(), rename() or averages() names something absent or twice
├── RestoreError             the checkpoint does not fit the target; `.report` holds the table
├── SaveError                the target cannot be captured: uninitialized or missing variables
├── RetentionError           a rule of Keep() is missing or wrong              (also ValueError)
├── GraphError               a graph is inconsistent: absent inputs, cycles, duplicate names
├── FreezeError              a node cannot be frozen; names node, op and variable
├── ParityError              a frozen model computes other values than its source; see `.report`
├── UnsafeModelError         a graph could do more than the policy allows; names node and op
├── FeedError                a feed is missing, unknown, or has the wrong dtype or shape
└── RunError                 TensorFlow failed while it ran the model

Every message says where it happened, what was expected, what came instead and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

# Names beyond these are not compared with one that does not exist.
_MOST_CANDIDATES = 20_000
_LONGEST = 200


class TFPersistError(Exception):
    """Base of all errors of tfpersist.

    Args:
        problem: what went wrong: one sentence without a full stop.
        where: file and offset, or node, or variable.
        expected: what would be right.
        found: what was there instead.
        advice: what the user should do next: one sentence.
    """

    # AutoGraph raises an error of its own in the place of one without this attribute, where a
    # tf.function is traced.
    ag_pass_through = True

    def __init__(
        self,
        problem: str,
        *,
        where: str | None = None,
        expected: object = None,
        found: object = None,
        advice: str | None = None,
    ) -> None:
        self.problem = problem
        self.where = where
        self.expected = expected
        self.found = found
        self.advice = advice
        super().__init__(problem)

    def __str__(self) -> str:
        text = f"{printable(self.where)}: {self.problem}" if self.where else str(self.problem)
        if self.expected is not None:
            text += f"; expected {printable(str(self.expected))}"
        if self.found is not None:
            text += f"{',' if self.expected is not None else ';'} got {printable(str(self.found))}"
        if self.advice:
            text += f". {self.advice}"
        text = printable_lines(text)
        return text if text.endswith((".", "?", "\n")) else text + "."

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.problem), self.__dict__


def _rebuild(cls: type[TFPersistError], problem: str) -> TFPersistError:
    return cls(problem)


class ArgumentError(TFPersistError, TypeError):
    """An argument has the wrong type or value."""


class StorageError(TFPersistError, OSError):
    """The disk or the remote store refused; `__cause__` is the original OSError."""

    __str__ = TFPersistError.__str__

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError keeps its number outside of `__dict__`.
        return _rebuild, (type(self), self.problem), {**self.__dict__, "errno": self.errno}


class ConflictError(StorageError):
    """Another process has written the same checkpoint or file meanwhile; theirs is complete."""


class CorruptionError(TFPersistError):
    """Bytes are damaged.

    Args:
        problem: what is wrong with them.
        file: name of the damaged file.
        offset: byte offset in that file where the damage was noticed.
        expected: what would be right.
        found: what was there instead.
        advice: what to do next.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str = "",
        offset: int = 0,
        expected: object = None,
        found: object = None,
        advice: str | None = None,
    ) -> None:
        self.file = file
        self.offset = offset
        super().__init__(
            problem,
            where=f"{file or '<bytes>'}, byte {offset}",
            expected=expected,
            found=found,
            advice=advice or "Restore another checkpoint or copy the file again from its source.",
        )


class UnsupportedError(TFPersistError):
    """The bytes are intact, but hold something that cannot be represented here."""


class CheckpointNotFoundError(TFPersistError, FileNotFoundError):
    """There is no checkpoint at this path."""

    __str__ = TFPersistError.__str__


class NameNotFoundError(TFPersistError, KeyError):
    """No tensor, node or variable has this name."""

    __str__ = TFPersistError.__str__


class TargetError(TFPersistError, TypeError):
    """This object cannot be saved, restored or frozen."""


class SelectionError(TFPersistError):
    """A selection names something that is absent, or the same thing twice."""


class RestoreError(TFPersistError):
    """The checkpoint does not fit the target; nothing was assigned.

    Args:
        report: the `RestoreReport` with every variable that fits or does not.
    """

    def __init__(self, problem: str, *, report: object = None, **facts: Any) -> None:
        self.report = report
        super().__init__(problem, **facts)

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.report is None else f"{text}\n{self.report}"


class SaveError(TFPersistError):
    """The target cannot be captured."""


class RetentionError(TFPersistError, ValueError):
    """A rule that says which checkpoints to keep is missing or wrong."""


class GraphError(TFPersistError):
    """A graph is inconsistent."""


class FreezeError(TFPersistError):
    """A node cannot be frozen."""


class ParityError(TFPersistError):
    """A frozen model computes other values than its source; nothing was written.

    Args:
        report: the `Parity` of all outputs; None if they could not be compared.
    """

    def __init__(self, problem: str, *, report: object = None, **facts: Any) -> None:
        self.report = report
        super().__init__(problem, **facts)

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.report is None else f"{text}\n{self.report}"


class UnsafeModelError(TFPersistError):
    """A graph could do more than the policy allows; nothing of it was run.

    Args:
        findings: what the policy refuses, as `tfpersist.safety.Finding`s: capability, op,
            function and nodes.
    """

    def __init__(self, problem: str, *, findings: tuple[object, ...] = (), **facts: Any) -> None:
        self.findings = findings
        super().__init__(problem, **facts)

    def __str__(self) -> str:
        return "\n  ".join([super().__str__(), *map(str, self.findings)])


class FeedError(TFPersistError, ValueError):
    """A feed is missing, unknown, or has the wrong dtype or shape."""


class RunError(TFPersistError):
    """TensorFlow failed while it ran the model."""


def value_text(value: object) -> str:
    """Return a short text for a value that an error message shows.

    Example:
        >>> value_text(None), value_text(3), value_text("a"), value_text([1])
        ('None', '3', "'a'", 'a list')
    """
    value_type = type(value)
    if value is None or value_type in (bool, int, float, str, bytes):
        return repr(value)
    if isinstance(value, type):
        return f"the class {value.__module__}.{value.__qualname__}".replace("builtins.", "")
    name = f"{value_type.__module__}.{value_type.__qualname__}".removeprefix("builtins.")
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun.

    Args:
        number: the number.
        one: the noun, and what follows it, for one thing.
        many: the same for other numbers; None adds an "s" to `one`.

    Example:
        >>> counted(1, "node"), counted(2000, "node"), counted(0, "loss", "losses")
        ('1 node', '2,000 nodes', '0 losses')
    """
    return f"1 {one}" if number == 1 else f"{number:,} {many or one + 's'}"


def printable(text: str) -> str:
    """Return a text in which control characters are escaped, such as those that steer a terminal.

    Example:
        >>> printable("naïve"), printable("a\\x1b[2J\\n")
        ('naïve', 'a\\\\x1b[2J\\\\n')
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def printable_lines(*lines: str) -> str:
    """Return lines joined, with control characters escaped as by `printable`.

    Args:
        lines: texts of one or more lines each; their line breaks stay.

    Example:
        >>> printable_lines("a\\x1b[2J", "b")
        'a\\\\x1b[2J\\nb'
    """
    return "\n".join(printable(line) for text in lines for line in text.split("\n"))


def nearest(name: str, names: Iterable[str], most: int = 5) -> list[str]:
    """Return the names that are most like `name`, best first.

    Args:
        name: the name that does not exist.
        names: the names that exist.
        most: how many names to return at most.

    Returns:
        First the names with the same last part, then those with similar letters.

    Example:
        >>> nearest("kernel", ["dense/kernel", "dense/bias"])
        ['dense/kernel']
    """
    candidates = list(names)[:_MOST_CANDIDATES]
    tail = name.rsplit("/", 1)[-1]
    wanted = _ends(name)
    same_tail = [other for other in candidates if tail and other.rsplit("/", 1)[-1] == tail]
    found = _most_alike(wanted, same_tail, most)
    if len(found) < most:
        by_ends = {_ends(other): other for other in reversed(candidates)}
        similar = difflib.get_close_matches(wanted, by_ends, n=most, cutoff=0.5)
        found += [by_ends[other] for other in similar]
    return list(dict.fromkeys(found))[:most]


def _most_alike(wanted: str, names: Sequence[str], most: int) -> list[str]:
    """Return some names by how many letters they share with another one, best first."""
    matcher = difflib.SequenceMatcher(None, "", wanted)
    bounds = []
    for at, other in enumerate(names):
        matcher.set_seq1(_ends(other))
        bounds.append((-matcher.quick_ratio(), at))
    # What shares more cannot be among those whose bound is lower.
    best: list[tuple[float, int]] = []
    for bound, at in sorted(bounds):
        if len(best) == most and bound > best[-1][0]:
            break
        matcher.set_seq1(_ends(names[at]))
        best = sorted([*best, (-matcher.ratio(), at)])[:most]
    return [names[at] for _, at in best]


def _ends(name: str) -> str:
    """Return a name, or the two ends of a long one: comparing takes the square of the length."""
    return name if len(name) <= _LONGEST else name[: _LONGEST // 2] + name[-_LONGEST // 2 :]


def _quoted(name: str) -> str:
    """Return a name in quotes, of a long one only its two ends."""
    half = _LONGEST // 2
    return repr(name if len(name) <= _LONGEST else f"{name[:half]}...{name[-half:]}")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return the advice for a name that does not exist.

    Example:
        >>> did_you_mean("kernle", ["kernel", "bias"])
        "Did you mean 'kernel'?"
    """
    known = list(names)
    close = nearest(name, known)
    if close:
        return "Did you mean " + " or ".join(map(_quoted, close)) + "?"
    shown = ", ".join(map(_quoted, sorted(known)[:8]))
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return f"There are {shown}{more}." if known else "There are no names at all."
