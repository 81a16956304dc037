"""Nodes and functions that keep what flows into them."""

from __future__ import annotations

import pytest

from tfpersist.formats import schema
from tfpersist.graph.structure.aliasing import functions_that_keep_inputs, keeps_inputs


def function(name, *ops, calls=()):
    made = schema.FunctionDef(node_def=[schema.NodeDef(op=op) for op in ops])
    made.signature.name = name
    for callee in calls:
        made.node_def.add(op="PartitionedCall").attr["f"].func.name = callee
    return made


@pytest.mark.parametrize(
    ("op", "stateful", "expected"),
    [
        ("AssignVariableOp", True, True),
        ("ReadVariableOp", True, False),
        ("VarHandleOp", True, False),
        ("Add", False, False),
        ("InplaceAdd", False, True),
        ("MyOwnOp", True, True),
    ],
)
def test_single_ops(op, stateful, expected):
    assert keeps_inputs(op, stateful=stateful) is expected


def test_aliasing_passes_on_to_the_callers():
    functions = [
        function("outer", calls=["middle"]),
        function("middle", "Neg", "inner"),
        function("inner", "StackPushV2"),
        function("reads", "ReadVariableOp", "Neg", calls=["harmless"]),
        function("harmless", calls=["harmless"]),
        function("strange", "MyOwnOp"),
    ]
    keepers = {"outer", "middle", "inner", "strange"}
    assert functions_that_keep_inputs(functions) == keepers
    assert functions_that_keep_inputs(functions[:2]) == {"middle", "outer"}


def test_a_function_does_not_count_as_an_unknown_op():
    assert functions_that_keep_inputs([function("f", "g"), function("g", "Neg")]) == frozenset()
