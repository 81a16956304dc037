"""Check the arguments of the steps of a freezer."""

from __future__ import annotations

import datetime
import math
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from tfpersist.errors import ArgumentError, value_text

# Extents in a shape that a graph computes with are of 32 bits.
_LARGEST_SIZE = (1 << 31) - 1
_Choice = TypeVar("_Choice", bound=str)

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)([dhms])")


def flattened(values: Iterable[object]) -> Iterator[object]:
    """Return an iterator over arguments and the members of lists among them.

    A tensor or a variable counts as one argument, though it is iterable.

    Args:
        values: the arguments.

    Example:
        >>> list(flattened(["a", ["b", "c"]]))
        ['a', 'b', 'c']
    """
    for value in values:
        is_single = isinstance(value, (str, bytes, Mapping))
        is_single = is_single or any(hasattr(value, member) for member in ("name", "numpy"))
        if is_single or not isinstance(value, Iterable):
            yield value
        else:
            yield from value


def tensors(values: Iterable[object], step: str) -> tuple[str, ...]:
    """Return the names of tensors.

    Args:
        values: names, or objects with a name.
        step: the step of the freezer that got them, for the error.

    Raises:
        ArgumentError: a value has no name.
    """
    return tuple(
        _name(value, step, '"operation", "operation:index" or a tensor') for value in values
    )


def variables(values: Iterable[object], step: str) -> tuple[object, ...]:
    """Return names of variables, globs and variables as they are.

    Args:
        values: names, globs, or variables.
        step: the step of the freezer that got them, for the error.

    Raises:
        ArgumentError: a value is neither a name nor an object with a name.
    """
    chosen = tuple(values)
    for value in chosen:
        if not hasattr(value, "path"):
            _name(value, step, 'a variable, its name, or a glob such as "conv1/*"')
    return chosen


def text(value: object, step: str) -> str:
    """Return a name of something other than a tensor or a variable.

    Args:
        value: the name.
        step: the step of the freezer that got it, for the error.

    Raises:
        ArgumentError: it is not a name.
    """
    if isinstance(value, str) and value:
        return value
    raise _refusal(value, step, "a name", "Leave the step out for the default.")


def values_of(values: object, step: str) -> dict[str, Any]:
    """Return values by the names of their tensors.

    Args:
        values: {tensor or its name: value}.
        step: the step of the freezer that got them, for the error.

    Raises:
        ArgumentError: it is not such a dict.
    """
    if not isinstance(values, Mapping):
        raise _refusal(values, step, "a dict", 'Pass {"tensor": value}.')
    return dict(zip(tensors(values, step), values.values(), strict=True))


def one_of(value: object, choices: Sequence[_Choice], step: str) -> _Choice:
    """Return a value that has to be one of several strings.

    Args:
        value: the value.
        choices: the strings.
        step: the step of the freezer that got it, for the error.

    Raises:
        ArgumentError: it is not one of them.
    """
    matches = [choice for choice in choices if isinstance(value, str) and value == choice]
    if matches:
        return matches[0]
    wanted = " or ".join(map(repr, choices))
    raise _refusal(value, step, wanted, "Leave the step out to keep the graph as it is.")


def tolerance(value: object, step: str) -> float:
    """Return how much numbers may differ.

    Args:
        value: the number.
        step: the step of the freezer that got it, for the error.

    Raises:
        ArgumentError: it is negative, not finite, or not a number.

    Example:
        >>> tolerance(float("nan"), "parity")
        Traceback (most recent call last):
        tfpersist.errors.ArgumentError: parity(): this cannot be used; expected a finite number, 0 \
or more, got nan. Pass 0 for equal bits, 1e-5 for numbers that are computed in another order.
    """
    numbers = (int, float, np.integer, np.floating)
    try:
        number = float(value) if isinstance(value, numbers) else math.nan
    except OverflowError:
        number = math.inf
    if 0 <= number < math.inf and not isinstance(value, bool):
        return number
    raise _refusal(
        value,
        step,
        "a finite number, 0 or more",
        "Pass 0 for equal bits, 1e-5 for numbers that are computed in another order.",
    )


def count_of(value: Any, least: int = 1) -> int | None:
    """Return a whole number.

    Args:
        value: an int, or what numpy and TensorFlow have in its place.
        least: the smallest number that is allowed.

    Returns:
        The number; None where the value is anything else.

    Example:
        >>> count_of(3), count_of(0), count_of(True), count_of("3"), count_of(0, least=0)
        (3, None, None, None, 0)
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return None
    number = operator.index(value)
    return number if number >= least else None


def size(value: object, step: str) -> int:
    """Return an extent of a tensor.

    Args:
        value: the number.
        step: the step of the freezer that got it, for the error.

    Raises:
        ArgumentError: it is not a whole number, below 1, or beyond 32 bits.

    Example:
        >>> size(0, "batch")
        Traceback (most recent call last):
        tfpersist.errors.ArgumentError: batch(): this cannot be used; expected a whole number from \
1 on, got 0. Leave the step out for any size.
    """
    number = count_of(value)
    if number is None or number > _LARGEST_SIZE:
        raise _refusal(value, step, "a whole number from 1 on", "Leave the step out for any size.")
    return number


def text_of(value: object, name: str, what: str, expected: str) -> str:
    """Return an argument that is a text with at least one character.

    Args:
        value: the argument.
        name: what it is called, for the error.
        what: what it stands for, for the error.
        expected: an example, for the error.

    Raises:
        ArgumentError: it is no text.
    """
    if not isinstance(value, str) or not value:
        raise ArgumentError(
            f"{what} must be a text", where=name, expected=expected, found=value_text(value)
        )
    return value


def time_of(value: object, name: str) -> float:
    """Return an argument that is a length of time, in seconds; see `seconds`.

    Args:
        value: the argument.
        name: what it is called, for the error.

    Raises:
        ArgumentError: it is no length of time.
    """
    found = seconds(value)
    if found is None:
        raise ArgumentError(
            f"{name}= must be a length of time",
            where=name,
            expected='a number of seconds, a timedelta, or a text such as "1h", more than 0',
            found=value_text(value),
        )
    return found


def seconds(value: Any) -> float | None:
    """Return a length of time in seconds.

    Args:
        value: a number of seconds, a timedelta, or a text such as "1h" or "1h30m".

    Returns:
        The seconds, more than 0 and finite; None where the value is anything else.

    Example:
        >>> seconds("1h30m"), seconds(2), seconds(datetime.timedelta(days=1)), seconds("soon")
        (5400.0, 2.0, 86400.0, None)
    """
    total = math.nan
    if isinstance(value, datetime.timedelta):
        total = value.total_seconds()
    elif isinstance(value, str):
        parts = _PART.findall(value)
        if parts and "".join(map("".join, parts)) == value.replace(" ", ""):
            total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    elif not isinstance(value, bool):
        try:
            total = float(value)
        except (TypeError, ValueError, OverflowError):
            total = math.nan
    return total if 0 < total < math.inf else None


def _name(value: object, step: str, wanted: str) -> str:
    name = getattr(value, "name", value)
    if isinstance(name, str) and name:
        return str(name)
    raise _refusal(value, step, wanted, "Freezer(...).candidates() lists the outputs of a graph.")


def _refusal(value: object, step: str, wanted: str, advice: str) -> ArgumentError:
    return ArgumentError(
        "this cannot be used",
        where=f"{step}()",
        expected=wanted,
        found=value_text(value),
        advice=advice,
    )
