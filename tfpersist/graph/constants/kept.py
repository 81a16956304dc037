"""Variables that stay, with the values that they begin with; one operation sets up all state."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.constants.tables import constant
from tfpersist.graph.structure.kinds import INIT
from tfpersist.graph.structure.lowered import Lowered


def with_assignments(
    graph: Graph, lowered: Lowered, kept: Collection[str]
) -> tuple[Graph, list[str]]:
    """Add an assignment of its value to each variable that stays.

    Args:
        graph: the graph.
        lowered: what it was made of, for the values.
        kept: names of the variables' nodes.

    Returns:
        The graph, and the names of the assignments.

    Raises:
        FreezeError: a variable has no value.
    """
    if not kept:
        return graph, []
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    payloads = dict(graph.payloads)
    names = []
    for name in sorted(kept):
        payload = lowered.variables.get(name)
        if payload is None:
            raise FreezeError(
                lowered.problems.get(name, "the variable has no value"),
                where=f"variable {name} ({graph.nodes[name].op})",
                advice="Initialize or restore it first, or freeze an output that does not need it.",
            )
        value = constant(f"{INIT}/{name}/value", payload, payloads)
        handle = graph.nodes[name].op == "VarHandleOp"
        assign = proto.node.add(
            name=f"{INIT}/{name}/assign", op="AssignVariableOp" if handle else "Assign"
        )
        assign.input.extend([name, value.name])
        assign.attr["dtype" if handle else "T"].type = dtypes.BY_NAME[payload.spec.dtype].number
        proto.node.append(value)
        names.append(assign.name)
    return Graph(proto, payloads), names


def with_init(graph: Graph, operations: Sequence[str]) -> Graph:
    """Add the one operation that runs some others; nothing where there are none.

    Args:
        graph: the graph, whose GraphDef is the caller's own; it is changed.
        operations: names of the operations.

    Raises:
        FreezeError: the graph has an operation of that name.
    """
    if not operations:
        return graph
    if INIT in graph.nodes:
        raise FreezeError("the graph has this operation already", where=f"node {INIT}")
    proto = graph.proto
    proto.node.add(name=INIT, op="NoOp", input=[f"^{name}" for name in operations])
    return Graph(proto, graph.payloads)
