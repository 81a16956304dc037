"""Kinds of ops, and what the node of a variable declares."""

from __future__ import annotations

import pytest

from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import parse_text
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.kinds import CONTROL_FLOW, VARIABLES, declared_spec, is_table


def node(op, shape=None, dtype="DT_FLOAT"):
    attrs = f'attr {{ key: "dtype" value {{ type: {dtype} }} }}' if dtype else ""
    if shape is not None:
        attrs += f' attr {{ key: "shape" value {{ shape {{ {shape} }} }} }}'
    return parse_text(f'node {{ name: "v" op: "{op}" {attrs} }}'.encode()).nodes["v"]


@pytest.mark.parametrize(
    ("op", "shape", "expected"),
    [
        ("VariableV2", "dim { size: 2 } dim { size: 3 }", (2, 3)),
        ("VariableV2", "", ()),
        ("VariableV2", None, None),
        ("VarHandleOp", "dim { size: -1 } dim { size: 0 }", (None, 0)),
        ("VarHandleOp", "unknown_rank: true", None),
        ("Variable", "", None),
        ("Variable", "dim { size: 2 }", (2,)),
    ],
)
def test_the_shape_that_a_variable_declares(op, shape, expected):
    assert declared_spec(node(op, shape)) == TensorSpec("float32", expected)


@pytest.mark.parametrize("dtype", [None, "DT_RESOURCE", "67"])
def test_a_variable_without_a_type_of_numbers_is_refused(dtype):
    with pytest.raises(FreezeError, match="variable v: "):
        declared_spec(node("VarHandleOp", dtype=dtype))


def test_lookup_tables_of_every_era():
    names = ("", "V2")
    tables = {f"{kind}HashTable{v}" for kind in ("", "Mutable") for v in names}
    tables |= {f"MutableHashTableOfTensors{v}" for v in names}
    tables |= {f"MutableDenseHashTable{v}" for v in names}
    assert {op for op in ops.table() if is_table(op)} == tables


def test_every_kind_is_of_ops_that_exist():
    assert ops.table().keys() >= VARIABLES
    assert ops.table().keys() >= CONTROL_FLOW
    assert {"Switch", "NextIteration", "RefNextIteration", "RefExit"} < CONTROL_FLOW
