"""Executor: what runs one graph. TensorFlow is one of two."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from tfpersist.calls.bound import Bound
from tfpersist.errors import RunError
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.structure.names import TensorRef


class Executor(Protocol):
    """Runs one graph, by the names of its tensors. Several threads may use it."""

    def run(self, fetches: Any, feeds: Mapping[Any, Any] | None = None) -> Any:
        """Compute tensors.

        Args:
            fetches: one name, a list of names, or a dict {any label: name}.
            feeds: {name: value}.

        Returns:
            An array, a list or a dict of arrays, as `fetches` is, which belong to the caller.

        Raises:
            NameNotFoundError: the graph does not have a fetch or a feed.
            FeedError: a feed is missing, or does not fit.
            UnsupportedError: the engine cannot compute this.
            RunError: the engine failed, or is closed.
        """

    def bind(
        self,
        inputs: Iterable[TensorRef],
        outputs: Iterable[TensorRef],
        *,
        single: bool,
        labels: Iterable[Any] | None,
        pickled: Callable[[], tuple[Any, ...]],
    ) -> Bound:
        """Bind inputs and outputs of the graph.

        Args:
            inputs: tensors to feed.
            outputs: tensors to fetch.
            single: whether to return the one output itself, not a tuple.
            labels: the keys of the outputs in a dict; None for a tuple.
            pickled: returns what `__reduce__` returns for the same function.

        Raises:
            FeedError: the outputs need more inputs, or an input is given twice.
            NameNotFoundError, UnsupportedError, RunError: as `run`.
        """

    def spec(self, ref: TensorRef) -> TensorSpec | None:
        """Return data type and shape of a tensor, as far as the engine knows them.

        Args:
            ref: a tensor of the graph.
        """

    def forked(self) -> RunError:
        """Return the error for a use in a forked child of the process that started it."""

    def close(self) -> None:
        """Release all that it holds; a later use raises RunError."""
