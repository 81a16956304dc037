from __future__ import annotations

import pytest

from tfpersist.errors import GraphError, NameNotFoundError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph, parse_text
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.structure.names import (
    Labels,
    TensorRef,
    find_tensor,
    full_name,
    is_operation,
    parse_ref,
    producer,
)

GRAPH = parse_text(b"""
node { name: "x" op: "Placeholder"
  attr { key: "dtype" value { type: DT_FLOAT } }
  attr { key: "shape" value { shape { dim { size: -1 } dim { size: 6 } } } } }
node { name: "net/axis" op: "Const"
  attr { key: "dtype" value { type: DT_INT32 } }
  attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { } int_val: 1 } } } }
node { name: "net/split" op: "Split" input: "net/axis" input: "x"
  attr { key: "num_split" value { i: 3 } } attr { key: "T" value { type: DT_FLOAT } }
  attr { key: "_output_shapes" value { list {
    shape { dim { size: 2 } } shape { unknown_rank: true } } } } }
node { name: "custom" op: "OpOfSomebodyElse" }
node { name: "ref" op: "VariableV2" attr { key: "dtype" value { type: DT_HALF } } }
node { name: "nothing" op: "NoOp" }
""")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("add", ("add", 0)),
        ("add:0", ("add", 0)),
        ("Net/add_1:12", ("Net/add_1", 12)),
        ("a.b-c>d\\e", ("a.b-c>d\\e", 0)),
    ],
)
def test_names_are_read(text, expected):
    ref = parse_ref(text)
    assert (ref.operation, ref.index) == expected
    assert parse_ref(ref.name) == ref


@pytest.mark.parametrize("text", ["", ":0", "^add", "add:", "add:x", "add:-1", "a:0:1", "a b", 3])
def test_other_texts_are_refused(text):
    with pytest.raises(NameNotFoundError, match="not the name of a tensor"):
        parse_ref(text)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("x", TensorSpec("float32", (None, 6))),
        ("net/axis:0", TensorSpec("int32", ())),
        ("net/split:0", TensorSpec("float32", (2,))),
        ("net/split:1", TensorSpec("float32", None)),
        ("net/split:2", TensorSpec("float32", None)),
        ("ref", TensorSpec("float16", None)),
        ("custom:7", None),
    ],
)
def test_tensors_are_found_and_described(text, spec):
    assert find_tensor(GRAPH, text).spec == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("split", "Did you mean 'net/split'"),
        ("net/split:3", "got 3 outputs. The last output is net/split:2"),
        ("nothing", "has no outputs"),
    ],
)
def test_a_missing_name_lists_similar_names(text, message):
    with pytest.raises(NameNotFoundError, match=message):
        find_tensor(GRAPH, text)


def test_absurd_numbers_of_outputs_are_refused():
    for count in (-1, 1 << 60):
        node = schema.NodeDef(name="s", op="Split")
        node.attr["num_split"].i = count
        with pytest.raises(GraphError, match="num_split"):
            find_tensor(Graph(schema.GraphDef(node=[node])), "s")


def test_a_reference_prints_as_its_name():
    assert str(TensorRef("add", 1)) == "add:1"


@pytest.mark.parametrize(
    ("text", "node", "full"),
    [
        ("add", "add", "add:0"),
        ("split:1", "split", "split:1"),
        ("^init", "init", "^init"),
        ("Net/add:0", "Net/add", "Net/add:0"),
    ],
)
def test_producer_and_full_name_of_an_input(text, node, full):
    assert (producer(text), full_name(text)) == (node, full)


class TestLabels:
    LABELS = Labels({"state": "in:0", "x": "x:0", "mid": "x:0"}, {"state": "out:0", "y": "y:0"})
    NODES = frozenset({"in", "out", "x", "y", "mid", "inner"})

    @pytest.mark.parametrize(
        ("text", "fed", "fetched"),
        [
            ("state", "in:0", "out:0"),
            ("in:0", "in:0", "in:0"),
            ("x", "x:0", "x"),
            ("y", "y", "y:0"),
            ("inner", "inner", "inner"),
            ("inner:1", "inner:1", "inner:1"),
            ("other", "other", "other"),
            ("mid:0", "mid:0", "mid:0"),
        ],
    )
    def test_each_side_has_names_of_its_own(self, text, fed, fetched):
        assert full_name(self.LABELS.fed(text, self.NODES)) == full_name(fed)
        assert full_name(self.LABELS.fetched(text, self.NODES)) == full_name(fetched)

    def test_the_other_side_may_be_meant(self):
        labels = Labels({"image": "x:0"}, {"digit": "y:0"})
        assert labels.fetched("image", {"x", "y"}) == "x:0"
        assert labels.fed("digit", {"x", "y"}) == "y:0"
        assert [labels.found(text, {"x", "y"}) for text in ("image", "digit", "x")] == [
            "x:0",
            "y:0",
            "x",
        ]

    def test_what_may_mean_two_tensors_is_an_error_that_lists_both(self):
        assert self.LABELS.fed("mid", self.NODES) == "x:0"
        with pytest.raises(
            NameNotFoundError, match="'mid' may mean the input 'x:0' or the operation 'mid:0'"
        ):
            self.LABELS.fetched("mid", self.NODES)
        with pytest.raises(
            NameNotFoundError, match="'state' may mean the input 'in:0' or the output 'out:0'"
        ):
            self.LABELS.found("state", self.NODES)


def test_an_operation_without_outputs():
    graph = parse_text(b'node { name: "all" op: "NoOp" } node { name: "own" op: "MyOwn" }')
    assert [is_operation(graph, text) for text in ("all", "all:0", "own", "gone")] == [
        True,
        False,
        False,
        False,
    ]
