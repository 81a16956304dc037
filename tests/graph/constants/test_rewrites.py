"""Nodes that used a variable, for the constant that replaces it."""

import pytest

from tfpersist.errors import FreezeError
from tfpersist.formats import schema
from tfpersist.graph.constants import rewrites
from tfpersist.graph.constants.rewrites import HandleValue, retype_call
from tfpersist.graph.structure.bodies import Body
from tfpersist.graph.structure.calls import Call

FLOAT, HALF, RESOURCE = 1, 19, 20
VALUE = HandleValue(FLOAT, (5, 3), ("v",))


def rewritten(op, *inputs, function=None, others=(), value=VALUE, **attrs):
    """Return {name: (op, *inputs)} of a body after node n is rewritten, and the node itself."""
    node = schema.NodeDef(name="n", op=op, input=inputs)
    for name, number in attrs.items():
        node.attr[name].i = number
    body = Body({each.name: each for each in (*others, node)}, {}, function)
    rewrite = rewrites.REF_SELECT if op == "RefSelect" else rewrites.REWRITES[op]
    rewrite(body, node, value)
    return {each.name: (each.op, *each.input) for each in body.finished()}, node, body


class TestValues:
    def test_two_variables_of_one_shape(self):
        other = HandleValue(FLOAT, (5, 3), ("u",))
        assert VALUE.joined(other, "here") == HandleValue(FLOAT, (5, 3), ("u", "v"))
        assert VALUE.joined(None, "here") is VALUE

    def test_two_different_shapes_make_an_unknown_shape(self):
        assert VALUE.joined(HandleValue(FLOAT, (2,), ("u",)), "here").shape is None

    def test_two_data_types(self):
        with pytest.raises(FreezeError, match=r"node m.*different data types; got v and u"):
            VALUE.joined(HandleValue(HALF, (5, 3), ("u",)), "node m (Merge)")


class TestRewrites:
    def test_a_read_passes_the_value_on_and_has_its_shape(self):
        nodes, node, _ = rewritten("ReadVariableOp", "v", "^after")
        assert nodes == {"n": ("Identity", "v", "^after")}
        assert node.attr["T"].type == FLOAT
        (shape,) = node.attr["_output_shapes"].list.shape
        assert [dim.size for dim in shape.dim] == [5, 3]

    def test_a_read_in_a_function_has_another_output_name(self):
        _, _, body = rewritten("ReadVariableOp", "v", function="f")
        assert body.renamed == {"n:value:0": "n:output:0"}

    def test_a_gather_gets_an_axis(self):
        nodes, node, _ = rewritten("ResourceGather", "v", "ids:1", "^after", batch_dims=1)
        assert nodes == {"n/axis": ("Const",), "n": ("GatherV2", "v", "ids:1", "n/axis", "^after")}
        assert node.attr["batch_dims"].i == 1

    def test_the_axis_is_in_the_loop_of_the_indices(self):
        enter = schema.NodeDef(name="enter", op="Enter")
        nodes, *_ = rewritten("ResourceGather", "v", "ids:1", others=[enter])
        assert nodes["n/axis"] == ("Const", "^ids")

    def test_the_axis_does_not_take_a_name_of_the_graph(self):
        other = schema.NodeDef(name="n/axis", op="Placeholder")
        nodes, *_ = rewritten("ResourceGather", "v", "ids", others=[other])
        assert nodes["n"] == ("GatherV2", "v", "ids", "n/axis_1")

    def test_an_axis_in_a_function(self):
        nodes, *_ = rewritten("ResourceGather", "v", "ids", function="f")
        assert nodes["n"] == ("GatherV2", "v", "ids", "n/axis:output:0")

    @pytest.mark.parametrize(
        ("op", "becomes"), [("ResourceGatherNd", "GatherNd"), ("VariableShape", "Shape")]
    )
    def test_reference_ops_become_the_ops_for_values(self, op, becomes):
        nodes, *_ = rewritten(op, "v")
        assert nodes == {"n": (becomes, "v")}

    def test_a_question_about_initialization_depends_on_the_variable(self):
        nodes, *_ = rewritten("VarIsInitializedOp", "v", "^after")
        assert nodes == {"n/rank": ("Rank", "v"), "n": ("Equal", "n/rank", "n/rank", "^after")}

    def test_disable_copy_on_read_becomes_a_no_op(self):
        assert rewritten("DisableCopyOnRead", "v", "^after")[0] == {"n": ("NoOp", "^after")}

    def test_a_choice_between_references_is_a_gather(self):
        nodes, *_ = rewritten("RefSelect", "which", "u", "v", "^after")
        assert nodes["n"][0] == "GatherV2"
        assert nodes["n/choices"] == ("Pack", "u", "v", "^after")
        assert nodes["n"][1:3] == ("n/choices", "which")

    def test_a_choice_between_shapes_is_refused(self):
        unknown = HandleValue(FLOAT, None, ("u", "v"), reference=True)
        with pytest.raises(FreezeError, match=r"node n \(RefSelect\).*different shapes; got u, v"):
            rewritten("RefSelect", "which", "u", "v", value=unknown)


def test_true_keeps_its_control_inputs():
    node = schema.NodeDef(name="n", op="IsVariableInitialized", input=["v", "^after"])
    rewrites.set_true(node)
    assert (node.op, [*node.input]) == ("Const", ["^after"])
    assert [*node.attr["value"].tensor.bool_val] == [True]


def test_a_damaged_call_that_lists_too_few_types():
    node = schema.NodeDef(name="n", op="PartitionedCall")
    node.attr["Tin"].list.type.append(RESOURCE)
    retype_call(node, Call(("f",), types="Tin"), (VALUE, VALUE), ())
    assert [*node.attr["Tin"].list.type] == [FLOAT]


def test_the_types_of_a_call():
    """Its functions have captured one argument; the other two are inputs after the condition."""
    node = schema.NodeDef(name="n", op="If")
    node.attr["Tin"].list.type.extend([RESOURCE, 3])
    node.attr["Tout"].list.type.extend([3, RESOURCE])
    node.attr["output_shapes"].list.shape.add().dim.add(size=7)
    node.attr["output_shapes"].list.shape.add()
    call = Call(("f",), types="Tin", returns="Tout", captured=1)
    retype_call(node, call, (None, VALUE, None), (None, VALUE))
    assert [*node.attr["Tin"].list.type] == [FLOAT, 3]
    assert [*node.attr["Tout"].list.type] == [3, FLOAT]
    shapes = [[dim.size for dim in s.dim] for s in node.attr["output_shapes"].list.shape]
    assert shapes == [[7], [5, 3]]
