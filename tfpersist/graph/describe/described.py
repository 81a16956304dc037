"""What a frozen model tells of itself, without TensorFlow."""

from __future__ import annotations

from typing import Any

import attrs

from tfpersist.errors import ArgumentError, told
from tfpersist.formats import graphdef, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.describe import signature, summary
from tfpersist.graph.describe.legible import Legible
from tfpersist.graph.describe.signature import Signature, resolve
from tfpersist.graph.structure.names import TensorRef


def graph_in(given: object) -> Graph | None:
    """Give the graph that something in memory is; None for anything else.

    Args:
        given: a Graph, or a GraphDef of any protobuf.

    Example:
        >>> graph_in(schema.GraphDef(node=[{"name": "x"}])).proto.node[0].name
        'x'
        >>> graph_in("model.pb") is None
        True
    """
    if isinstance(given, Graph):
        return given
    message: Any = given
    descriptor = getattr(message, "DESCRIPTOR", None)
    if getattr(descriptor, "full_name", "") == schema.GraphDef.DESCRIPTOR.full_name:
        return graphdef.split(memoryview(message.SerializeToString()))
    return None


def _graph(given: object) -> Graph:
    graph = graph_in(given)
    if graph is None:
        raise ArgumentError(
            "this is no graph in memory",
            expected="a GraphDef",
            found=told(given),
            advice="A file is loaded with FrozenModel.load(path), and a model is frozen with"
            " Freezer(model).freeze().",
        )
    return graph


@attrs.frozen(eq=False, repr=False)
class Described(Legible):
    """The part of a frozen model that tells what is in it.

    Args:
        graph: the graph.
        file: where it came from; "" for one that was made in memory.
    """

    graph: Graph = attrs.field(converter=_graph)
    file: str = ""

    @property
    def inputs(self) -> tuple[TensorRef, ...]:
        """The tensors to feed: those of the signature, in its order, or else the placeholders."""
        return tuple(self._refined(ref) for ref in signature.inputs(self.graph))

    @property
    def outputs(self) -> tuple[TensorRef, ...]:
        """The tensors to fetch, as they were asked for: those of the signature, in its order.

        Of a graph without one, those that nothing in it uses, in its order.
        """
        return tuple(self._refined(ref) for ref in signature.outputs(self.graph))

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

    def __repr__(self) -> str:
        takes, gives = map(summary.shortened, (self.inputs, self.outputs))
        nodes = f"{(count := len(self.graph.proto.node)):,} node" + "s" * (count != 1)
        return f"<{type(self).__name__} {self.file or 'in memory'}: {nodes}, {takes} -> {gives}>"

    def _skeleton(self) -> tuple[Graph, str]:
        return self.graph, self.file

    def _refined(self, ref: TensorRef) -> TensorRef:
        """Give what else is known of a tensor."""
        return ref
