"""What the losses and metrics of a training graph are computed from: the predictions.

A label is what is fed and meets no weights any more. What was computed with weights and meets
labels is a prediction. An autoencoder has no labels; its prediction is what meets, last of all
before the loss, something that is fed and was computed without weights.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import attrs

from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.kinds import PLACEHOLDERS, VARIABLES
from tfpersist.graph.structure.names import TensorRef, parse_ref, producer, tensor_spec

SOURCES = PLACEHOLDERS | {
    *("IteratorGetNext", "IteratorGetNextSync", "QueueDequeue", "QueueDequeueMany"),
    *("QueueDequeueUpTo", "QueueDequeueV2", "QueueDequeueManyV2", "QueueDequeueUpToV2"),
}
# What gives the value of a variable as it is, or some of it.
_READS = {
    *("Identity", "RefIdentity", "ReadVariableOp", "Enter", "RefEnter", "Switch", "RefSwitch"),
    *("Cast", "ConcatV2", "Reshape", "Transpose", "ExpandDims", "StridedSlice", "Split", "Unpack"),
}
# What tells something else of a tensor than its values.
_SIZES = {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"}
_FORMS = {"Reshape", "Identity", "Squeeze", "ExpandDims", "StopGradient", "Cast"}


@attrs.frozen
class Comparison:
    """What the labels of a graph are for.

    Args:
        predictions: what is compared, in the order of the operations that compare it.
        measures: names of the nodes that compare, and of those after them, if the graph trains.
            If it does not, they may as well lay a mask on the result.
    """

    predictions: tuple[TensorRef, ...]
    measures: frozenset[str]


def compared(graph: Graph, service: Collection[str], *, trains: bool) -> Comparison:
    """Find what the losses and metrics of a graph are computed from.

    Args:
        graph: the graph, not pruned.
        service: names of nodes that train, save, report or initialize.
        trains: whether there are gradients; without them only labels tell.
    """
    flow = _Flow.of(graph, service)
    weighted, reads = flow.weighted()
    fed = flow.behind(flow.sources)
    weighing = flow.leading(
        name for name, node in flow.nodes.items() if not reads.isdisjoint(_makers(node))
    )
    labels = [name for name in flow.sources if flow.is_label(graph, name, weighing)]
    met = flow.meetings(weighted & fed, flow.behind(labels).union(labels))
    if not met and trains:
        met = flow.meetings(weighted & fed, (fed - weighted).union(flow.sources))
        earlier = flow.leading(map(producer, met))
        met = {
            name: nodes
            for name, nodes in met.items()
            if earlier.isdisjoint(user.name for user in flow.users[name])
        }
    measures = {node for nodes in met.values() for node in nodes} if trains else set()
    measures |= flow.behind(port for node in measures for port in flow.ports.get(node, ()))
    names = dict.fromkeys(map(flow.unshaped, met))
    return Comparison(tuple(_ref(graph, name) for name in names), frozenset(measures))


@attrs.frozen
class _Flow:
    """Which values come from where; sizes of tensors and what serves training do not count.

    Args:
        nodes: the nodes by name.
        users: the nodes that take a tensor, by its full name.
        ports: the full names of the tensors of a node that are used.
        sources: the tensors that are fed, or come from a pipeline, and are used.
    """

    nodes: Mapping[str, Message]
    users: Mapping[str, list[Message]]
    ports: Mapping[str, list[str]]
    sources: tuple[str, ...]

    @classmethod
    def of(cls, graph: Graph, service: Collection[str]) -> _Flow:
        nodes = {
            node.name: node
            for node in graph.proto.node
            if node.name not in service and node.op not in _SIZES
        }
        users: dict[str, list[Message]] = {}
        ports: dict[str, list[str]] = {}
        for node in nodes.values():
            for name in _taken(node):
                if producer(name) not in nodes:
                    continue
                if name not in users:
                    ports.setdefault(producer(name), []).append(name)
                users.setdefault(name, []).append(node)
        sources = (name for name in users if nodes[producer(name)].op in SOURCES)
        return cls(nodes, users, ports, tuple(sources))

    def behind(
        self, tensors: Iterable[str], through: Callable[[Message], bool] = lambda node: True
    ) -> frozenset[str]:
        """Name the nodes that come after some tensors."""
        found: set[str] = set()
        pending = list(tensors)
        while pending:
            for user in self.users.get(pending.pop(), ()):
                if user.name not in found and through(user):
                    found.add(user.name)
                    pending += self.ports.get(user.name, ())
        return frozenset(found)

    def leading(self, names: Iterable[str]) -> frozenset[str]:
        """Name some nodes and those that they come after."""
        pending = list(names)
        found = set(pending)
        while pending:
            for name in _makers(self.nodes[pending.pop()]):
                if name in self.nodes and name not in found:
                    found.add(name)
                    pending.append(name)
        return frozenset(found)

    def weighted(self) -> tuple[frozenset[str], frozenset[str]]:
        """Name the nodes that come after variables, and those that give what variables hold."""
        variables = {name for name, node in self.nodes.items() if node.op in VARIABLES}
        starts = [f"{name}:0" for name in variables]
        reads = self.behind(starts, lambda node: node.op in _READS)
        return self.behind(starts), reads.union(variables) - self.behind(self.sources)

    def is_label(self, graph: Graph, name: str, weighing: Collection[str]) -> bool:
        """Tell whether what is fed there leads to no weights, and is no switch or rate."""
        spec = _ref(graph, name).spec
        if spec is not None and (spec.dtype == "bool" or spec.shape == ()):
            return False
        return not any(user.name in weighing for user in self.users[name])

    def meetings(self, computed: Collection[str], others: Collection[str]) -> dict[str, list[str]]:
        """Find the computed tensors that operations take together with one of the others.

        Returns:
            The names of these operations by that of the tensor.
        """
        found: dict[str, list[str]] = {}
        for node in self.nodes.values():
            mixed: dict[bool, list[str]] = {True: [], False: []}
            for name in _taken(node):
                mixed[name in others or producer(name) in others].append(name)
            for name in mixed[False] if mixed[True] else ():
                if producer(name) in computed:
                    found.setdefault(name, []).append(node.name)
        return found

    def unshaped(self, name: str) -> str:
        """Go back from what a loss makes of a prediction before it computes to the prediction."""
        scope = producer(name).rpartition("/")[0]
        while (node := self.nodes[producer(name)]).op in _FORMS and scope:
            before = next(_taken(node))
            if producer(name).rpartition("/")[0] != scope or producer(before) not in self.nodes:
                break
            name = before
        return name


def _ref(graph: Graph, name: str) -> TensorRef:
    ref = parse_ref(name)
    node = graph.nodes[ref.operation]
    types = ops.output_types(node, graph.functions)
    return attrs.evolve(ref, spec=tensor_spec(node, ref.index, types))


def _taken(node: Message) -> Iterator[str]:
    """Give the full names of the tensors that a node takes."""
    for text in node.input:
        if not text.startswith("^"):
            yield text if ":" in text else f"{text}:0"


def _makers(node: Message) -> Iterator[str]:
    """Name the nodes whose tensors a node takes."""
    return map(producer, _taken(node))
