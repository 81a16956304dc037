"""Tensors that become placeholders: their names, and what read them before."""

from __future__ import annotations

import pytest

from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import parse_text
from tfpersist.graph.constants.cut import cut
from tfpersist.graph.structure.names import find_tensor

GRAPH = parse_text(
    b"""
    node { name: "next" op: "IteratorGetNext" input: "it"
           attr { key: "output_types" value { list { type: DT_INT32 type: DT_FLOAT } } }
           attr { key: "_output_shapes" value { list { shape { dim { size: -1 } } shape {} } } } }
    node { name: "it" op: "IteratorV2" }
    node { name: "ids" op: "Identity" input: "next" attr { key: "T" value { type: DT_INT32 } } }
    node { name: "late" op: "Neg" input: "next:1" input: "^next"
           attr { key: "T" value { type: DT_FLOAT } } }
    node { name: "odd" op: "Mystery" input: "late" }
    """
)


def refs(**names):
    return {label: find_tensor(GRAPH, name) for label, name in names.items()}


def test_an_operation_of_one_output_becomes_the_placeholder():
    graph, renamed = cut(GRAPH, {"ids:0": find_tensor(GRAPH, "ids")})
    assert (graph.nodes["ids"].op, list(graph.nodes["ids"].input)) == ("Placeholder", [])
    assert renamed == {"ids:0": "ids:0"}
    assert GRAPH.nodes["ids"].op == "Identity"


def test_outputs_of_one_operation_become_placeholders_of_their_own():
    wanted = {"next:0": find_tensor(GRAPH, "next"), "weight": find_tensor(GRAPH, "next:1")}
    graph, renamed = cut(GRAPH, wanted)
    assert renamed == {"next:0": "next_0:0", "next:1": "weight:0"}
    assert list(graph.nodes["ids"].input) == ["next_0"]
    assert list(graph.nodes["late"].input) == ["weight", "^next_0"]
    shape = graph.nodes["next_0"].attr["shape"].shape
    assert [dim.size for dim in shape.dim] == [-1]
    assert graph.nodes["weight"].attr["dtype"].type == 1


def test_a_name_in_use_is_not_used_again():
    with pytest.raises(FreezeError, match=r"input late.*has the name"):
        cut(GRAPH, refs(late="next:1"))


def test_a_tensor_of_unknown_type():
    with pytest.raises(FreezeError, match=r"odd:0.*type of this tensor is not known"):
        cut(GRAPH, refs(x="odd"))


def test_a_placeholder_stays_itself():
    graph = parse_text(
        b'node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }'
    )
    same, renamed = cut(graph, {"x:0": find_tensor(graph, "x")})
    assert same.proto == graph.proto
    assert renamed == {"x:0": "x:0"}


def test_edges_that_no_tensorflow_would_write_do_not_matter():
    text = b"""
    node { name: "a" op: "Identity" attr { key: "T" value { type: DT_INT32 } } }
    node { name: "b" op: "Neg" input: "a:b" input: "a:" input: ":" }
    """
    graph, renamed = cut(parse_text(text), {"a:0": find_tensor(parse_text(text), "a")})
    assert renamed == {"a:0": "a_0:0"}
    assert list(graph.nodes["b"].input) == ["a:b", "a:", ":"]


@pytest.mark.parametrize(
    ("default", "op"), [("Const", "PlaceholderWithDefault"), ("IteratorGetNext", "Placeholder")]
)
def test_a_default_that_a_pipeline_gives_is_left_out(default, op):
    graph = parse_text(
        f"""
        node {{ name: "it" op: "{"IteratorV2" if default != "Const" else "NoOp"}" }}
        node {{ name: "next" op: "{default}" input: "{"it" if default != "Const" else "^it"}" }}
        node {{ name: "img" op: "PlaceholderWithDefault" input: "next"
          attr {{ key: "dtype" value {{ type: DT_FLOAT }} }} }}
        node {{ name: "y" op: "Neg" input: "img" }}
        """.encode()
    )
    found, renamed = cut(graph, {"img": find_tensor(graph, "img")})
    assert renamed == {"img:0": "img:0"}
    assert found.nodes["img"].op == op
    assert found.nodes["y"].input == ["img"]
