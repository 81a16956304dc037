"""Rank the tensors of a graph that look like its results."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

import attrs

from tfpersist.errors import NameNotFoundError, printable
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.describe import endpoints, predictions
from tfpersist.graph.structure.names import TensorRef, find_tensor, producer
from tfpersist.graph.structure.order import ordered

# Ops and names of nodes that train, save, restore, report or initialize. Neither they nor the nodes
# after them are results.
_SERVICE_OPS = re.compile(
    r"(Resource)?(Sparse)?Apply\w+|(Assign|ResourceScatter|Scatter)(?!Nd$)\w*|Save\w*|Restore\w*"
    r"|MergeV2Checkpoints|ShardedFilename|\w+Summary(V2)?|(Merge|Write)\w*Summary\w*"
    r"|InitializeTable\w*|LookupTable(Import|Export)\w*|ReportUninitialized\w*"
    r"|(Is|Var)\w*Initialized\w*|Assert"
)
_GRADIENTS = re.compile(r"(.*/)?gradients(_\d+)?/.*")
_SERVICE_NAMES = re.compile(
    r"(.*/)?(gradients(_\d+)?|save(_\d+)?|Initializer|report_uninitialized_\w+)/.*"
    r"|(.*/)?init(_\d+)?|saver_filename"
)
_MEASURES = re.compile(
    r"loss|cost|accuracy|error|metric|global_step|learning_rate|(^|/)Shape(_\d+)?$", re.IGNORECASE
)
_MOST_SHOWN = 12
_FAR = 2


@attrs.frozen
class Candidates:
    """The tensors that a source may be frozen for.

    Args:
        outputs: tensors that look like results, the most likely first.
        inputs: the placeholders of the source.

    Example:
        >>> from tfpersist.formats.tensors import TensorSpec
        >>> print(Candidates((TensorRef("y", 0, TensorSpec("float32", (None, 10))),)))
        likely outputs:
          y:0 float32[?,10]
        inputs: none
    """

    outputs: tuple[TensorRef, ...]
    inputs: tuple[TensorRef, ...] = ()

    def __str__(self) -> str:
        shown = [f"  {ref}" for ref in self.outputs[:_MOST_SHOWN]]
        more = len(self.outputs) - len(shown)
        shown += [f"  and {more} more"] if more else []
        inputs = ["inputs:", *(f"  {ref}" for ref in self.inputs)] if self.inputs else []
        lines = ["likely outputs:", *(shown or ["  none"]), *(inputs or ["inputs: none"])]
        return "\n".join(map(printable, lines))


def candidates(graph: Graph, known: Iterable[str] = ()) -> Candidates:
    """Return the tensors of a graph that look like results, the most likely first.

    The known ones come first. Then come tensors that only gradients and summaries use, and
    predictions, from which losses and metrics are computed. If some of them depend on feeds, the
    others are left out. Nodes that train, save and initialize are left out, too. The order is:

    1. measures such as a loss come last,
    2. then scalars,
    3. tensors computed from a prediction come before predictions, and both before others,
    4. tensors with a longer path to them come first.

    Args:
        graph: the graph, not pruned.
        known: names of tensors that are known to be results.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "x" op: "Placeholder" }
        ...     node { name: "y" op: "Mystery" input: "x" }
        ...     node { name: "y_1" op: "ScalarSummary" input: "y" }''')
        >>> [ref.name for ref in candidates(graph).outputs]
        ['y:0']
    """
    known_refs: dict[str, TensorRef] = {}
    for name in known:
        try:
            ref = find_tensor(graph, name)
        except NameNotFoundError:
            continue
        known_refs[ref.name] = ref
    service = _service(graph)
    learning = [
        node.name
        for node in graph.proto.node
        if _GRADIENTS.fullmatch(node.name) or node.op.endswith(("Summary", "SummaryV2"))
    ]
    comparison = predictions.compared(graph, service, trains=bool(learning))
    computed, reads = (
        [ref for ref in refs if ref.operation not in service and not _is_inner_size(graph, ref)]
        for refs in endpoints.unused_tensors(graph, ignored=frozenset(learning))
    )
    results = {ref.name: ref for ref in (*(computed or reads), *comparison.predictions)}
    places = _places(graph, {ref.operation for ref in comparison.predictions})
    ranks = {
        ref.name: _rank(ref, places[ref.operation], ref.operation in comparison.measures)
        for ref in results.values()
        if ref.name not in known_refs
    }
    ranked = sorted(ranks, key=lambda name: ranks[name])
    if ranked and ranks[ranked[0]][0] == 0:
        ranked = [name for name in ranked if ranks[name][0] == 0]
    inputs = (ref for ref in endpoints.inputs(graph) if ref.operation not in service)
    return Candidates((*known_refs.values(), *(results[name] for name in ranked)), tuple(inputs))


@attrs.frozen
class _Place:
    """The place of a node in the graph.

    Args:
        fed: whether it depends on a feed.
        distance: 0 for a node after a prediction, 1 for a prediction, `_FAR` for any other node.
        depth: how many nodes the longest path to it has.
    """

    fed: bool
    distance: int
    depth: int


def _places(graph: Graph, predicted: Collection[str]) -> dict[str, _Place]:
    """Return the place of each node.

    Args:
        graph: the graph.
        predicted: names of the nodes of predictions.
    """
    nodes: Mapping[str, Message] = graph.nodes
    places: dict[str, _Place] = {}
    for name in ordered(nodes):
        before = [places[source] for source in map(producer, nodes[name].input) if source in places]
        if name in predicted:
            distance = 1
        else:
            distance = 0 if any(place.distance < _FAR for place in before) else _FAR
        places[name] = _Place(
            nodes[name].op in predictions.SOURCES or any(place.fed for place in before),
            distance,
            1 + max((place.depth for place in before), default=0),
        )
    return places


def _rank(ref: TensorRef, place: _Place, measured: bool) -> tuple[int, ...]:
    """Return numbers to sort by: the smaller they are, the more likely is the result."""
    return (
        0 if place.fed else 1,
        int(measured or _MEASURES.search(ref.operation) is not None),
        int(ref.spec is not None and ref.spec.shape == ()),
        place.distance,
        -place.depth,
    )


def _is_inner_size(graph: Graph, ref: TensorRef) -> bool:
    """Return whether a result is the size of a tensor inside of a layer, which nobody asks for."""
    return graph.nodes[ref.operation].op in ("Shape", "ShapeN", "Size", "Rank") and (
        "/" in ref.operation
    )


def _service(graph: Graph) -> frozenset[str]:
    """Return the names of the nodes for training and saving, and of the nodes after them."""
    users: dict[str, list[str]] = {}
    service = set()
    for node in graph.proto.node:
        for text in node.input:
            if not text.startswith("^"):
                users.setdefault(producer(text), []).append(node.name)
        serves = _SERVICE_OPS.fullmatch(node.op) or _SERVICE_NAMES.fullmatch(node.name)
        if serves or (node.op == "ReadVariableOp" and _is_read_back(graph, node)):
            service.add(node.name)
    pending = list(service)
    while pending:
        for user in users.get(pending.pop(), ()):
            if user not in service:
                service.add(user)
                pending.append(user)
    return frozenset(service)


def _is_read_back(graph: Graph, read: Message) -> bool:
    """Return whether a read returns the value of an assignment, as Assign itself does for a ref."""
    nodes: Mapping[str, Message] = graph.nodes
    before = (nodes[name] for text in read.input[1:] if (name := producer(text)) in nodes)
    return any(
        _SERVICE_OPS.fullmatch(node.op) and read.input[0] in node.input[:1] for node in before
    )
