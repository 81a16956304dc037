"""What every model tells of itself, whatever it came from."""

from __future__ import annotations

import abc

import attrs

from tfpersist.errors import NameNotFoundError
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.describe import summary
from tfpersist.graph.describe.summary import Summary
from tfpersist.graph.structure.names import TensorRef


class Legible(abc.ABC):
    """The part of a model that tells what is in it."""

    __slots__ = ()

    # Names are looked up, as in a dict; numbers are not, so nothing is to count up from 0.
    __iter__ = None

    @property
    @abc.abstractmethod
    def inputs(self) -> tuple[TensorRef, ...]:
        """The tensors to feed."""

    @property
    @abc.abstractmethod
    def outputs(self) -> tuple[TensorRef, ...]:
        """The tensors to fetch."""

    @abc.abstractmethod
    def __getitem__(self, name: str | TensorRef) -> TensorRef:
        """Find a tensor."""

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a tensor of that name."""
        try:
            self[name]  # type: ignore[index]
        except NameNotFoundError:
            return False
        return True

    def summary(self) -> Summary:
        """Describe the graph: inputs, outputs, ops, weights, functions.

        Returns:
            The facts; print them to read them.

        Raises:
            GraphError: a node's attrs do not tell what it gives.

        Example:
            >>> import tfpersist as tfp
            >>> from tfpersist.formats.graphdef import parse_text
            >>> model = tfp.FrozenModel(parse_text(b'node { name: "x" op: "NoOp" }'))
            >>> model.summary().operations
            {'NoOp': 1}
        """
        facts = summary.summarize(*self._skeleton())
        return attrs.evolve(facts, inputs=self.inputs, outputs=self.outputs)

    def _repr_html_(self) -> str:
        return self.summary().html()

    @abc.abstractmethod
    def _skeleton(self) -> tuple[Graph, str]:
        """Give the graph to describe, and the file that it came from."""
