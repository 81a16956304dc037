"""Constants that become trainable variables."""

import numpy as np
import pytest

from tfpersist.errors import NameNotFoundError, UnsupportedError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph, parse_text, with_payload
from tfpersist.formats.tensors import Payload, TensorSpec, payload_of
from tfpersist.graph.constants.initial_state import add_assignments, add_init
from tfpersist.graph.constants.unfreeze import unfreeze
from tfpersist.graph.structure.lowered import Lowered

CONST = """node { name: "%s" op: "Const" %s attr { key: "dtype" value { type: %s } }
  attr { key: "value" value { tensor { dtype: %s tensor_shape { dim { size: 2 } } %s } } } }
"""
TEXT = (
    CONST % ("net/w", "", "DT_FLOAT", "DT_FLOAT", "float_val: 3")
    + CONST % ("net/b", "", "DT_FLOAT", "DT_FLOAT", "float_val: 1")
    + CONST % ("axes", "", "DT_INT32", "DT_INT32", "int_val: 0")
    + """node { name: "y" op: "Add" input: "net/w:0" input: "net/b"
      attr { key: "T" value { type: DT_FLOAT } } }
    node { name: "z" op: "Sum" input: "y" input: "axes" input: "^net/w" }"""
)


def variables_of(unfrozen, collection="variables"):
    encoded = unfrozen.meta.collection_def[collection].bytes_list.value
    return [schema.VariableDef.FromString(text) for text in encoded]


def nodes_of(unfrozen):
    return {node.name: node for node in unfrozen.meta.graph_def.node}


def test_a_constant_is_a_variable_of_its_name():
    graph = parse_text(TEXT.encode())
    before = graph.proto.SerializeToString(deterministic=True)
    unfrozen = unfreeze(graph, ["net/w"])
    assert graph.proto.SerializeToString(deterministic=True) == before
    nodes = nodes_of(unfrozen)
    assert (nodes["net/w"].op, nodes["net/b"].op) == ("VarHandleOp", "Const")
    assert [*nodes["y"].input] == ["net/w/read_value", "net/b"]
    assert [*nodes["z"].input] == ["y", "axes", "^net/w/read_value"]
    assert [*nodes["net/w/assign"].input] == ["net/w", "net/w/its_value_is_in_the_checkpoint"]
    assert [*nodes["net/w/read_value"].input] == ["net/w"]
    assert {name: payload.load().tolist() for name, payload in unfrozen.values.items()} == {
        "net/w": [3, 3]
    }
    (definition,) = variables_of(unfrozen)
    assert definition == variables_of(unfrozen, "trainable_variables")[0]
    assert definition.trainable
    assert (definition.variable_name, definition.initializer_name, definition.snapshot_name) == (
        "net/w:0",
        "net/w/assign",
        "net/w/read_value:0",
    )


def test_globs_and_tensors():
    graph = parse_text(TEXT.encode())
    assert set(unfreeze(graph, ["net/*"]).values) == {"net/w", "net/b"}
    assert set(unfreeze(graph, ["*"]).values) == {"net/w", "net/b"}
    assert set(unfreeze(graph, ["net/b:0"]).values) == {"net/b"}


def test_names_without_a_match_are_refused():
    graph = parse_text(TEXT.encode())
    with pytest.raises(NameNotFoundError, match="no constants are named"):
        unfreeze(graph, [])
    for pattern in ("axes", "net/ww", "y"):
        with pytest.raises(NameNotFoundError, match=f"trainable data type is called '{pattern}'"):
            unfreeze(graph, ["net/w", pattern])


def test_new_nodes_avoid_names_in_use():
    text = TEXT + 'node { name: "net/w/assign" op: "NoOp" }'
    nodes = nodes_of(unfreeze(parse_text(text.encode()), ["net/w"]))
    assert nodes["net/w/assign"].op == "NoOp"
    assert nodes["net/w/assign_"].op == "AssignVariableOp"


def test_a_constant_with_control_inputs_stays():
    """It can be in a loop or branch."""
    text = CONST % ("w", 'input: "^x"', "DT_FLOAT", "DT_FLOAT", "float_val: 1")
    graph = parse_text((text + 'node { name: "x" op: "NoOp" }').encode())
    with pytest.raises(NameNotFoundError):
        unfreeze(graph, ["w"])


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("op", ["While", "StatelessIf", "Case", "Enter"])
def test_a_constant_that_flows_into_a_loop_or_branch(op, inside):
    node = f'{{ name: "flow" op: "{op}" input: "%s" }}'
    text = TEXT + 'node { name: "free" op: "Neg" input: "net/b" } '
    if inside:
        text += 'node { name: "call" op: "f" input: "net/w" }'
        text += f'library {{ function {{ signature {{ name: "f" }} node_def {node % "a"} }} }}'
    else:
        text += f"node {node % 'net/w'}"
    graph = parse_text(text.encode())
    where = r"node call \(f\)" if inside else rf"node flow \({op}\)"
    with pytest.raises(UnsupportedError, match=rf"^{where}: .*got constant net/w"):
        unfreeze(graph, ["net/w"])
    assert set(unfreeze(graph, ["net/b"]).values) == {"net/b"}


def test_the_bytes_of_other_constants_are_in_the_meta():
    node, other = schema.NodeDef(name="w"), schema.NodeDef(name="rest")
    for each in (node, other):
        with_payload(each, TensorSpec("float32", (600,)))
    weights = payload_of(np.arange(600, dtype="f"))
    reads = []

    def load():
        reads.append(1)
        return weights.load()

    payloads = {"w": Payload(weights.spec, load), "rest": weights}
    unfrozen = unfreeze(Graph(schema.GraphDef(node=[node, other]), payloads), ["w"])
    assert not reads
    content = nodes_of(unfrozen)["rest"].attr["value"].tensor.tensor_content
    assert np.frombuffer(content, "f").tolist() == weights.load().tolist()


def test_kept_variables_and_tables_are_as_before():
    text = (
        TEXT
        + """node { name: "v" op: "VarHandleOp" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "read" op: "ReadVariableOp" input: "v" }
        node { name: "table" op: "HashTableV2" } node { name: "k" op: "Const" }
        node { name: "fill" op: "InitializeTableV2" input: "table" input: "k" input: "k" }"""
    )
    graph = parse_text(text.encode())
    lowered = Lowered(graph, {"v": payload_of(np.float32([7]))})
    graph, assigns = add_assignments(graph, lowered, ["v"])
    unfrozen = unfreeze(add_init(graph, ["fill", *assigns]), ["net/w"])
    assert unfrozen.values["v"].load().tolist() == [7]
    assert [v.variable_name for v in variables_of(unfrozen)] == ["net/w:0", "v:0"]
    assert [v.variable_name for v in variables_of(unfrozen, "trainable_variables")] == ["net/w:0"]
    kept = variables_of(unfrozen)[1]
    assert (kept.initializer_name, kept.initial_value_name) == (
        "tfpersist/init/v/assign",
        "tfpersist/init/v/value:0",
    )
    tables = unfrozen.meta.collection_def["table_initializer"].node_list.value
    assert [*tables] == ["fill"]
    # The value of a kept variable is no weight of the model.
    with pytest.raises(NameNotFoundError):
        unfreeze(add_init(graph, [*assigns]), ["tfpersist/init/v/value"])
