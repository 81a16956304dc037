"""Find the predictions of a training graph: the tensors that losses and metrics are computed from.

A label is a feed that is not combined with weights any more. A tensor that was computed with
weights, and is combined with labels, is a prediction. An autoencoder has no labels: its prediction
is the last tensor before the loss that is combined with a feed, or with a tensor computed from
feeds without weights.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import attrs

from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.kinds import PLACEHOLDERS, VARIABLES
from tfpersist.graph.structure.names import TensorRef, full_name, parse_ref, producer, tensor_spec

SOURCES = PLACEHOLDERS | {
    *("IteratorGetNext", "IteratorGetNextSync", "QueueDequeue", "QueueDequeueMany"),
    *("QueueDequeueUpTo", "QueueDequeueV2", "QueueDequeueManyV2", "QueueDequeueUpToV2"),
}
# Ops that return the value of a variable unchanged, or a part of it.
_READS = {
    *("Identity", "RefIdentity", "ReadVariableOp", "Enter", "RefEnter", "Switch", "RefSwitch"),
    *("Cast", "ConcatV2", "Reshape", "Transpose", "ExpandDims", "StridedSlice", "Split", "Unpack"),
}
# Ops whose output does not depend on the values of the input.
_SIZES = {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"}
# Ops that only change the form of a prediction.
_FORMS = {"Reshape", "Identity", "Squeeze", "ExpandDims", "StopGradient", "Cast"}


@attrs.frozen
class Comparison:
    """The predictions of a graph, and the nodes that compare them with labels.

    Args:
        predictions: the predictions, in the order of the nodes that compare them.
        measures: names of the nodes that compare, and of the nodes after them, if the graph trains;
            empty if it does not, because such nodes may also apply a mask to the result.
    """

    predictions: tuple[TensorRef, ...]
    measures: frozenset[str]


def compared(graph: Graph, service: Collection[str], *, trains: bool) -> Comparison:
    """Return the predictions of a graph.

    Args:
        graph: the graph, not pruned.
        service: names of nodes that train, save, report or initialize.
        trains: whether the graph has gradients; without them, predictions are found by labels only.
    """
    flow = _Flow.of(graph, service)
    weighted, reads = flow.weighted()
    fed = flow.after(flow.sources)
    before_weights = flow.before(
        name for name, node in flow.nodes.items() if not reads.isdisjoint(_source_nodes(node))
    )
    labels = [name for name in flow.sources if flow.is_label(graph, name, before_weights)]
    compared_by = flow.combined(weighted & fed, flow.after(labels).union(labels))
    if not compared_by and trains:
        compared_by = flow.combined(weighted & fed, (fed - weighted).union(flow.sources))
        earlier = flow.before(map(producer, compared_by))
        compared_by = {
            name: nodes
            for name, nodes in compared_by.items()
            if earlier.isdisjoint(user.name for user in flow.users[name])
        }
    measures = {node for nodes in compared_by.values() for node in nodes} if trains else set()
    measures |= flow.after(tensor for node in measures for tensor in flow.tensors.get(node, ()))
    names = dict.fromkeys(map(flow.unshaped, compared_by))
    return Comparison(tuple(_ref(graph, name) for name in names), frozenset(measures))


@attrs.frozen
class _Flow:
    """The flow of values through a graph, without sizes of tensors and without service nodes.

    Args:
        nodes: the nodes by name.
        users: the nodes that take a tensor, by its full name.
        tensors: the full names of the tensors of a node that are used, by its name.
        sources: the tensors that are fed, or come from an input pipeline, and are used.
    """

    nodes: Mapping[str, Message]
    users: Mapping[str, list[Message]]
    tensors: Mapping[str, list[str]]
    sources: tuple[str, ...]

    @classmethod
    def of(cls, graph: Graph, service: Collection[str]) -> _Flow:
        nodes = {
            node.name: node
            for node in graph.proto.node
            if node.name not in service and node.op not in _SIZES
        }
        users: dict[str, list[Message]] = {}
        tensors: dict[str, list[str]] = {}
        for node in nodes.values():
            for name in _inputs(node):
                if producer(name) not in nodes:
                    continue
                if name not in users:
                    tensors.setdefault(producer(name), []).append(name)
                users.setdefault(name, []).append(node)
        sources = (name for name in users if nodes[producer(name)].op in SOURCES)
        return cls(nodes, users, tensors, tuple(sources))

    def after(
        self, tensors: Iterable[str], through: Callable[[Message], bool] = lambda node: True
    ) -> frozenset[str]:
        """Return the names of the nodes that depend on some tensors.

        Args:
            tensors: full names of tensors.
            through: returns whether to follow the flow through a node.
        """
        reached: set[str] = set()
        pending = list(tensors)
        while pending:
            for user in self.users.get(pending.pop(), ()):
                if user.name not in reached and through(user):
                    reached.add(user.name)
                    pending += self.tensors.get(user.name, ())
        return frozenset(reached)

    def before(self, names: Iterable[str]) -> frozenset[str]:
        """Return the names of some nodes, and of the nodes that they depend on."""
        pending = list(names)
        reached = set(pending)
        while pending:
            for name in _source_nodes(self.nodes[pending.pop()]):
                if name in self.nodes and name not in reached:
                    reached.add(name)
                    pending.append(name)
        return frozenset(reached)

    def weighted(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the nodes that depend on variables, and those that only return their values."""
        variables = {name for name, node in self.nodes.items() if node.op in VARIABLES}
        starts = [f"{name}:0" for name in variables]
        reads = self.after(starts, lambda node: node.op in _READS)
        return self.after(starts), reads.union(variables) - self.after(self.sources)

    def is_label(self, graph: Graph, name: str, before_weights: Collection[str]) -> bool:
        """Return whether a feed never meets weights later, and is not a switch or a rate.

        Args:
            graph: the graph.
            name: the full name of the tensor that is fed.
            before_weights: names of the nodes on a path to weights.
        """
        spec = _ref(graph, name).spec
        if spec is not None and (spec.dtype == "bool" or spec.shape == ()):
            return False
        return not any(user.name in before_weights for user in self.users[name])

    def combined(self, computed: Collection[str], others: Collection[str]) -> dict[str, list[str]]:
        """Return the tensors of some nodes that a node takes together with a tensor of others.

        Args:
            computed: names of the nodes of the tensors.
            others: names of other nodes, and full names of tensors.

        Returns:
            The names of the nodes that take both, by the full name of the tensor.
        """
        combined_by: dict[str, list[str]] = {}
        for node in self.nodes.values():
            mixed: dict[bool, list[str]] = {True: [], False: []}
            for name in _inputs(node):
                mixed[name in others or producer(name) in others].append(name)
            for name in mixed[False] if mixed[True] else ():
                if producer(name) in computed:
                    combined_by.setdefault(name, []).append(node.name)
        return combined_by

    def unshaped(self, name: str) -> str:
        """Return the tensor from which a loss function has reshaped or cast a prediction."""
        scope = producer(name).rpartition("/")[0]
        while (node := self.nodes[producer(name)]).op in _FORMS and scope:
            before = next(_inputs(node))
            if producer(name).rpartition("/")[0] != scope or producer(before) not in self.nodes:
                break
            name = before
        return name


def _ref(graph: Graph, name: str) -> TensorRef:
    ref = parse_ref(name)
    node = graph.nodes[ref.operation]
    types = ops.output_types(node, graph.functions)
    return attrs.evolve(ref, spec=tensor_spec(node, ref.index, types))


def _inputs(node: Message) -> Iterator[str]:
    """Return the full names of the tensors that a node takes."""
    return (full_name(text) for text in node.input if not text.startswith("^"))


def _source_nodes(node: Message) -> Iterator[str]:
    """Return the names of the nodes whose tensors a node takes."""
    return map(producer, _inputs(node))
