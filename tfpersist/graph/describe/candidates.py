"""Which tensors of a graph look like what it is for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

import attrs

from tfpersist.errors import NameNotFoundError, printable
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.describe import predictions, summary
from tfpersist.graph.structure.names import TensorRef, find_tensor, producer
from tfpersist.graph.structure.order import ordered

# What trains, saves, restores, reports or initializes; whatever comes after it is no result.
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
_APART = 2


@attrs.frozen
class Candidates:
    """What a source may be asked to compute.

    Args:
        outputs: tensors that look like results, the likeliest first.
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
    """Rank the tensors of a graph that look like results.

    Those that the source's own signature names come first. Then come tensors that nothing uses
    except gradients and summaries, and predictions that losses and metrics are computed from. If
    any of them depend on what is fed, the others are left out. Measures such as a loss are last,
    then scalars; what comes after a prediction is first, and what is deeper in the graph. What
    trains, saves and initializes is left out.

    Args:
        graph: the graph, not pruned.
        known: names of tensors that are results for sure.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "x" op: "Placeholder" }
        ...     node { name: "y" op: "Mystery" input: "x" }
        ...     node { name: "y_1" op: "ScalarSummary" input: "y" }''')
        >>> [ref.name for ref in candidates(graph).outputs]
        ['y:0']
    """
    given: dict[str, TensorRef] = {}
    for name in known:
        try:
            ref = find_tensor(graph, name)
        except NameNotFoundError:
            continue
        given[ref.name] = ref
    service = _service(graph)
    learning = [
        node.name
        for node in graph.proto.node
        if _GRADIENTS.fullmatch(node.name) or node.op.endswith(("Summary", "SummaryV2"))
    ]
    comparison = predictions.compared(graph, service, trains=bool(learning))
    computed, read = (
        [ref for ref in refs if ref.operation not in service and not _is_size_aside(graph, ref)]
        for refs in summary.unused(graph, unseen=frozenset(learning))
    )
    results = {ref.name: ref for ref in (*(computed or read), *comparison.predictions)}
    places = _places(graph, {ref.operation for ref in comparison.predictions})
    ranks = {
        ref.name: _rank(ref, places[ref.operation], ref.operation in comparison.measures)
        for ref in results.values()
        if ref.name not in given
    }
    ranked = sorted(ranks, key=lambda name: ranks[name])
    if any(ranks[name][0] == 0 for name in ranked):
        ranked = [name for name in ranked if ranks[name][0] == 0]
    inputs = (ref for ref in summary.inputs(graph) if ref.operation not in service)
    return Candidates((*given.values(), *(results[name] for name in ranked)), tuple(inputs))


@attrs.frozen
class _Place:
    """Where a node stands.

    Args:
        fed: whether it depends on what is fed.
        distance: 0 after a prediction, 1 at one, more anywhere else.
        depth: how many nodes the longest way to it has.
    """

    fed: bool
    distance: int
    depth: int


def _places(graph: Graph, predicted: Collection[str]) -> dict[str, _Place]:
    nodes: Mapping[str, Message] = graph.nodes
    found: dict[str, _Place] = {}
    for name in ordered(nodes):
        before = [found[each] for each in map(producer, nodes[name].input) if each in found]
        found[name] = _Place(
            nodes[name].op in predictions.SOURCES or any(each.fed for each in before),
            1
            if name in predicted
            else 0
            if any(each.distance < _APART for each in before)
            else _APART,
            1 + max((each.depth for each in before), default=0),
        )
    return found


def _rank(ref: TensorRef, place: _Place, measured: bool) -> tuple[int, ...]:
    """Say how unlikely a result is: the smaller the numbers are, the likelier."""
    return (
        0 if place.fed else 1,
        int(measured or _MEASURES.search(ref.operation) is not None),
        int(ref.spec is not None and ref.spec.shape == ()),
        place.distance,
        -place.depth,
    )


def _is_size_aside(graph: Graph, ref: TensorRef) -> bool:
    """Tell whether a result is the size of something within a layer, which nothing asks for."""
    return graph.nodes[ref.operation].op in ("Shape", "ShapeN", "Size", "Rank") and (
        "/" in ref.operation
    )


def _service(graph: Graph) -> frozenset[str]:
    """Name the nodes that serve training and saving, and those that come after them."""
    users: dict[str, list[str]] = {}
    found = set()
    for node in graph.proto.node:
        for text in node.input:
            if not text.startswith("^"):
                users.setdefault(producer(text), []).append(node.name)
        serves = _SERVICE_OPS.fullmatch(node.op) or _SERVICE_NAMES.fullmatch(node.name)
        if serves or (node.op == "ReadVariableOp" and _is_read_back(graph, node)):
            found.add(node.name)
    pending = list(found)
    while pending:
        for user in users.get(pending.pop(), ()):
            if user not in found:
                found.add(user)
                pending.append(user)
    return frozenset(found)


def _is_read_back(graph: Graph, read: Message) -> bool:
    """Tell whether a read gives what has just been assigned, as Assign itself does for a ref."""
    nodes: Mapping[str, Message] = graph.nodes
    before = (nodes[name] for text in read.input[1:] if (name := producer(text)) in nodes)
    return any(
        _SERVICE_OPS.fullmatch(node.op) and read.input[0] in node.input[:1] for node in before
    )
