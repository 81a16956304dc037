"""The main graph and functions name their tensors differently."""

from __future__ import annotations

from tfpersist.formats import schema
from tfpersist.formats.graphdef import parse_text
from tfpersist.graph.structure.bodies import Body

NODES = b"""
node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
node { name: "s" op: "Split" input: "axis" input: "x"
  attr { key: "num_split" value { i: 2 } } attr { key: "T" value { type: DT_FLOAT } } }
node { name: "u" op: "Unique" input: "x"
  attr { key: "T" value { type: DT_FLOAT } } attr { key: "out_idx" value { type: DT_INT32 } } }
node { name: "y" op: "Neg" input: "s:1" input: "x:0" input: "^u" }
node { name: "odd" op: "MyOwnOp" }
"""


def body(function=None, **options):
    return Body(dict(parse_text(NODES).nodes), {}, function, **options)


def test_outputs_by_index_or_by_name():
    main, inner = body(), body("f")
    assert main.outputs(main.nodes["s"]) == ["s:0", "s:1"]
    assert inner.outputs(inner.nodes["s"]) == ["s:output:0", "s:output:1"]
    assert inner.outputs(inner.nodes["u"]) == ["u:y:0", "u:idx:0"]
    assert main.outputs(main.nodes["odd"]) == []
    assert (main.first_output("s", "output"), inner.first_output("s", "output")) == (
        "s",
        "s:output:0",
    )


def test_consumers_by_the_full_name_of_a_tensor():
    main = body()
    assert main.consumers() == {"axis:0": ["s"], "x:0": ["s", "u", "y"], "s:1": ["y"]}
    del main.nodes["y"]
    assert main.consumers()["s:1"] == ["y"]
    inner = body("f", arguments=("axis",))
    assert inner.consumers()["axis"] == ["s"]
    assert inner.consumers()["x"] == ["s", "u"]


def test_added_nodes_come_before_the_node_that_needs_them():
    inner = body("f", arguments=("y/axis",))
    names = [inner.add("y", "y/axis", "Const", ["^x"]).name for _ in range(2)]
    names.append(inner.add("s", "s", "Const", []).name)
    assert names == ["y/axis_1", "y/axis_2", "s_1"]
    finished = inner.finished()
    order = ["x", "s_1", "s", "u", "y/axis_1", "y/axis_2", "y", "odd"]
    assert [node.name for node in finished] == order
    assert list(finished[4].input) == ["^x"]


def test_renamed_tensors_are_read_by_their_new_names():
    main = body()
    main.renamed["s:1"] = "s:new:1"
    read = {node.name: list(node.input) for node in main.finished()}
    assert read["y"] == ["s:new:1", "x:0", "^u"]
    assert read["s"] == ["axis", "x"]


def test_the_place_of_a_node():
    node = schema.NodeDef(name="y", op="Neg")
    assert body().where(node) == "node y (Neg)"
    assert body("f").where(node) == "node y (Neg) in function f"
