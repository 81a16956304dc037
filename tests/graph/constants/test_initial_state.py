"""Kept variables and tables: how they are set up, and how that is found again."""

import numpy as np
import pytest

from tfpersist.errors import FreezeError, GraphError
from tfpersist.formats.graphdef import Graph, parse_text
from tfpersist.formats.tensors import payload_of
from tfpersist.graph.constants.initial_state import (
    InitialState,
    add_assignments,
    add_init,
    find_initial_state,
    initial_value,
    kept_values,
)
from tfpersist.graph.structure.lowered import Lowered

VARIABLES = """
    node { name: "v" op: "VarHandleOp" attr { key: "dtype" value { type: DT_FLOAT } } }
    node { name: "r" op: "VariableV2" attr { key: "dtype" value { type: DT_STRING } } }
    """
VALUES = {"v": payload_of(np.arange(3, dtype="f")), "r": payload_of(np.array([b"a"], object))}
TABLE = """
    node { name: "table" op: "HashTableV2" } node { name: "keys" op: "Const" }
    node { name: "fill" op: "InitializeTableV2" input: "table" input: "keys" input: "keys" }
    """


def set_up(extra="", kept=("v", "r"), fills=()):
    """Return a graph whose variables are kept."""
    graph = parse_text((VARIABLES + extra).encode())
    graph, assigns = add_assignments(graph, Lowered(graph, VALUES), kept)
    return add_init(graph, [*fills, *assigns])


class TestSettingUp:
    def test_every_kept_variable_is_assigned(self):
        graph = set_up()
        nodes = graph.nodes
        assert [*nodes["tfpersist/init"].input] == [
            "^tfpersist/init/r/assign",
            "^tfpersist/init/v/assign",
        ]
        assign, ref_assign = (nodes[f"tfpersist/init/{name}/assign"] for name in "vr")
        assert (assign.op, [*assign.input]) == (
            "AssignVariableOp",
            ["v", "tfpersist/init/v/value"],
        )
        assert assign.attr["dtype"].type == 1
        assert (ref_assign.op, ref_assign.attr["T"].type) == ("Assign", 7)
        assert set(graph.payloads) == {"tfpersist/init/v/value"}

    def test_a_graph_without_state_stays_as_it_is(self):
        graph = parse_text(VARIABLES.encode())
        assert add_assignments(graph, Lowered(graph, VALUES), ()) == (graph, [])
        assert add_init(graph, []) is graph

    def test_a_variable_without_a_value(self):
        graph = parse_text(VARIABLES.encode())
        with pytest.raises(FreezeError, match=r"variable v \(VarHandleOp\): .* no value"):
            add_assignments(graph, Lowered(graph, {}), ["v"])
        lowered = Lowered(graph, {}, problems={"v": "it was lost"})
        with pytest.raises(FreezeError, match="it was lost"):
            add_assignments(graph, lowered, ["v"])

    def test_an_operation_of_that_name(self):
        graph = parse_text(b'node { name: "tfpersist/init" op: "NoOp" }')
        with pytest.raises(FreezeError, match="node tfpersist/init"):
            add_init(graph, ["fill"])


class TestFinding:
    def test_initial_state_of_variables_and_tables(self):
        graph = set_up(TABLE, fills=["fill"])
        state = find_initial_state(graph, graph.nodes)
        assert state.variables == {
            "v": "tfpersist/init/v/value",
            "r": "tfpersist/init/r/value",
        }
        assert state.tables == {"table": ("fill",)}
        assert state

    def test_a_table_that_several_operations_fill(self):
        again = 'node { name: "again" op: "LookupTableInsertV2" input: "table" input: "keys" }'
        graph = set_up(TABLE + again, fills=["fill", "again"])
        assert find_initial_state(graph, ["table"]).tables == {"table": ("fill", "again")}

    def test_an_assignment_without_a_value_is_skipped(self):
        text = VARIABLES + 'node { name: "half" op: "AssignVariableOp" input: "v" }'
        graph = add_init(parse_text(text.encode()), ["half"])
        assert not find_initial_state(graph, ["v"])

    def test_only_what_is_used(self):
        graph = set_up(TABLE, fills=["fill"])
        assert find_initial_state(graph, ["v"]) == InitialState({"v": "tfpersist/init/v/value"})
        assert not find_initial_state(graph, ["keys"])

    def test_a_graph_without_the_operation(self):
        graph = parse_text(VARIABLES.encode())
        assert not find_initial_state(graph, graph.nodes)
        assert kept_values(graph) == {}

    def test_values_of_kept_variables(self):
        values = kept_values(set_up())
        assert values["v"].load().tolist() == [0, 1, 2]
        assert values["r"].load().tolist() == [b"a"]

    def test_a_value_that_is_not_a_constant(self):
        graph = set_up()
        graph.nodes["tfpersist/init/v/value"].op = "Placeholder"
        graph = Graph(graph.proto)
        assert set(kept_values(graph)) == {"r"}
        with pytest.raises(GraphError, match=r"expected Const, got Placeholder"):
            initial_value(graph, "tfpersist/init/v/value")

    def test_an_operation_whose_inputs_are_lost(self):
        graph = parse_text(b'node { name: "tfpersist/init" op: "NoOp" input: "^lost" }')
        with pytest.raises(GraphError, match="lost"):
            kept_values(graph)


@pytest.mark.parametrize(
    ("op", "is_refused"),
    [
        ("VarHandleOp", False),
        ("VariableV2", True),
        ("Variable", True),
        ("HashTableV2", False),
        ("HashTable", True),
    ],
)
def test_references_are_refused(op, is_refused):
    graph = parse_text(f'node {{ name: "n" op: "{op}" }}'.encode())
    state = InitialState({"n": "value"}) if op.startswith("Var") else InitialState({}, {"n": ()})
    if not is_refused:
        state.refuse_references(graph)
        return
    with pytest.raises(GraphError, match=rf"node n \({op}\)"):
        state.refuse_references(graph)
