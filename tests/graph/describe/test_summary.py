"""The summary of a graph: counts, sizes, layers."""

from __future__ import annotations

import pytest

from tfpersist.formats.graphdef import Graph, parse_text, split
from tfpersist.graph.describe import summary
from tfpersist.graph.structure.names import TensorRef

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


def test_the_summary_counts():
    about = summary.summarize(SMALL, "small.pb")
    assert about.nodes == 9
    assert about.operations["Const"] == 3
    assert next(iter(about.operations)) == "Const"
    assert about.parameters == 12
    assert about.nbytes == 48 + 4 + 5
    assert [c.name for c in about.constants] == ["w", "words", "axis"]
    assert about.producer == 1000
    assert str(about) == (
        "small.pb\n"
        "  nodes       9: Const 3, Placeholder 1, MatMul 1, Assert 1, Neg 1, NoOp 1, "
        "ScalarSummary 1\n"
        "  parameters  12 in 57 bytes of constants\n"
        "  inputs      x:0 float32[?,3]\n"
        "  outputs     z:0 float32[...]\n"
        "  largest     w float32[3,4] 48 bytes\n"
        "              words string[2] 5 bytes\n"
        "              axis int32[] 4 bytes"
    )


def test_functions_and_large_constants_are_counted():
    inner = const("inner", (5,))
    library = (
        f'library {{ function {{ signature {{ name: "f" }} {inner.replace("node {", "node_def {")}'
        ' node_def { name: "n" op: "Neg" } } }'
    )
    big = graph(const("big", (1000,), value='tensor_content: "' + "a" * 4000 + '"'), library)
    apart = split(big.proto.SerializeToString(), larger_than=1024)
    assert set(apart.payloads) == {"big"}
    about = summary.summarize(apart)
    assert about.functions == ("f",)
    assert about.parameters == 1005
    assert [(c.name, c.nbytes) for c in about.constants] == [("big", 4000), ("f/inner", 20)]
    assert about.operations == {"Const": 2, "Neg": 1}


def test_a_graph_of_absurd_shapes_is_described_at_once():
    absurd = graph(const("w", (2**40, 2**40)), const("v", (-5, 3)))
    about = summary.summarize(absurd)
    assert about.parameters == 0
    assert about.nbytes < 100
    assert about.constants[0].spec.shape == (2**40, 2**40)
    assert "w float32[1099511627776,1099511627776] 22 bytes, which do not fit its shape" in str(
        about
    )


def test_a_content_of_another_length_is_reported():
    short = graph(const("w", (7,), value='tensor_content: "abcd"'), const("v", (2,)))
    about = summary.summarize(short)
    assert [(each.name, each.fits) for each in about.constants] == [("w", False), ("v", True)]
    assert (about.parameters, about.nbytes > 8) == (2, True)


def test_names_steer_no_terminal():
    odd = graph(X, 'node { name: "a\\n  fake\\033[2J" op: "My\\033Op\\n" input: "x" }')
    text = str(summary.summarize(odd, "odd\n.pb"))
    assert "\x1b" not in text
    assert text.count("\n") == 4
    assert "a\\n  fake\\x1b[2J:0" in text


def test_layers_have_the_bytes_of_their_constants():
    described = summary.summarize(
        graph(
            const("net/dense/kernel", (3, 4)),
            const("net/dense/bias", (4,)),
            const("net/out/kernel", (100,)),
            const("scale", (2,)),
        )
    )
    assert list(described.layers.items()) == [("net/out", 400), ("net/dense", 64)]
    assert "  layers      net/out 400 bytes\n              net/dense 64 bytes" in str(described)


def test_a_constant_without_a_value_is_left_as_it_is():
    empty = graph('node { name: "c" op: "Const" }')
    assert summary.summarize(empty).constants == ()
    assert not empty.nodes["c"].attr


def test_long_lists_are_cut():
    large = graph(
        *(
            const(f"layer{n}/w", (n + 1,)) + f'node {{ name: "n{n}" op: "Op{n}" }}'
            for n in range(11)
        )
    )
    about = summary.summarize(large)
    assert [constant.spec.shape for constant in about.constants] == [(n,) for n in range(11, 1, -1)]
    assert len(summary.summarize(large, largest=3).constants) == 3
    lines = str(about).splitlines()
    assert lines[1].startswith("  nodes       22: Const 11, Op0 1, ")
    assert lines[1].endswith("Op6 1 and 4 more ops")
    assert sum("float32[" in line and "bytes" in line for line in lines) == 5
    assert sum("layer" in line and "float32" not in line for line in lines) == 8
    assert lines.count("              and 3 more") == 2


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "nothing"), (3, "x:0, x:1, x:2"), (5, "x:0, x:1, x:2 and 2 more")],
)
def test_some_tensors_on_one_line(count, expected):
    assert summary.shortened([TensorRef("x", n) for n in range(count)]) == expected


def test_the_notebook_shows_inputs_and_outputs():
    text = summary.summarize(SMALL, "<b>.pb").html()
    assert "&lt;b&gt;.pb" in text
    assert "<td>input</td><td>x:0</td><td>float32[?,3]</td>" in text
    assert "<td>output</td><td>z:0</td><td>float32[...]</td>" in text
    assert "9 nodes, 12 parameters, 57 bytes" in text
    odd = graph('node { name: "odd" op: "MyOwnOp" }')
    assert "<b>FrozenModel</b>" in summary.summarize(odd).html()
    assert "<td>odd:0</td><td>unknown</td>" in summary.summarize(odd).html()
