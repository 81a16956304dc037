"""Say what becomes of the order of the data of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfpersist.matching.plans.resume import Fact
from tfpersist.tf.internals.iterators import IteratorState
from tfpersist.tf.training import same_data

_NAME = "the order of the data"
# A larger state has the elements of a shuffle in it.
_LARGE = 1 << 20


def facts_of(iterator: Any, state: IteratorState | None, size: int) -> Sequence[Fact]:
    """Return whether the order of the data is covered or replayed.

    Args:
        iterator: the iterator.
        state: its state, or why it has none; None for the iterator of a strategy.
        size: the number of bytes of the state that was captured last.
    """
    where = type(iterator).__name__
    if state is not None and state.state is not None:
        if size < _LARGE:
            return [Fact("covered", _NAME, where)]
        advice = "Shuffle file names or indices, not the elements, to make it small."
        return [Fact("covered", _NAME, f"{where}, {size:,} bytes in each checkpoint", "", advice)]
    why = "the iterator of a strategy has no state" if state is None else state.why
    found = [Fact("replayed", _NAME, where, why)]
    if state is not None and state.runs_python:
        advice = "Draw from a generator that is seeded by the number of the batch."
        why = "it may run ahead, and nobody knows what it draws from"
        found.append(
            Fact("not covered", "what Python code draws that makes the data", where, why, advice)
        )
    elif not same_data.is_seeded(iterator):
        advice = "Call keras.utils.set_random_seed() or tf.random.set_seed() first."
        why = "each process draws others"
        found.append(
            Fact("not covered", "random ops of the data without seeds", where, why, advice)
        )
    return found


def unknown(why: str, advice: str) -> Sequence[Fact]:
    """Return that nothing is known of the order of the data."""
    return [Fact("not covered", _NAME, "", why, advice)]
