"""The inputs and outputs of a graph, found by its nodes and by how they are used."""

from __future__ import annotations

import re
from collections.abc import Collection

import attrs

from tfpersist.formats import dtypes
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.structure import names, ops
from tfpersist.graph.structure.kinds import INIT, PLACEHOLDERS
from tfpersist.graph.structure.names import TensorRef, producer

_VALUES = frozenset({"Const", "Variable", "VariableV2", "VarHandleOp"})
# Ops whose outputs are not results: values from elsewhere, handles, parts of branches and loops.
_NO_RESULT = frozenset(
    {
        *_VALUES,
        *PLACEHOLDERS,
        *("IteratorToStringHandle", "IteratorGetNext", "IteratorGetNextSync"),
        *("Switch", "RefSwitch", "Enter", "RefEnter", "NextIteration", "RefNextIteration"),
        "LoopCond",
    }
)
_LOOP_ENDS = frozenset({"Exit", "RefExit"})
_STEPS_TO_ENTER = 3
_NO_VALUE = frozenset({"resource", "variant"})
# Nodes that TensorFlow leaves when it turns functional loops and branches into plain nodes.
_LEFTOVER = re.compile(r"(.*/)?(unused_control_flow_input(_\d+)?|loop_body_control/_\d+)")
# Names of nodes that read a variable, or the constant that it has become.
_READ = re.compile(r"(.*/)?(read|ReadVariableOp)(_\d+)?")
# Up to this version of GraphDef, the shape [] of a placeholder means an unknown shape.
_LAST_SHAPELESS = 21


def inputs(graph: Graph) -> tuple[TensorRef, ...]:
    """Return the placeholders of a graph, in its order.

    Args:
        graph: the graph.
    """
    return tuple(
        _corrected(graph, TensorRef(node.name, 0, names.tensor_spec(node, 0, _types(graph, node))))
        for node in graph.proto.node
        if node.op in PLACEHOLDERS and not _LEFTOVER.fullmatch(node.name)
    )


def outputs(graph: Graph) -> tuple[TensorRef, ...]:
    """Return the tensors of a graph that look like results, in its order.

    They are the outputs of the operations that no other computation uses or waits for. Left out are
    operations without a value (assertions, assignments, resources), summaries, constants,
    placeholders and the ends of branches. Values of variables are left out if anything else is
    found.

    Args:
        graph: the graph.
    """
    computed, reads = unused_tensors(graph)
    return tuple(computed or reads)


def unused_tensors(
    graph: Graph, *, ignored: Collection[str] = ()
) -> tuple[list[TensorRef], list[TensorRef]]:
    """Return the tensors among which `outputs` chooses.

    Args:
        graph: the graph.
        ignored: names of nodes that are left out, and that do not count as users of a tensor.

    Returns:
        The tensors that are computed, and those that are the values of variables.
    """
    used = {
        producer(text)
        for node in graph.proto.node
        for text in node.input
        if (node.op != "NoOp" or node.name == INIT) and node.name not in ignored
    }
    computed: list[TensorRef] = []
    reads: list[TensorRef] = []
    used |= _counters(graph, used)
    for node in graph.proto.node:
        if node.name in used or node.op in _NO_RESULT or node.op.endswith("Summary"):
            continue
        if node.name in ignored or _LEFTOVER.fullmatch(node.name) or _is_branch(graph, node):
            continue
        tensors = reads if _is_read(graph, node) else computed
        types = _types(graph, node)
        for index, number in enumerate([0] if types is None else types):
            dtype = dtypes.by_number(number)
            is_ref = number > dtypes.REF_OFFSET
            if not is_ref and (dtype is None or dtype.name not in _NO_VALUE):
                tensors.append(TensorRef(node.name, index, names.tensor_spec(node, index, types)))
            if node.op in ("Merge", "RefMerge"):  # The second output is the number of the branch.
                break
    return computed, reads


def _counters(graph: Graph, used: Collection[str]) -> set[str]:
    """Return the ends of loops that give nothing but loop variables, such as a counter.

    A loop of TensorFlow 1 has an Exit for each of its variables. If one of them is used, the loop
    is there for that one, and the others that nothing uses are no results.

    Args:
        graph: the graph.
        used: names of the nodes whose outputs are used.
    """
    frames = {
        node.name: _frame(graph, node)
        for node in graph.proto.node
        if node.op in _LOOP_ENDS and node.input
    }
    needed = {frame for name, frame in frames.items() if name in used and frame}
    return {name for name, frame in frames.items() if frame in needed}


def _frame(graph: Graph, end: Message) -> bytes:
    """Return the name of the frame of a loop, given its Exit: from Switch and Merge to Enter."""
    node: Message | None = end
    for _ in range(_STEPS_TO_ENTER):
        node = _source(graph, node) if node is not None else None
    return node.attr["frame_name"].s if node is not None and "frame_name" in node.attr else b""


def find(graph: Graph, text: str) -> TensorRef:
    """Return the tensor of a name, as `names.find_tensor`, with the shapes of old graphs corrected.

    Args:
        graph: the graph.
        text: "operation:index" or "operation", which means index 0.

    Raises:
        NameNotFoundError: there is no such tensor.
    """
    return _corrected(graph, names.find_tensor(graph, text))


def _is_read(graph: Graph, node: Message) -> bool:
    """Return whether a node only returns the value of a variable."""
    if node.op == "ReadVariableOp":
        return True
    source = _source(graph, node) if node.op == "Identity" else None
    if source is None or source.op not in _VALUES:
        return False
    return source.op != "Const" or _READ.fullmatch(node.name) is not None


def _is_branch(graph: Graph, node: Message) -> bool:
    """Return whether a node only says which branch is taken."""
    source = _source(graph, node) if node.op == "Identity" else None
    return source is not None and source.op in ("Switch", "RefSwitch")


def _source(graph: Graph, node: Message) -> Message | None:
    """Return the node of the first input of a node."""
    return graph.nodes.get(producer(node.input[0])) if node.input else None


def _types(graph: Graph, node: Message) -> list[int] | None:
    return ops.output_types(node, graph.functions)


def _corrected(graph: Graph, ref: TensorRef) -> TensorRef:
    """Return a reference without the shape, if it is one that an old graph did not know."""
    if (
        ref.spec is not None
        and ref.spec.shape == ()
        and graph.proto.versions.producer <= _LAST_SHAPELESS
        and graph.nodes[ref.operation].op in PLACEHOLDERS
    ):
        return attrs.evolve(ref, spec=TensorSpec(ref.spec.dtype, None))
    return ref
