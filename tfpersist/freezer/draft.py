"""Draft: a frozen graph in the making, which every pass of the pipeline takes and returns."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Array, payload_of
from tfpersist.freezer.options import Options
from tfpersist.graph.constants import ends
from tfpersist.graph.describe import endpoints, golden, signature
from tfpersist.graph.describe.golden import Golden
from tfpersist.graph.describe.signature import Signature
from tfpersist.graph.structure.kinds import INIT
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.graph.structure.names import TensorRef


@attrs.frozen
class Draft:
    """A frozen graph in the making.

    Args:
        options: what to freeze, and how.
        source: the lowered source, as it was before the first pass.
        lowered: the graph so far, with its variables, inputs and labels.
        baked: the fixed values, by the source's names of their tensors.
        asked: the tensors to compute, by their names before the graph is cut.
        outputs: the same tensors, by their names in the frozen graph.
        operations: names of operations without outputs that the frozen graph has to run.
        spare: names of the inputs of the source, which stay even if nothing uses them.
        renamed: the new names of the tensors where the graph is cut, by their old names.
        fills: names of the operations that fill tables.
        kept: names of the variables that stay variables.
        assigns: names of the operations that assign values to these.
        signature: the signature of the frozen graph.
    """

    options: Options
    source: Lowered
    lowered: Lowered
    baked: Mapping[str, Array] = attrs.field(factory=dict)
    asked: tuple[TensorRef, ...] = ()
    outputs: tuple[TensorRef, ...] = ()
    operations: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()
    renamed: Mapping[str, str] = attrs.field(factory=dict)
    fills: tuple[str, ...] = ()
    kept: frozenset[str] = frozenset()
    assigns: tuple[str, ...] = ()
    signature: Signature = attrs.field(factory=Signature)

    @classmethod
    def of(cls, source: Lowered, options: Options) -> Draft:
        """Return the draft of a source, before the first pass."""
        return cls(options, source, source)

    @property
    def graph(self) -> Graph:
        """The graph so far."""
        return self.lowered.graph

    @property
    def wanted(self) -> list[str]:
        """The names of the tensors to compute, the operations to run, and the inputs that stay."""
        return [*(ref.name for ref in self.outputs), *self.operations, *self.spare]

    @property
    def roots(self) -> list[str]:
        """The names of the tensors and operations that the graph so far is for."""
        return [*self.wanted, *self.fills]

    @property
    def reserved_names(self) -> set[str]:
        """The names that tensors must keep, because the user or the source names these tensors."""
        lowered, options = self.lowered, self.options
        fed = (*options.input_tensors, *options.baked)
        return {
            *lowered.inputs,
            *(ends.input_name(name, lowered) for name in fed),
            *(ends.output_name(name, lowered) for name in options.outputs),
            *(() if options.outputs else lowered.outputs),
        }

    @property
    def init(self) -> list[str]:
        """The name of the operation that sets up all state; an empty list if there is no state."""
        return [INIT] if INIT in self.graph.nodes else []

    @property
    def source_inputs(self) -> dict[str, str]:
        """The source's names of the inputs, by their names in the frozen graph."""
        old_names = {new: old for old, new in self.renamed.items()}
        names = [ref.name for ref in endpoints.inputs(self.graph)]
        return {name: old_names.get(name, name) for name in names}

    @property
    def source_outputs(self) -> dict[str, str]:
        """The source's names of the outputs, by their names in the frozen graph."""
        return {new.name: old.name for new, old in zip(self.outputs, self.asked, strict=True)}

    def with_graph(self, graph: Graph) -> Draft:
        """Return the draft with another graph."""
        return attrs.evolve(self, lowered=attrs.evolve(self.lowered, graph=graph))

    def snapshot(self) -> Draft:
        """Return the draft with the values that its payloads have now, read into memory."""
        graph = self.graph
        payloads = {
            name: payload_of(payload.load(), payload.spec.dtype)
            for name, payload in graph.payloads.items()
        }
        return self.with_graph(Graph(graph.proto, payloads))

    def signed(self, pair: Golden | None = None) -> Graph:
        """Return the frozen graph with its signature, and with a golden pair.

        Args:
            pair: the golden pair; the signature has its digest already.
        """
        proto = schema.GraphDef()
        proto.CopyFrom(self.graph.proto)
        # A graph that was frozen before brings its own, and maybe a golden pair that holds no more.
        proto.versions.DiscardUnknownFields()
        graph = Graph(proto, self.graph.payloads)
        signature.sign(graph, self.signature)
        if pair is not None:
            golden.attach(graph, pair)
        return graph
