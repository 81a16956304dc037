"""Ops that may be left out, and ops that must run."""

from __future__ import annotations

import pytest

from tfpersist.formats import schema
from tfpersist.graph.structure.effects import Effects, is_pure


def node(op, *called):
    made = schema.NodeDef(name="n", op=op)
    for name in called:
        made.attr["branches"].list.func.add(name=name)
    return made


def library(**bodies):
    return {name: schema.FunctionDef(node_def=nodes) for name, nodes in bodies.items()}


@pytest.mark.parametrize(
    ("op", "pure", "effect"),
    [
        ("Add", True, False),
        ("RandomUniform", False, False),
        ("ReadVariableOp", False, False),
        ("AssignVariableOp", False, True),
        ("Assign", False, True),
        ("PrintV2", False, True),
        ("CheckNumerics", False, True),
        ("InplaceUpdate", False, True),
        ("RefIdentity", False, True),
        ("Switch", False, False),
        ("MyOwnOp", False, True),
    ],
)
def test_single_ops(op, pure, effect):
    assert is_pure(op) is pure
    assert Effects({}).is_pure(node(op)) is pure
    assert Effects({}).has_effects(node(op)) is effect


def test_functions_that_call_functions():
    functions = library(
        reads=[node("ReadVariableOp"), node("PartitionedCall", "adds")],
        adds=[node("Add"), node("If", "adds")],
        writes=[node("Case", "adds", "assigns")],
        assigns=[node("Add"), node("AssignVariableOp")],
    )
    effects = Effects(functions)
    names = ("adds", "reads", "writes", "assigns")
    assert [effects.function_has_effects(name) for name in names] == [False, False, True, True]
    assert [effects.has_effects(node("Case", name)) for name in names] == [
        False,
        False,
        True,
        True,
    ]
    assert [effects.is_pure(node(name)) for name in names] == [True, False, False, False]


def test_functions_that_call_each_other_end():
    effects = Effects(library(f=[node("g")], g=[node("f"), node("h")], h=[node("PrintV2")]))
    assert effects.function_has_effects("f")
    assert not Effects(library(f=[node("f")])).function_has_effects("f")


def test_a_call_of_any_other_op_counts_as_that_op():
    """A dataset or a remote call does more than its function does."""
    assert Effects(library(f=[])).has_effects(node("RemoteCall", "f"))
    assert not Effects(library(f=[])).has_effects(node("While", "f"))


class Counted(dict):
    """A library that counts how often its functions are looked at."""

    looks = 0

    def __getitem__(self, name):
        self.looks += 1
        return super().__getitem__(name)


@pytest.mark.parametrize(("last", "expected"), [("Neg", False), ("Assert", True)])
def test_each_function_of_a_chain_is_looked_at_once(last, expected):
    library = Counted()
    for index in range(100):
        library[f"f{index}"] = schema.FunctionDef(
            node_def=[schema.NodeDef(op=f"f{index + 1}" if index < 99 else last)]
        )
    effects = Effects(library)
    assert {effects.function_has_effects(name) for name in library} == {expected}
    assert effects.has_effects(schema.NodeDef(op="f50")) == expected
    assert library.looks == 100


def test_functions_that_call_each_other_have_the_effects_of_all():
    library = {
        name: schema.FunctionDef(node_def=[schema.NodeDef(op=op) for op in ops])
        for name, ops in {"a": ["b"], "b": ["a", "c"], "c": ["d"], "d": ["c", "Assert"]}.items()
    }
    for order in ("abcd", "dcba", "cadb"):
        effects = Effects(library)
        assert all(effects.function_has_effects(name) for name in order)
    library["d"].node_def[1].op = "Neg"
    for order in ("abcd", "dcba"):
        effects = Effects(library)
        assert not any(effects.function_has_effects(name) for name in order)
