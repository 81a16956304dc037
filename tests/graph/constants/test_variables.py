"""Variables that become constants: their values, their names, and what stays."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import parse_text
from tfpersist.formats.tensors import TensorSpec, payload_of
from tfpersist.graph.constants.variables import replace_variables
from tfpersist.graph.structure.lowered import Lowered

VARIABLE = """node { name: "%s" op: "VarHandleOp" attr { key: "dtype" value { type: DT_FLOAT } }
  attr { key: "shape" value { shape { dim { size: 3 } } } }
  attr { key: "shared_name" value { s: "%s" } } attr { key: "container" value { s: "%s" } } } """
V = VARIABLE % ("v", "v", "")
READ = """node { name: "y" op: "ReadVariableOp" input: "v"
  attr { key: "dtype" value { type: DT_FLOAT } } } """
ONES = payload_of(np.ones(3, np.float32))


def frozen(text, keep=(), **values):
    payloads = {name: payload_of(value) for name, value in values.items()} or {"v": ONES}
    return replace_variables(Lowered(parse_text(text.encode()), payloads), keep)


def test_a_constant_has_the_name_and_the_value_of_the_variable():
    graph = frozen(V + READ)
    assert [(node.name, node.op, *node.input) for node in graph.proto.node] == [
        ("v", "Const"),
        ("y", "Identity", "v"),
    ]
    assert graph.payloads == {"v": ONES}


def test_the_graph_of_the_caller_is_not_changed():
    graph = parse_text((V + READ).encode())
    before = graph.proto.SerializeToString(deterministic=True)
    replace_variables(Lowered(graph, {"v": ONES}))
    assert graph.proto.SerializeToString(deterministic=True) == before


def test_kept_variables_and_their_readers_stay():
    graph = frozen(V + READ, keep={"v"})
    assert [node.op for node in graph.proto.node] == ["VarHandleOp", "ReadVariableOp"]


def test_handles_of_one_variable_share_its_bytes():
    named = V + VARIABLE % ("w", "v", "") + VARIABLE % ("u", "v", "box")
    text = named + VARIABLE % ("t", "", "") + VARIABLE % ("s", "", "")
    graph = frozen(text, **{name: np.ones(3, np.float32) for name in "vwuts"})
    assert {node.name: (node.op, *node.input) for node in graph.proto.node} == {
        "v": ("Const",),
        "w": ("Identity", "v"),
        "u": ("Const",),
        "t": ("Const",),
        "s": ("Const",),
    }
    assert set(graph.payloads) == {"v", "u", "t", "s"}


def test_functions_keep_their_gradients_where_nodes_are_added():
    gather = 'node { name: "y" op: "ResourceGather" input: "v" input: "ids" } '
    library = """node { name: "ids" op: "Placeholder" } library {
      function { signature { name: "f" } } function { signature { name: "g" } }
      gradient { function_name: "f" gradient_func: "g" } } versions { producer: 27 }"""
    graph = frozen(V + gather + library)
    assert "y/axis" in graph.nodes
    assert [*graph.functions] == ["f", "g"]
    assert [pair.gradient_func for pair in graph.proto.library.gradient] == ["g"]
    assert graph.proto.versions.producer == 27


def test_a_string_stays_in_the_graph():
    text = V.replace("DT_FLOAT", "DT_STRING")
    graph = frozen(text, v=np.array([b"a", b"b", b"c"], object))
    assert not graph.payloads
    assert [*graph.nodes["v"].attr["value"].tensor.string_val] == [b"a", b"b", b"c"]


def test_values_that_do_not_fit():
    with pytest.raises(FreezeError, match=r"expected float32\[3\], got float32\[4\]"):
        frozen(V + READ, v=np.ones(4, np.float32))
    with pytest.raises(FreezeError, match=r"expected float32\[3\], got float64"):
        frozen(V + READ, v=np.ones(3))
    unknown = attrs.evolve(ONES, spec=TensorSpec("float32", (None,)))
    with pytest.raises(FreezeError, match=r"got float32\[\?\]"):
        replace_variables(Lowered(parse_text(V.encode()), {"v": unknown}))


def test_a_variable_without_a_value():
    with pytest.raises(FreezeError, match=r"variable v \(VarHandleOp\): the variable has no value"):
        replace_variables(Lowered(parse_text(V.encode()), {}))
    with pytest.raises(FreezeError, match="it was lost"):
        replace_variables(Lowered(parse_text(V.encode()), {}, problems={"v": "it was lost"}))
