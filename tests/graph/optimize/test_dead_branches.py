"""Branches that never run: what is removed, and what stays."""

import json

import pytest

from tfpersist.formats.graphdef import parse_text
from tfpersist.graph.optimize.dead_branches import remove_dead_branches


def node(name, op, *inputs, **attrs):
    lines = "".join(f' attr {{ key: "{key}" value {{ {text} }} }}' for key, text in attrs.items())
    return (
        f"node {{ name: {json.dumps(name)} op: {json.dumps(op)}"
        + "".join(f" input: {json.dumps(one)}" for one in inputs)
        + f"{lines} }}\n"
    )


def constant(name, dtype, value, dims=""):
    tensor = f"tensor {{ dtype: {dtype} tensor_shape {{ {dims} }} {value} }}"
    return node(name, "Const", dtype=f"type: {dtype}", value=tensor)


FLOAT = {"T": "type: DT_FLOAT"}
TRUE = constant("p", "DT_BOOL", "bool_val: true")
ONE = constant("one", "DT_FLOAT", "float_val: 1")
X = node("x", "Placeholder", dtype="type: DT_FLOAT")


def left_of(*nodes):
    """Return {name: (op, *inputs)} of the nodes that stay."""
    graph = remove_dead_branches(parse_text("".join(nodes).encode()))
    return {each.name: (each.op, *each.input) for each in graph.proto.node}


class TestBranches:
    def test_the_value_index_of_a_merge_is_a_constant(self):
        found = left_of(
            TRUE,
            X,
            node("s", "Switch", "x", "p", **FLOAT),
            node("a", "Neg", "s", **FLOAT),
            node("b", "Abs", "s:1", **FLOAT),
            node("m", "Merge", "a", "b", **FLOAT),
            node("which", "Neg", "m:1", T="type: DT_INT32"),
            node("after", "NoOp", "^a"),
        )
        assert found["m"] == ("Identity", "b")
        assert found["which"] == ("Neg", "m/value_index")
        assert found["m/value_index"] == ("Const", "^m")
        assert not {"a", "after"} & set(found)

    def test_a_loop_in_a_dead_branch_goes(self):
        found = left_of(
            TRUE,
            X,
            node("s", "Switch", "x", "p", **FLOAT),
            node("enter", "Enter", "s", **FLOAT),
            node("turn", "Merge", "enter", "next", **FLOAT),
            node("on", "LoopCond", "asks"),
            node("asks", "Less", "turn", "turn", **FLOAT),
            node("loop", "Switch", "turn", "on", **FLOAT),
            node("next", "NextIteration", "loop:1", **FLOAT),
            node("exit", "Exit", "loop", **FLOAT),
            node("m", "Merge", "exit", "s:1", **FLOAT),
        )
        assert set(found) == {"p", "x", "s", "m"}

    def test_a_loop_that_runs_stays(self):
        loop = (
            X,
            node("enter", "Enter", "x", **FLOAT),
            node("turn", "Merge", "enter", "next", **FLOAT),
            node("on", "LoopCond", "asks"),
            node("asks", "Less", "turn", "turn", **FLOAT),
            node("loop", "Switch", "turn", "on", **FLOAT),
            node("next", "NextIteration", "loop:1", **FLOAT),
            node("exit", "Exit", "loop", **FLOAT),
        )
        assert left_of(*loop)["turn"] == ("Merge", "enter", "next")
        assert len(left_of(*loop)) == len(loop)

    def test_a_dropout_of_old_releases_that_keeps_everything_goes(self):
        nodes = (
            X,
            ONE,
            node("shape", "Shape", "x", **FLOAT),
            node("u", "RandomUniform", "shape", dtype="type: DT_FLOAT", T="type: DT_INT32"),
            node("sum", "Add", "one", "u", **FLOAT),
            node("floor", "Floor", "sum", **FLOAT),
            node("scaled", "RealDiv", "x", "one", **FLOAT),
            node("y", "Mul", "scaled", "floor", **FLOAT),
        )
        assert left_of(*nodes)["y"] == ("Identity", "scaled")
        assert left_of(*nodes)["scaled"] == ("Identity", "x")

    def test_a_mask_of_another_shape_stays(self):
        found = left_of(
            X,
            ONE,
            node("other", "Placeholder", dtype="type: DT_FLOAT"),
            node("shape", "Shape", "other", **FLOAT),
            node("u", "RandomUniform", "shape", dtype="type: DT_FLOAT", T="type: DT_INT32"),
            node("sum", "Add", "one", "u", **FLOAT),
            node("floor", "Floor", "sum", **FLOAT),
            node("y", "Mul", "x", "floor", **FLOAT),
        )
        assert found["y"] == ("Mul", "x", "floor")

    def test_the_graph_of_the_caller_is_not_changed(self):
        graph = parse_text((TRUE + node("n", "LogicalNot", "p")).encode())
        before = graph.proto.SerializeToString(deterministic=True)
        assert remove_dead_branches(graph).nodes["n"].op == "Const"
        assert graph.proto.SerializeToString(deterministic=True) == before


def called_branch(index):
    text = "".join(
        [
            constant("index", "DT_INT32", f"int_val: {index}"),
            X,
            node(
                "y",
                "Case",
                "index",
                "x",
                branches="list {" + "".join(f' func {{ name: "b{n}" }}' for n in range(3)) + "}",
            ),
        ]
    )
    call = remove_dead_branches(parse_text(text.encode())).nodes["y"]
    assert (call.op, *call.input) == ("StatefulPartitionedCall", "x")
    return call.attr["f"].func.name


class TestCase:
    @pytest.mark.parametrize(
        ("index", "branch"), [(0, "b0"), (2, "b2"), (3, "b2"), (-1, "b2"), (-2, "b2"), (-3, "b2")]
    )
    def test_an_index_out_of_range_runs_the_last_branch(self, index, branch):
        assert called_branch(index) == branch


def test_an_if_whose_condition_is_a_vector_stays():
    """TensorFlow takes a vector for true unless it is empty."""
    branches = {key: f'func {{ name: "{key}" }}' for key in ("then_branch", "else_branch")}
    found = left_of(
        constant("p", "DT_BOOL", "bool_val: false", "dim { size: 1 }"),
        X,
        node("y", "If", "p", "x", **branches),
    )
    assert found["y"] == ("If", "p", "x")


class TestLogic:
    """A false input decides an "and", a true one an "or", if the other input is a scalar too."""

    @pytest.mark.parametrize(("op", "value"), [("LogicalAnd", "false"), ("LogicalOr", "true")])
    @pytest.mark.parametrize("turned", [False, True])
    def test_one_input_decides_the_result(self, op, value, turned):
        inputs = ("q", "p") if turned else ("p", "q")
        found = left_of(
            constant("p", "DT_BOOL", f"bool_val: {value}"),
            node("q", "Placeholder", dtype="type: DT_BOOL", shape="shape {}"),
            node("y", op, *inputs),
        )
        assert found["y"] == ("Const", "^q")

    @pytest.mark.parametrize(("op", "value"), [("LogicalAnd", "true"), ("LogicalOr", "false")])
    def test_the_other_value_does_not(self, op, value):
        found = left_of(
            constant("p", "DT_BOOL", f"bool_val: {value}"),
            node("q", "Placeholder", dtype="type: DT_BOOL", shape="shape {}"),
            node("y", op, "p", "q"),
        )
        assert found["y"] == (op, "p", "q")

    @pytest.mark.parametrize("shape", ["shape { dim { size: 3 } }", "shape { unknown_rank: true }"])
    def test_a_result_of_another_shape_stays_computed(self, shape):
        found = left_of(
            constant("p", "DT_BOOL", "bool_val: false"),
            node("q", "Placeholder", dtype="type: DT_BOOL", shape=shape),
            node("y", "LogicalAnd", "p", "q"),
        )
        assert found["y"] == ("LogicalAnd", "p", "q")

    def test_an_input_from_a_branch_stays_read(self):
        """A control input from a Switch does not tell which of its outputs is live."""
        found = left_of(
            constant("p", "DT_BOOL", "bool_val: false"),
            node("q", "Placeholder", dtype="type: DT_BOOL", shape="shape {}"),
            node(
                "s",
                "Switch",
                "q",
                "q",
                T="type: DT_BOOL",
                _output_shapes="list { shape {} shape {} }",
            ),
            node("y", "LogicalAnd", "p", "s:1"),
        )
        assert found["y"] == ("LogicalAnd", "p", "s:1")

    def test_a_vector_does_not_decide_a_result(self):
        found = left_of(
            constant("p", "DT_BOOL", "bool_val: false", "dim { size: 1 }"),
            node("q", "Placeholder", dtype="type: DT_BOOL", shape="shape {}"),
            node("y", "LogicalAnd", "p", "q"),
        )
        assert found["y"] == ("LogicalAnd", "p", "q")
