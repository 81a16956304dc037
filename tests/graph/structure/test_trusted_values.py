"""Values that would end the process inside TensorFlow are refused."""

from __future__ import annotations

import numpy as np
import pytest

from tfpersist.errors import GraphError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph, parse_text, with_payload
from tfpersist.formats.tensors import payload_of
from tfpersist.graph.structure.trusted_values import refuse_growth, refuse_invalid


def node(*attrs: str, op: str = "Const", name: str = "a") -> str:
    held = " ".join(
        f'attr {{ key: "{key}" value {{ {value} }} }}'
        for key, _, value in (each.partition("=") for each in attrs)
    )
    return f'node {{ name: "{name}" op: "{op}" {held} }}'


def dims(*sizes: int) -> str:
    return " ".join(f"dim {{ size: {size} }}" for size in sizes)


FLOAT = "dtype=type: DT_FLOAT"
FAULTS = {
    "data type": (node("T=type: 67", op="Neg"), "data type 67"),
    "ref of no type": (node("T=type: 199", op="Neg"), "data type 199"),
    "data type in a list": (node("T=list { type: DT_FLOAT type: 77 }", op="A"), "data type 77"),
    "data type of a constant": (node("dtype=type: 67", "value=tensor { dtype: 67 }"), "67"),
    "another data type": (node(FLOAT, "value=tensor { dtype: DT_INT32 }"), "data type 3 for 1"),
    "negative extent": (
        node(FLOAT, f"value=tensor {{ dtype: DT_FLOAT tensor_shape {{ {dims(2, -3)} }} }}"),
        "shape [2, -3]",
    ),
    "unknown shape of a constant": (
        node(FLOAT, "value=tensor { dtype: DT_FLOAT tensor_shape { unknown_rank: true } }"),
        "unknown shape",
    ),
    "absurd size": (
        node(FLOAT, f"value=tensor {{ dtype: DT_FLOAT tensor_shape {{ {dims(2**40)} }} }}"),
        "4,398,046,511,104 bytes",
    ),
    "absurd size in a list": (
        node(f"v=list {{ tensor {{ dtype: DT_STRING tensor_shape {{ {dims(2**40)} }} }} }}"),
        "1,099,511,627,776 bytes",
    ),
    "extent below unknown": (node(f"shape=shape {{ {dims(-2)} }}", op="Placeholder"), "[-2]"),
    "too many dimensions": (node(f"shape=shape {{ {dims(*[1] * 255)} }}"), "255 dimensions"),
    "inside a function's attr": (
        node('f=func { name: "f" attr { key: "T" value { type: 67 } } }'),
        "data type 67",
    ),
    "inside a list of functions": (
        node('f=list { func { name: "f" attr { key: "T" value { type: 67 } } } }'),
        "data type 67",
    ),
    "argument of a function": (
        'library { function { signature { name: "f" input_arg { name: "x" type: 67 } } } }',
        "data type 67",
    ),
    "dimensions that ops could add to": (
        node(FLOAT, f"value=tensor {{ dtype: DT_FLOAT tensor_shape {{ {dims(*[1] * 200)} }} }}"),
        "200 dimensions",
    ),
    "more inputs than there are": (
        node("N=i: 2147483647", "T=type: DT_FLOAT", op="AddN").replace(
            '"AddN"', '"AddN" input: "b"'
        ),
        "2,147,483,647 for 1 inputs",
    ),
    "too many outputs": (node("num_split=i: 500000000", op="Split"), "500,000,000 outputs"),
    "more inputs of a function": (
        node("K=i: 9", op="f")
        + "library { function { signature { name: 'f' "
        + "input_arg { name: 'x' number_attr: 'K' } } } }",
        "9 for 0 inputs",
    ),
    "a function that calls itself": (
        'library { function { signature { name: "f" } node_def { name: "n" op: "f" } } }',
        "function f: the function calls itself; got f -> f",
    ),
    "an attr of a function": (
        'library { function { signature { name: "f" } attr { key: "T" value { type: 67 } } } }',
        "f: attr 'T' is invalid; got data type 67",
    ),
    "inside a function": (
        "library { function { signature { name: 'f' } "
        + node("T=type: 67", op="Neg").replace("node {", "node_def {")
        + " } }",
        "data type 67",
    ),
}


@pytest.mark.parametrize(("text", "fault"), FAULTS.values(), ids=FAULTS)
def test_an_invalid_value_is_refused(text, fault):
    with pytest.raises(GraphError) as caught:
        refuse_invalid(parse_text(text.encode()))
    assert fault in str(caught.value)


INT = "dtype=type: DT_INT32"
VECTOR = node(INT, f"shape=shape {{ {dims(1 << 20)} }}", op="Placeholder", name="v")
COUNTS = {
    "two numbers": node(INT, f"value=tensor {{ dtype: DT_INT32 tensor_shape {{ {dims(2)} }} }}"),
    "a number that is computed": node(INT, op="Placeholder", name="b")
    + node("T=type: DT_INT32", op="Neg").replace('"Neg"', '"Neg" input: "b"'),
    "none": node(INT, op="Placeholder", name="b"),
}


def reads(op: str, *inputs: str) -> str:
    listed = " ".join(f'input: "{name}"' for name in inputs)
    return node("T=type: DT_FLOAT", op=op, name="z").replace(f'"{op}"', f'"{op}" {listed}')


@pytest.mark.parametrize("text", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("op", ["QueueDequeueManyV2", "QueueDequeueUpTo"])
def test_a_number_of_elements_that_is_none_is_refused(op, text):
    with pytest.raises(GraphError, match=rf"node z \({op}\): input 1 .* one number, got 'a'"):
        refuse_invalid(parse_text((text + reads(op, "q", "a")).encode()))


def test_a_number_of_elements_is_valid():
    count = node(INT, "value=tensor { dtype: DT_INT32 int_val: 8 }")
    graph = parse_text((count + reads("QueueDequeueManyV2", "q", "a")).encode())
    assert refuse_invalid(graph) is None


@pytest.mark.parametrize(
    ("op", "at"), [("Slice", 2), ("Slice", 1), ("Fill", 0), ("Reshape", 1), ("BroadcastTo", 1)]
)
def test_a_shape_of_a_million_dimensions_is_refused(op, at):
    between = reads("Identity", "v").replace('"z"', '"i"')
    for source in ("v", "i:0"):
        inputs = [*["x", "x", "x"][:at], source]
        with pytest.raises(GraphError, match=rf"input {at} .* 65,536 dimensions, got '{source}'"):
            refuse_invalid(parse_text((VECTOR + between + reads(op, *inputs)).encode()))


def gather(batch_dims, axis, *, inside=False):
    nodes = f"""node {{ name: "x" op: "Placeholder" }} node {{ name: "i" op: "Placeholder" }}
        node {{ name: "axis" op: "{axis}" }}
        node {{ name: "y" op: "GatherV2" input: "x" input: "i" input: "axis"
                attr {{ key: "batch_dims" value {{ i: {batch_dims} }} }} }}"""
    if inside:
        nodes = nodes.replace("node {", "node_def {").replace('"axis" }', '"axis:output:0" }')
        nodes = f'library {{ function {{ signature {{ name: "f" }} {nodes} }} }}'
    return parse_text(nodes.encode())


@pytest.mark.parametrize("inside", [False, True], ids=["graph", "function"])
@pytest.mark.parametrize(
    ("batch_dims", "axis", "fault"),
    [
        (2**31 - 1, "Const", "2,147,483,647 dimensions"),
        (-(2**31), "Const", "-2,147,483,648 dimensions"),
        (33, "Const", "33 dimensions"),
        (2, "Placeholder", "expected a Const, because 'batch_dims' is 2"),
    ],
)
def test_a_gather_over_more_dimensions_than_there_are_is_refused(batch_dims, axis, fault, inside):
    with pytest.raises(GraphError, match=rf"y \(GatherV2\).*{fault}"):
        refuse_invalid(gather(batch_dims, axis, inside=inside))


@pytest.mark.parametrize(("batch_dims", "axis"), [(1, "Placeholder"), (-32, "Neg"), (32, "Const")])
def test_other_gathers_are_valid(batch_dims, axis):
    assert refuse_invalid(gather(batch_dims, axis)) is None


def test_a_long_vector_of_integers_is_valid():
    graph = parse_text((VECTOR + reads("GatherV2", "x", "v", "x")).encode())
    assert refuse_invalid(graph) is None


def test_graphs_of_tensorflow_are_valid():
    valid = (
        node(FLOAT, f"value=tensor {{ dtype: DT_FLOAT tensor_shape {{ {dims(0, 3)} }} }}"),
        node("T=type: DT_FLOAT_REF", f"shape=shape {{ {dims(-1, 2)} }}", op="Variable", name="b"),
        node("shape=shape { unknown_rank: true }", "T=type: DT_INVALID", op="Any", name="c"),
        node(FLOAT, op="Placeholder", name="d"),
    )
    graph = parse_text("\n".join(valid).encode())
    refuse_invalid(graph)
    assert refuse_invalid(Graph(schema.GraphDef())) is None


def repeated(*sizes: int) -> str:
    value = f"value=tensor {{ dtype: DT_FLOAT float_val: 1 tensor_shape {{ {dims(*sizes)} }} }}"
    return node(FLOAT, value)


@pytest.mark.parametrize("inside", [False, True], ids=["graph", "function"])
def test_constants_that_repeat_a_value_are_bounded_together(inside):
    large = [repeated(40, 10**6).replace('"a"', f'"a{number}"') for number in range(2)]
    text = large[0] + "\n" + large[1]
    if inside:
        inner = large[1].replace("node {", "node_def {")
        text = large[0] + "library { function { signature { name: 'f' } " + inner + " } }"
    graph = parse_text(text.encode())
    refuse_invalid(graph)
    refuse_growth(parse_text(large[0].encode()))
    with pytest.raises(GraphError, match=r"node a[01] \(Const\): .* at most 268,435,456"):
        refuse_growth(graph)


def test_repeated_values_may_be_ten_times_as_large_as_the_stored_ones():
    graph = parse_text(repeated(70, 10**6).encode())
    held = payload_of(np.zeros(7_000_000, np.float32))
    other = graph.proto.node.add(name="w")
    with_payload(other, held.spec)
    refuse_growth(Graph(graph.proto, {"w": held}))
    with pytest.raises(GraphError, match="too large for the size of the graph"):
        refuse_growth(parse_text(repeated(70, 10**6).encode()))
