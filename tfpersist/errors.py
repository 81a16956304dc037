"""Everything that tfpersist raises.

TFPersistError
├── ArgumentError            an argument is of a kind that means nothing there  (also TypeError)
├── StorageError             the disk or the remote store refused: full, no permission, gone
├── CorruptionError          bytes are damaged: names the file and the offset
├── UnsupportedError         the bytes are sound, but hold what cannot be represented here
├── CheckpointNotFoundError  nothing at this path names a checkpoint       (also FileNotFoundError)
├── NameNotFoundError        no tensor, node or variable of this name; nearest names (also KeyError)
├── TargetError              this object cannot be saved, restored or frozen    (also TypeError)
├── SelectionError           only(), rename() or averages() asks for what is not there or twice
├── RestoreError             the checkpoint does not fit the target; `.report` holds the table
├── SaveError                the target cannot be captured: uninitialized or missing variables
├── RetentionError           Keep() does not say what to keep                  (also ValueError)
├── GraphError               a graph is inconsistent: edges to nowhere, cycles, duplicate names
├── FreezeError              a node cannot be frozen; names node, op and variable
├── ParityError              the frozen model gives something else than its source; see `.report`
├── UnsafeModelError         a graph could do what the policy refuses; names node, op, capability
├── FeedError                a feed is missing, unknown, or of another dtype or shape
└── RunError                 TensorFlow failed while it ran the model

Every message says where, what was expected, what came instead and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class TFPersistError(Exception):
    """Base of all errors of tfpersist.

    Args:
        problem: what went wrong, one sentence without a full stop.
        where: file and offset, or node, or variable.
        expected: what would have been right.
        found: what was there instead.
        advice: what the user should do next, one sentence.
    """

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
            text += f"; expected {self.expected}"
        if self.found is not None:
            text += f"{',' if self.expected is not None else ';'} got {self.found}"
        if self.advice:
            text += f". {self.advice}"
        text = printable_lines(text)
        return text if text.endswith((".", "?", "\n")) else text + "."

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.problem), self.__dict__


def _rebuild(cls: type[TFPersistError], problem: str) -> TFPersistError:
    return cls(problem)


class ArgumentError(TFPersistError, TypeError):
    """An argument is of a kind that means nothing there."""


class StorageError(TFPersistError, OSError):
    """The disk or the remote store refused; the cause is the original OSError."""

    __str__ = TFPersistError.__str__


class CorruptionError(TFPersistError):
    """Bytes are damaged.

    Args:
        problem: what is wrong with them.
        file: name of the damaged file.
        offset: byte offset in that file where the damage was noticed.
        expected: what would have been right.
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
    """The bytes are sound, but hold something that cannot be represented here."""


class CheckpointNotFoundError(TFPersistError, FileNotFoundError):
    """Nothing at this path names a checkpoint."""

    __str__ = TFPersistError.__str__


class NameNotFoundError(TFPersistError, KeyError):
    """No tensor, node or variable has this name."""

    __str__ = TFPersistError.__str__


class TargetError(TFPersistError, TypeError):
    """This object cannot be saved, restored or frozen."""


class SelectionError(TFPersistError):
    """A selection asks for what is not there, or for one thing twice."""


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
    """What is to be kept is not said, or makes no sense."""


class GraphError(TFPersistError):
    """A graph is inconsistent."""


class FreezeError(TFPersistError):
    """A node cannot be frozen."""


class ParityError(TFPersistError):
    """A frozen model gives something else than its source; nothing was written.

    Args:
        report: the `Parity` of all outputs; None where they could not be compared.
    """

    def __init__(self, problem: str, *, report: object = None, **facts: Any) -> None:
        self.report = report
        super().__init__(problem, **facts)

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.report is None else f"{text}\n{self.report}"


class UnsafeModelError(TFPersistError):
    """A graph could do what the policy does not allow; nothing of it was run.

    Args:
        findings: what was refused, as `tfpersist.safety.Finding`s: capability, op, function and
            nodes.
    """

    def __init__(self, problem: str, *, findings: tuple[object, ...] = (), **facts: Any) -> None:
        self.findings = findings
        super().__init__(problem, **facts)

    def __str__(self) -> str:
        return "\n  ".join([super().__str__(), *map(str, self.findings)])


class FeedError(TFPersistError, ValueError):
    """A feed is missing, unknown, or of another dtype or shape."""


class RunError(TFPersistError):
    """TensorFlow failed while it ran the model."""


def value_text(value: object) -> str:
    """Say what a value is, for what was found.

    Example:
        >>> value_text(None), value_text(3), value_text("a"), value_text([1])
        ('None', '3', "'a'", 'a list')
    """
    kind = type(value)
    if value is None or kind in (bool, int, float, str, bytes):
        return repr(value)
    if isinstance(value, type):
        return f"the class {value.__module__}.{value.__qualname__}".replace("builtins.", "")
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def printable(text: str) -> str:
    """Write out what would steer a terminal or break a line.

    Example:
        >>> printable("naïve"), printable("a\\x1b[2J\\n")
        ('naïve', 'a\\\\x1b[2J\\\\n')
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def printable_lines(*lines: str) -> str:
    """Join lines, each of them written out by `printable`.

    Args:
        lines: one or more lines each; line breaks stay.

    Example:
        >>> printable_lines("a\\x1b[2J", "b")
        'a\\\\x1b[2J\\nb'
    """
    return "\n".join(printable(line) for text in lines for line in text.split("\n"))


def nearest(name: str, names: Iterable[str], most: int = 5) -> list[str]:
    """Give the names most like `name`, best first.

    Args:
        name: the name that was not found.
        names: the names that exist.
        most: how many to give.

    Returns:
        Up to `most` names; those that end in the same last part come before mere look-alikes.

    Example:
        >>> nearest("kernel", ["dense/kernel", "dense/bias"])
        ['dense/kernel']
    """
    candidates = list(names)
    tail = name.rsplit("/", 1)[-1]
    same_tail = [other for other in candidates if tail and other.rsplit("/", 1)[-1] == tail]
    alike = difflib.get_close_matches(name, candidates[:20_000], n=most, cutoff=0.5)
    ordered = dict.fromkeys(
        sorted(same_tail, key=lambda other: -difflib.SequenceMatcher(None, name, other).ratio())
        + alike
    )
    return list(ordered)[:most]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Give the advice for a name that was not found.

    Example:
        >>> did_you_mean("kernle", ["kernel", "bias"])
        "Did you mean 'kernel'?"
    """
    known = list(names)
    close = nearest(name, known)
    if close:
        return "Did you mean " + " or ".join(repr(other) for other in close) + "?"
    shown = ", ".join(repr(other) for other in sorted(known)[:8])
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return f"There are {shown}{more}." if known else "There are no names here at all."
