"""Describe whether the order of the data is restored when a training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfpersist.matching.plans.resume import Fact
from tfpersist.tf.internals import data_functions
from tfpersist.tf.internals.iterators import IteratorState

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
    elif state is not None and not state.is_seeded:
        advice = "Call keras.utils.set_random_seed() or tf.random.set_seed() first."
        why = "each process draws others"
        found.append(
            Fact("not covered", "random ops of the data without seeds", where, why, advice)
        )
    return found


def unknown(why: str, advice: str) -> Sequence[Fact]:
    """Return that nothing is known of the order of the data."""
    return [Fact("not covered", _NAME, "", why, advice)]


def of_validation(data: Any, steps: int | None) -> Sequence[Fact]:
    """Return whether validation goes on with the data that it would have without a stop.

    Args:
        data: the validation data of `fit`.
        steps: how many batches each validation reads, if that was asked for.
    """
    import tensorflow as tf

    if data is None or isinstance(data, (tuple, list)):  # arrays are read in their order
        return ()
    why = "nobody knows whether what makes them draws"
    if isinstance(data, tf.data.Dataset):
        why = ""
        if data_functions.draws_anew(data):
            why = "fit reads them anew for each epoch, and the seeds begin anew"
        elif steps is not None and int(data.cardinality()) != steps:
            why = "each validation goes on after the one before, and the first one begins anew"
    if not why:
        return ()
    advice = "Validate with all of a dataset that is not shuffled, and has no random ops."
    name = "the order of the validation data"
    return [Fact("not covered", name, type(data).__name__, why, advice)]
