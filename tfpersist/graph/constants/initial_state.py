"""The state that a frozen graph sets up with one operation: kept variables and lookup tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from tfpersist.errors import GraphError
from tfpersist.formats import dtypes, tensor_proto
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Payload, payload_of
from tfpersist.graph.structure.kinds import INIT, is_table
from tfpersist.graph.structure.names import producer
from tfpersist.graph.structure.prune import needed


@attrs.frozen
class State:
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


def state_of(graph: Graph, used: Collection[str]) -> State:
    """Find the state among some nodes, if the graph has the operation that sets it up.

    Args:
        graph: the graph.
        used: names of nodes.
    """
    if INIT not in graph.nodes:
        return State()
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
    return State(variables, tables)


def first_values(graph: Graph) -> dict[str, Payload]:
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
    firsts = state_of(graph, needed(graph, [INIT])).variables
    return {
        name: first_value(graph, tensor)
        for name, tensor in firsts.items()
        if graph.nodes[producer(tensor)].op == "Const"
    }


def first_value(graph: Graph, tensor: str) -> Payload:
    """Give the value that a variable begins with.

    Args:
        graph: the graph.
        tensor: what `State.variables` says.

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
