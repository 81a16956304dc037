"""The state that a frozen graph sets up with one operation: kept variables and lookup tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import attrs

from tfpersist.errors import FreezeError, GraphError
from tfpersist.formats import dtypes, schema, tensor_proto
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Payload, payload_of
from tfpersist.graph.constants.tables import constant
from tfpersist.graph.structure.kinds import INIT, is_table
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.graph.structure.names import producer
from tfpersist.graph.structure.prune import needed


@attrs.frozen
class InitialState:
    """What some outputs need to be set up before they are computed.

    Args:
        variables: the tensor that each kept variable begins with, by name of its VarHandleOp.
        tables: the operations that fill each lookup table, by name of the table.
    """

    variables: Mapping[str, str] = attrs.field(factory=dict)
    tables: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)

    def __bool__(self) -> bool:
        return bool(self.variables or self.tables)

    def refuse_references(self, graph: Graph) -> None:
        """Refuse what is kept in a way that only sessions of TensorFlow 1 know.

        Raises:
            GraphError: there is such a variable or table.
        """
        for name in sorted({*self.variables, *self.tables}):
            op = graph.nodes[name].op
            if op != "VarHandleOp" and (op == "VariableV2" or not op.endswith("V2")):
                raise GraphError(
                    "a variable or table by reference cannot be a part of a function or module",
                    where=f"node {name} ({op})",
                    advice="Use `run` or `bind`, or freeze the model without keeping it.",
                )


def find_initial_state(graph: Graph, used: Collection[str]) -> InitialState:
    """Find the state among some nodes, if the graph has the operation that sets it up.

    Args:
        graph: the graph.
        used: names of nodes.
    """
    if INIT not in graph.nodes:
        return InitialState()
    variables: dict[str, str] = {}
    tables: dict[str, tuple[str, ...]] = {}
    for name in map(producer, graph.nodes[INIT].input):
        node = graph.nodes[name]
        if node.op in ("Assign", "AssignVariableOp"):
            if len(node.input) > 1 and (variable := producer(node.input[0])) in used:
                variables[variable] = node.input[1]
        else:
            for each in needed(graph, [name]).intersection(used):
                if is_table(graph.nodes[each].op):
                    tables[each] = (*tables.get(each, ()), name)
    return InitialState(variables, tables)


def kept_values(graph: Graph) -> dict[str, Payload]:
    """Give the values that the variables begin with which a frozen graph has kept.

    Args:
        graph: the graph, frozen or not; it may be anybody's.

    Returns:
        The values that are constants, by name of the variable's node.

    Raises:
        GraphError: it has the operation that sets up state, but not all that this needs.
    """
    if INIT not in graph.nodes:
        return {}
    firsts = find_initial_state(graph, needed(graph, [INIT])).variables
    return {
        name: initial_value(graph, tensor)
        for name, tensor in firsts.items()
        if graph.nodes[producer(tensor)].op == "Const"
    }


def initial_value(graph: Graph, tensor: str) -> Payload:
    """Give the value that a variable begins with.

    Args:
        graph: the graph.
        tensor: what `InitialState.variables` says.

    Raises:
        GraphError: it is no constant.
    """
    node = graph.nodes[producer(tensor)]
    if node.name in graph.payloads:
        return graph.payloads[node.name]
    if node.op != "Const":
        raise GraphError(
            "a kept variable begins with no constant", where=f"node {node.name} ({node.op})"
        )
    value = node.attr["value"].tensor
    dtype = dtypes.by_number(value.dtype)
    return payload_of(tensor_proto.to_array(value), dtype.name if dtype else None)


def add_assignments(
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


def add_init(graph: Graph, operations: Sequence[str]) -> Graph:
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
