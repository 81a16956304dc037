"""The inputs and outputs that a graph has by its nodes."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tfpersist.errors import NameNotFoundError
from tfpersist.formats.graphdef import Graph, parse_text
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.describe import endpoints
from tfpersist.graph.describe.lookup import as_graph

FLOAT = 'attr { key: "dtype" value { type: DT_FLOAT } }'
T = 'attr { key: "T" value { type: DT_FLOAT } }'


def const(name: str, shape: tuple[int, ...], dtype: str = "DT_FLOAT", value: str = "") -> str:
    dims = " ".join(f"dim {{ size: {extent} }}" for extent in shape)
    return (
        f'node {{ name: "{name}" op: "Const" attr {{ key: "dtype" value {{ type: {dtype} }} }}'
        f' attr {{ key: "value" value {{ tensor {{ dtype: {dtype} tensor_shape {{ {dims} }}'
        f" {value} }} }} }} }}\n"
    )


def graph(*nodes: str, producer: int = 1000) -> Graph:
    return parse_text(f"{' '.join(nodes)} versions {{ producer: {producer} }}".encode())


def placeholder(name: str, shape: str) -> str:
    return (
        f'node {{ name: "{name}" op: "Placeholder" {FLOAT} '
        f'attr {{ key: "shape" value {{ shape {{ {shape} }} }} }} }}\n'
    )


X = placeholder("x", "dim { size: -1 } dim { size: 3 }")
SMALL = graph(
    X,
    const("w", (3, 4)),
    const("axis", (), "DT_INT32", "int_val: 0"),
    const("words", (2,), "DT_STRING", 'string_val: "ab" string_val: "cde"'),
    f'node {{ name: "y" op: "MatMul" input: "x" input: "w" {T} }}',
    'node { name: "check" op: "Assert" input: "y" attr { key: "T" value { list { } } } }',
    f'node {{ name: "z" op: "Neg" input: "y" {T} }}',
    'node { name: "done" op: "NoOp" input: "^z" }',
    'node { name: "log" op: "ScalarSummary" input: "words" input: "y" }',
)


def test_inputs_and_outputs_are_listed_with_their_specs():
    assert [str(ref) for ref in endpoints.inputs(SMALL)] == ["x:0 float32[?,3]"]
    assert [str(ref) for ref in endpoints.outputs(SMALL)] == ["z:0 float32[...]"]


def test_placeholders_of_every_name_are_inputs():
    odd = graph(placeholder("two words", ""))
    assert [ref.name for ref in endpoints.inputs(odd)] == ["two words:0"]


def test_every_output_of_a_last_operation_is_listed():
    split_up = graph(
        X,
        const("axis", (), "DT_INT32", "int_val: 0"),
        f'node {{ name: "s" op: "Split" input: "axis" input: "x" {T} '
        'attr { key: "num_split" value { i: 2 } } }',
    )
    assert [ref.name for ref in endpoints.outputs(split_up)] == ["s:0", "s:1"]


def test_a_node_with_only_control_readers_is_not_an_output():
    waiting = graph(
        X,
        f'node {{ name: "a" op: "Neg" input: "x" {T} }}',
        f'node {{ name: "b" op: "Neg" input: "x" input: "^a" {T} }}',
    )
    assert [ref.name for ref in endpoints.outputs(waiting)] == ["b:0"]


def test_reads_of_variables_are_not_outputs():
    reads = (
        const("w", (2,)),
        'node { name: "w/read" op: "Identity" input: "w" }',
        'node { name: "Read/ReadVariableOp_1" op: "Identity" input: "w" }',
        'node { name: "v" op: "VarHandleOp" }',
        'node { name: "value" op: "ReadVariableOp" input: "v" }',
        'node { name: "waits" op: "NoOp" input: "^Read/ReadVariableOp_1" input: "^w/read" }',
    )
    used = placeholder("x", "unknown_rank: true"), 'node { name: "y" op: "Neg" input: "x" }'
    asked = const("labels", (2,)), 'node { name: "names" op: "Identity" input: "labels" }'
    assert [ref.name for ref in endpoints.outputs(graph(*reads, *used))] == ["y:0"]
    assert [ref.name for ref in endpoints.outputs(graph(*reads, *asked))] == ["names:0"]
    alone = ["w/read:0", "Read/ReadVariableOp_1:0", "value:0"]
    assert [ref.name for ref in endpoints.outputs(graph(*reads))] == alone


def test_nodes_of_branches_are_not_outputs():
    branching = graph(
        placeholder("x", ""),
        'node { name: "p" op: "Placeholder" attr { key: "dtype" value { type: DT_BOOL } } }',
        'node { name: "Switch" op: "Switch" input: "p" input: "p" }',
        'node { name: "switch_t" op: "Identity" input: "Switch:1" }',
        'node { name: "in" op: "Switch" input: "x" input: "p" }',
        'node { name: "aside" op: "Switch" input: "x" input: "p" }',
        'node { name: "neg" op: "Neg" input: "in" }',
        'node { name: "merged" op: "Merge" input: "neg" input: "in:1"'
        ' attr { key: "T" value { type: DT_FLOAT } } attr { key: "N" value { i: 2 } } }',
    )
    assert [ref.name for ref in endpoints.outputs(branching)] == ["merged:0"]


def test_an_unknown_op_may_be_an_output():
    odd = graph(X, 'node { name: "odd" op: "MyOwnOp" input: "x" }')
    assert [str(ref) for ref in endpoints.outputs(odd)] == ["odd:0"]


def test_leftovers_of_lowering_are_neither_inputs_nor_outputs():
    left = graph(
        X,
        placeholder("f/unused_control_flow_input_3", ""),
        f'node {{ name: "f/while/loop_body_control/_47" op: "Identity" input: "x" {T} }}',
        f'node {{ name: "y" op: "Identity" input: "x" {T} }}',
    )
    assert [ref.name for ref in endpoints.inputs(left)] == ["x:0"]
    assert [ref.name for ref in endpoints.outputs(left)] == ["y:0"]


@pytest.mark.parametrize(("producer", "shape"), [(0, None), (21, None), (22, ()), (1000, ())])
def test_a_scalar_placeholder_of_an_old_graph_has_an_unknown_shape(producer, shape):
    old = graph(placeholder("x", ""), producer=producer)
    assert endpoints.find(old, "x").spec == TensorSpec("float32", shape)
    assert endpoints.inputs(old)[0].spec == TensorSpec("float32", shape)


def test_a_wrong_name_lists_similar_names():
    with pytest.raises(NameNotFoundError, match="'words'"):
        endpoints.find(SMALL, "word")


def test_a_computation_after_a_switch_is_an_output():
    branching = graph(
        X,
        f'node {{ name: "s" op: "Switch" input: "x" input: "x" {T} }}',
        f'node {{ name: "y" op: "Neg" input: "s" {T} }}',
        f'node {{ name: "z" op: "Identity" input: "s:1" {T} }}',
    )
    assert [ref.name for ref in endpoints.outputs(branching)] == ["y:0"]


def test_references_and_resources_are_not_outputs():
    holders = graph(
        X,
        f'node {{ name: "a" op: "Assign" input: "v" input: "x" {T} }}',
        'node { name: "t" op: "AnonymousHashTable" }',
        'node { name: "seed" op: "AnonymousSeedGenerator" }',
        f'node {{ name: "y" op: "Neg" input: "x" {T} }}',
    )
    assert [ref.name for ref in endpoints.outputs(holders)] == ["y:0"]


def test_nodes_that_are_ignored_use_nothing():
    trained = graph(
        X,
        f'node {{ name: "y" op: "Neg" input: "x" {T} }}',
        f'node {{ name: "grad" op: "Neg" input: "y" {T} }}',
        'node { name: "v" op: "VarHandleOp" }',
        f'node {{ name: "read" op: "ReadVariableOp" input: "v" {FLOAT} }}',
    )
    computed, reads = endpoints.unused_tensors(trained, ignored={"grad"})
    assert [ref.name for ref in computed] == ["y:0"]
    assert [ref.name for ref in reads] == ["read:0"]
    computed, _ = endpoints.unused_tensors(trained)
    assert [ref.name for ref in computed] == ["grad:0"]


def test_an_init_operation_uses_its_control_inputs():
    fill = f'node {{ name: "fill" op: "Neg" input: "x" {T} }}'
    group = 'node { name: "group" op: "NoOp" input: "^fill" }'
    init = group.replace("group", "tfpersist/init")
    assert [ref.name for ref in endpoints.outputs(graph(X, fill, group))] == ["fill:0"]
    assert endpoints.outputs(graph(X, fill, init)) == ()


@pytest.mark.parametrize("used", [True, False])
def test_a_loop_that_is_there_for_one_variable_gives_no_others(used):
    """TensorFlow's own freezer leaves an Exit for each variable of a lowered loop."""
    with tf.Graph().as_default() as graph:
        tf.compat.v1.disable_control_flow_v2()
        try:
            x = tf.compat.v1.placeholder(tf.float32, [2], name="x")
            _, total = tf.compat.v1.while_loop(
                lambda count, total: count < 3, lambda count, total: (count + 1, total + x), [0, x]
            )
        finally:
            tf.compat.v1.enable_control_flow_v2()
        if used:
            tf.identity(total * 2.0, name="y")
    found = [ref.name for ref in endpoints.outputs(as_graph(graph.as_graph_def()))]
    assert found == (["y:0"] if used else ["while/Exit:0", "while/Exit_1:0"])
