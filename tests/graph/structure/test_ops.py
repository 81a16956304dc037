"""The table of ops, and what a node takes and gives by its attrs."""

from __future__ import annotations

import pytest

from tfpersist.errors import GraphError
from tfpersist.formats import schema
from tfpersist.graph.structure import ops


@pytest.fixture(scope="module")
def registered():
    """The OpDefs of the installed TensorFlow."""
    import tensorflow  # noqa: F401
    from tensorflow.python.client import pywrap_tf_session

    encoded = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    return {op.name: op for op in schema.OpList.FromString(bytes(encoded)).op}


def test_every_op_of_the_installed_tensorflow_is_known(registered):
    assert set(registered) <= set(ops.table())


# These differ between the oldest and the newest TensorFlow supported; the newest counts.
CHANGED = {"CustomAggregator", "TensorListGetItem", "XlaSparseDenseMatmulWithCsrInput"}


def test_inputs_and_outputs_are_those_of_the_table(registered):
    facts = ("name", "type", "type_attr", "number_attr", "type_list_attr", "is_ref")
    different = set()
    for name, op in registered.items():
        known = ops.table()[name]
        for args in ("input_arg", "output_arg"):
            mine = [[getattr(arg, fact) for fact in facts] for arg in getattr(known, args)]
            theirs = [[getattr(arg, fact) for fact in facts] for arg in getattr(op, args)]
            if mine != theirs or known.is_stateful != op.is_stateful:
                different.add(name)
    assert different <= CHANGED


def test_their_defaults_are_those_of_the_table(registered):
    for name, op in registered.items():
        known = {attr.name: attr for attr in ops.table()[name].attr}
        for attr in op.attr:
            assert attr.name in known, f"{name}.{attr.name}"
            if attr.HasField("default_value"):
                assert known[attr.name].default_value == attr.default_value, f"{name}.{attr.name}"


def input_types(node):
    op = ops.definition(node.op)
    return [number for _, number in ops.ports(node, op.input_arg, op)]


def test_types_of_inputs_and_outputs():
    node = schema.NodeDef(name="i", op="If")
    node.attr["Tcond"].type = 10
    node.attr["Tin"].list.type.extend([1, 20])
    node.attr["Tout"].list.type.extend([3, 1, 7])
    assert input_types(node) == [10, 1, 20]
    assert ops.output_types(node) == [3, 1, 7]
    node = schema.NodeDef(name="a", op="Assign")
    node.attr["T"].type = 1
    assert input_types(node) == [101, 1]
    assert ops.output_types(schema.NodeDef(name="c", op="Cast")) == [0]
    assert ops.output_types(schema.NodeDef(name="u", op="Unknown")) is None


def test_functions_are_ops():
    function = schema.FunctionDef()
    function.signature.name = "twice"
    function.signature.output_arg.add(name="y", type=3)
    assert ops.output_types(schema.NodeDef(op="twice"), {"twice": function}) == [3]


def several(op, **attrs):
    node = schema.NodeDef(name="n", op=op)
    for name, value in attrs.items():
        if name[0] == "N":
            node.attr[name].i = value
        else:
            node.attr[name].type = value
    return node


def test_as_many_ports_as_an_attr_says():
    assert input_types(several("AddN", N=3, T=1)) == [1, 1, 1]
    assert input_types(several("AddN", N=0, T=1)) == []
    assert ops.output_types(several("Concat", N=3, T=1)) == [1]
    assert input_types(several("Concat", N=2, T=1)) == [3, 1, 1]
    pairs = list(
        ops.ports(several("Merge", N=2, T=1), ops.table()["Merge"].output_arg, ops.table()["Merge"])
    )
    assert pairs == [("output", 1), ("value_index", 3)]


@pytest.mark.parametrize("number", [-1, ops.MOST_PORTS + 1])
def test_a_number_of_ports_out_of_range_is_refused(number):
    with pytest.raises(GraphError, match=rf"node n \(AddN\): attr 'N' .*1,048,576, got {number}"):
        input_types(several("AddN", N=number, T=1))


def test_too_many_types_of_ports_are_refused():
    node = schema.NodeDef(name="n", op="IdentityN")
    node.attr["T"].list.type.extend([1] * (ops.MOST_PORTS + 1))
    with pytest.raises(
        GraphError, match=r"node n \(IdentityN\): attr 'T' .*1,048,576, got 1048577"
    ):
        ops.output_types(node)


def test_a_number_of_ports_that_is_missing_is_refused():
    with pytest.raises(GraphError, match="attr 'N'"):
        input_types(several("AddN", T=1))


def test_an_attr_or_its_default():
    node = schema.NodeDef(name="p", op="Placeholder")
    op = ops.table()["Placeholder"]
    assert ops.attr(node, "dtype", op) is None
    assert ops.attr(node, "shape", op).shape.unknown_rank
    assert ops.attr(node, "shape", None) is None
    assert ops.attr(node, "own", op) is None
    node.attr["own"].b = True
    node.attr["shape"].shape.SetInParent()
    assert ops.attr(node, "own", op).b
    assert ops.attr(node, "own", None).b
    assert not ops.attr(node, "shape", op).shape.unknown_rank


def test_a_function_hides_no_op_and_no_op_a_function():
    function = schema.FunctionDef()
    function.signature.name = "Add"
    assert ops.definition("Add", {"Add": function}) is function.signature
    assert ops.definition("Add", {"f": function}).input_arg[0].name == "x"
    assert ops.definition("f", {}) is None
