"""What a frozen model tells of itself, without TensorFlow."""

from __future__ import annotations

import attrs

from tfpersist.formats.graphdef import Graph
from tfpersist.graph import summary
from tfpersist.graph.names import TensorRef
from tfpersist.graph.signature import Signature, resolve
from tfpersist.graph.summary import Summary


@attrs.frozen(eq=False, repr=False)
class Described:
    """The part of a frozen model that tells what is in it.

    Args:
        graph: the graph.
        file: where it came from; "" for one that was made in memory.
    """

    graph: Graph
    file: str = ""

    @property
    def inputs(self) -> tuple[TensorRef, ...]:
        """The placeholders, in the graph's order."""
        return tuple(self._refined(ref) for ref in summary.inputs(self.graph))

    @property
    def outputs(self) -> tuple[TensorRef, ...]:
        """The tensors that nothing in the graph uses, in its order."""
        return tuple(self._refined(ref) for ref in summary.outputs(self.graph))

    @property
    def signature(self) -> Signature | None:
        """What its source called inputs and outputs, and where it is from, if the file says so."""
        return Signature.of(self.graph)

    def __getitem__(self, name: str | TensorRef) -> TensorRef:
        """Find a tensor.

        Args:
            name: "operation:index", "operation" for index 0, or a name of the signature.

        Returns:
            The reference, with data type and shape as far as the file tells them; after the first
            run, as far as TensorFlow infers them.

        Raises:
            NameNotFoundError: there is no such tensor; the nearest names are given.
        """
        text = resolve(self.graph, name.name if isinstance(name, TensorRef) else name)
        return self._refined(summary.find(self.graph, text))

    def summary(self) -> Summary:
        """Describe the graph: inputs, outputs, ops, weights, functions.

        Returns:
            The facts; print them to read them.

        Raises:
            GraphError: a node's attrs do not tell what it gives.

        Example:
            >>> from tfpersist.formats.graphdef import parse_text
            >>> model = Described(parse_text(b'node { name: "x" op: "NoOp" }'))
            >>> model.summary().operations
            {'NoOp': 1}
        """
        return summary.summarize(self.graph, self.file)

    def __repr__(self) -> str:
        takes, gives = map(summary.shortened, (self.inputs, self.outputs))
        nodes = f"{(count := len(self.graph.proto.node)):,} node" + "s" * (count != 1)
        return f"<{type(self).__name__} {self.file or 'in memory'}: {nodes}, {takes} -> {gives}>"

    def _repr_html_(self) -> str:
        return attrs.evolve(self.summary(), inputs=self.inputs, outputs=self.outputs).html()

    def _refined(self, ref: TensorRef) -> TensorRef:
        """Give what else is known of a tensor."""
        return ref
