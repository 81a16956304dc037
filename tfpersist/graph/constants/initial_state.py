"""The state that a frozen graph has: kept variables and lookup tables, set up by one operation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import attrs

from tfpersist.errors import FreezeError, GraphError
from tfpersist.formats import dtypes, schema, tensor_proto
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Payload, payload_of
from tfpersist.graph.constants.nodes import set_constant
from tfpersist.graph.structure.kinds import ASSIGNS, INIT, is_table
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.graph.structure.names import producer
from tfpersist.graph.structure.prune import needed


@attrs.frozen
class InitialState:
    """The variables and tables that must be set up before some outputs are computed.

    Args:
        variables: {name of a kept variable's node: the tensor of its initial value}.
        tables: {name of a lookup table: the operations that fill it}.
    """

    variables: Mapping[str, str] = attrs.field(factory=dict)
    tables: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)

    def __bool__(self) -> bool:
        return bool(self.variables or self.tables)

    def refuse_references(self, graph: Graph) -> None:
        """Raise for variables and tables that only a session of TensorFlow 1 can hold.

        Args:
            graph: the graph.

        Raises:
            GraphError: there is such a variable or table.
        """
        for name in sorted({*self.variables, *self.tables}):
            op = graph.nodes[name].op
            if op != "VarHandleOp" and (op == "VariableV2" or not op.endswith("V2")):
                raise GraphError(
                    "a reference variable or table cannot be part of a function or module",
                    where=f"node {name} ({op})",
                    advice="Use `run` or `bind`, or freeze the model without keeping it.",
                )


def find_initial_state(graph: Graph, used: Collection[str]) -> InitialState:
    """Find the variables and tables among some nodes, and what sets them up.

    Args:
        graph: the graph. Without the operation that sets up state, it has none.
        used: names of nodes.
    """
    if INIT not in graph.nodes:
        return InitialState()
    variables: dict[str, str] = {}
    tables: dict[str, tuple[str, ...]] = {}
    for name in map(producer, graph.nodes[INIT].input):
        node = graph.nodes[name]
        if node.op in ASSIGNS:
            if len(node.input) > 1 and (variable := producer(node.input[0])) in used:
                variables[variable] = node.input[1]
        else:
            for source in needed(graph, [name]).intersection(used):
                if is_table(graph.nodes[source].op):
                    tables[source] = (*tables.get(source, ()), name)
    return InitialState(variables, tables)


def kept_values(graph: Graph) -> dict[str, Payload]:
    """Return the initial values of the variables that a frozen graph keeps.

    Args:
        graph: the graph, frozen or not. A stranger can have written it.

    Returns:
        {name of the variable's node: its value}, for the values that are constants.

    Raises:
        GraphError: an input of the operation that sets up state is not in the graph.
    """
    if INIT not in graph.nodes:
        return {}
    variables = find_initial_state(graph, needed(graph, [INIT])).variables
    return {
        name: initial_value(graph, tensor)
        for name, tensor in variables.items()
        if graph.nodes[producer(tensor)].op == "Const"
    }


def initial_value(graph: Graph, tensor: str) -> Payload:
    """Return the initial value of a kept variable.

    Args:
        graph: the graph.
        tensor: its tensor, as in `InitialState.variables`.

    Raises:
        GraphError: it is not a constant.
    """
    node = graph.nodes[producer(tensor)]
    if node.name in graph.payloads:
        return graph.payloads[node.name]
    if node.op != "Const":
        raise GraphError(
            "the initial value of a kept variable is not a constant",
            where=f"node {node.name}",
            expected="Const",
            found=node.op,
        )
    value = node.attr["value"].tensor
    dtype = dtypes.by_number(value.dtype)
    return payload_of(tensor_proto.to_array(value), dtype.name if dtype else None)


def add_assignments(
    graph: Graph, lowered: Lowered, kept: Collection[str]
) -> tuple[Graph, list[str]]:
    """Add operations that assign kept variables their values.

    Args:
        graph: the graph; it is not changed.
        lowered: the source of the graph; it has the values.
        kept: names of the nodes of the kept variables.

    Returns:
        The graph, and the names of the operations.

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
        is_resource = graph.nodes[name].op == "VarHandleOp"
        assign = proto.node.add(
            name=f"{INIT}/{name}/assign", op="AssignVariableOp" if is_resource else "Assign"
        )
        value = proto.node.add(name=f"{INIT}/{name}/value")
        set_constant(value, payload, payloads)
        assign.input.extend([name, value.name])
        number = dtypes.BY_NAME[payload.spec.dtype].number
        assign.attr["dtype" if is_resource else "T"].type = number
        names.append(assign.name)
    return Graph(proto, payloads), names


def add_init(graph: Graph, operations: Sequence[str]) -> Graph:
    """Add the one operation that sets up all state; nothing where there is none.

    Args:
        graph: the graph; its GraphDef is changed in place.
        operations: names of the operations that assign variables and fill tables.

    Raises:
        FreezeError: the graph has an operation of that name.
    """
    if not operations:
        return graph
    if INIT in graph.nodes:
        raise FreezeError(
            f"the graph has an operation {INIT} already",
            where=f"node {INIT}",
            advice="Rename it in the code that builds the graph.",
        )
    proto = graph.proto
    proto.node.add(name=INIT, op="NoOp", input=[f"^{name}" for name in operations])
    return Graph(proto, graph.payloads)
