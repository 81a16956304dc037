"""Bound: a function from some inputs of a model to some outputs, of any engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import FeedError, RunError, TFPersistError, printable


@attrs.frozen
class Guard:
    """Check the value of one input.

    Args:
        dtype: the data type of an array that fits as it is.
        shape: its shape, None for an open size; None where any shape fits.
        fit: converts or refuses other values.
        copies: whether to copy the value, because the graph may keep it.
    """

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None
    fit: Callable[[Any], Any]
    copies: bool = False

    def __call__(self, value: Any) -> Any:
        if (
            type(value) is np.ndarray
            and (value.dtype is self.dtype or value.dtype == self.dtype)
            and value.flags.c_contiguous
            and self._accepts(value.shape)
        ):
            return value.copy() if self.copies else value
        fitted = self.fit(value)
        return fitted.copy() if self.copies and fitted is value else fitted

    def _accepts(self, shape: tuple[int, ...]) -> bool:
        expected = self.shape
        if expected is None or shape == expected:
            return True
        if len(shape) != len(expected):
            return False
        for size, expected_size in zip(shape, expected, strict=True):
            if size != expected_size and expected_size is not None:
                return False
        return True


@attrs.define(eq=False)
class Output:
    """Return one output, without a copy once two calls have given results in different memory.

    Args:
        may_be_owned: whether the memory of a result may belong to the caller.
        known: whether `may_be_owned` has been confirmed by two results.
        first: the first result, until a second one is compared with it.
    """

    may_be_owned: bool
    known: bool = False
    first: Any = None

    def own(self, value: Any) -> Any:
        """Return a result in memory that belongs to the caller."""
        if type(value) is not np.ndarray:
            return np.array(value, dtype=object if isinstance(value, bytes) else None)
        if value.dtype.names:
            value = value.view(value.dtype[0])
        if value.dtype.kind == "O" or (self.known and self.may_be_owned):
            return value
        # Several threads may be here at once. `known` must never become false again.
        first = self.first
        if self.may_be_owned and value.size and not self.known:
            if first is None:
                self.first = value
            elif first is not value:
                # TensorFlow may have made the output a constant: then results share memory.
                if np.may_share_memory(first, value):
                    self.may_be_owned = False
                self.known = True
                self.first = None
        return value.copy()


@attrs.frozen(eq=False)
class Binding:
    """The way in which a bound function computes.

    Args:
        guards: check the value of each input.
        results: make each output the caller's own.
        single: whether to return the one output itself, not a tuple.
        labels: the keys of the outputs in a dict; None for a tuple.
        compute: computes the outputs.
        translated: turns errors of the engine into those of tfpersist.
        forked: returns the error for a call in another process than that of `compute`.
        pickled: returns what `__reduce__` returns.
        process: the only process that may call `compute`.
    """

    guards: tuple[Guard, ...]
    results: tuple[Output, ...]
    single: bool
    labels: tuple[Any, ...] | None
    compute: Callable[..., Sequence[Any]]
    translated: Callable[[], AbstractContextManager[None]]
    forked: Callable[[], RunError]
    pickled: Callable[[], tuple[Any, ...]]
    process: int = attrs.field(factory=os.getpid)


@attrs.frozen(eq=False, repr=False)
class Bound:
    """Some outputs of a model as a function of some inputs.

    Several threads may call it at once. It computes in the thread that calls it; only large
    operations use other threads of the engine too. No other code uses the memory of the results.

    Args:
        inputs: names of the tensors that its arguments are fed to.
        outputs: names of the tensors that it returns.

    Example:
        >>> import tfpersist as tfp
        >>> from tfpersist.formats import graphdef
        >>> model = tfp.FrozenModel(graphdef.parse_text(b'''
        ...     node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_INT32 } } }
        ...     node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: DT_INT32 } } }
        ... '''))
        >>> model.bind("x", "y")
        <Bound x:0 -> y:0>
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    _binding: Binding

    def __call__(self, *values: Any) -> Any:
        """Compute the outputs.

        Args:
            values: one for each input: an array, a number, or nested lists.

        Returns:
            One array for a single output; a tuple of arrays for a list of outputs, a dict of
            arrays for a dict of outputs.

        Raises:
            FeedError: a value is missing, or has another data type or shape than its input.
            RunError: the engine failed, or the model is closed.
        """
        binding = self._binding
        guards = binding.guards
        if len(values) != len(guards) or binding.process != os.getpid():
            raise self._misuse(len(values))
        try:
            if len(guards) == 1:
                results = binding.compute(guards[0](values[0]))
            else:
                results = binding.compute(*map(Guard.__call__, guards, values))
        except TFPersistError:
            raise
        except Exception:
            with binding.translated():
                raise
        if binding.single:
            return binding.results[0].own(results[0])
        pairs = zip(binding.results, results, strict=True)
        own = tuple(output.own(value) for output, value in pairs)
        return own if binding.labels is None else dict(zip(binding.labels, own, strict=True))

    def __reduce__(self) -> tuple[Any, ...]:
        return self._binding.pickled()

    def __repr__(self) -> str:
        return printable(f"<Bound {', '.join(self.inputs) or '()'} -> {', '.join(self.outputs)}>")

    def _misuse(self, count: int) -> Exception:
        if count != len(self.inputs):
            expected = f"{len(self.inputs)}: {', '.join(self.inputs)}"
            return FeedError("wrong number of values", expected=expected, found=str(count))
        return self._binding.forked()


def refuse_twice(names: Sequence[str]) -> None:
    """Raise if an input is bound twice.

    Args:
        names: the names of the tensors to feed.

    Raises:
        FeedError: a name occurs twice.

    Example:
        >>> refuse_twice(["x:0", "y:0", "x:0"])
        Traceback (most recent call last):
        tfpersist.errors.FeedError: x:0: this input is named twice. Name each input once.
    """
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise FeedError("this input is named twice", where=twice, advice="Name each input once.")
