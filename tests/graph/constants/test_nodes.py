"""Nodes that change their op in place."""

import ml_dtypes
import numpy as np
import pytest

from tfpersist.formats import schema, tensor_proto
from tfpersist.formats.tensors import payload_of
from tfpersist.graph.constants.nodes import change_op, set_constant


def test_only_the_named_attrs_stay():
    node = schema.NodeDef(name="n", op="BatchMatMulV3", input=["a", "b", "^c"])
    for name, number in (("Ta", 1), ("Tb", 1), ("Tout", 2)):
        node.attr[name].type = number
    node.attr["adj_x"].b = True
    change_op(node, "BatchMatMulV2", ("adj_x", "adj_y"), T="Tout")
    assert {name: value.type for name, value in node.attr.items()} == {"adj_x": 0, "T": 2}
    assert node.attr["adj_x"].b
    assert (node.op, [*node.input]) == ("BatchMatMulV2", ["a", "b", "^c"])


def test_two_attrs_can_change_places():
    node = schema.NodeDef(name="n", op="Cast")
    node.attr["SrcT"].type, node.attr["DstT"].type = 1, 3
    change_op(node, "Cast", SrcT="DstT", DstT="SrcT")
    assert (node.attr["SrcT"].type, node.attr["DstT"].type) == (3, 1)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.arange(6, dtype=np.float32).reshape(2, 3), None),
        (np.float64(2.5), None),
        (np.ones(3, ml_dtypes.bfloat16), "bfloat16"),
    ],
)
def test_numbers_become_a_payload(value, dtype):
    node = schema.NodeDef(name="v", op="VarHandleOp", input=["^after"])
    node.attr["shared_name"].s = b"v"
    payloads = {}
    payload = payload_of(value, dtype)
    set_constant(node, payload, payloads)
    assert payloads == {"v": payload}
    assert (node.op, [*node.input], sorted(node.attr)) == ("Const", ["^after"], ["dtype", "value"])


@pytest.mark.parametrize(
    "value", [np.array([b"a", b""], object), np.zeros((0, 3), np.float32)], ids=["text", "empty"]
)
def test_strings_and_tensors_without_elements_stay_in_the_node(value):
    node = schema.NodeDef(name="v")
    payloads = {}
    set_constant(node, payload_of(value), payloads)
    assert not payloads
    found = tensor_proto.to_array(node.attr["value"].tensor, file="")
    np.testing.assert_array_equal(found, value)
    assert found.shape == value.shape
