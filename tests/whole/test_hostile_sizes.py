"""Large graphs of odd forms: four times the nodes take about four times the work."""

from __future__ import annotations

import cProfile

import pytest

import tfpersist as tfp
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.optimize.passes import optimize

SIZE = 300


def node(graph, name, op, *inputs, **attrs):
    made = graph.node.add(name=name, op=op, input=inputs)
    made.attr["T"].type = 1
    for key, value in attrs.items():
        made.attr[key].i = value


def placeholder():
    graph = schema.GraphDef()
    graph.node.add(name="x", op="Placeholder").attr["dtype"].type = 1
    return graph


def chain(size, op="Neg", times=1):
    """Each node reads the one before, so many times."""
    graph = placeholder()
    for index in range(size):
        source = f"n{index - 1}" if index else "x"
        node(graph, f"n{index}", op, *[source] * times)
    return graph


def doubling(size):
    """There are two ways from each node to the next."""
    return chain(size, "Add", times=2)


def backwards(size):
    """The nodes stand in the file from the last one to the first."""
    return schema.GraphDef(node=reversed(chain(size).node))


def conditions(size):
    """Each condition is the same constant."""
    graph = placeholder()
    always = graph.node.add(name="p", op="Const")
    always.attr["dtype"].type = 10
    always.attr["value"].tensor.dtype = 10
    always.attr["value"].tensor.bool_val.append(True)
    always.attr["value"].tensor.tensor_shape.SetInParent()
    for index in range(size // 3):
        node(graph, f"s{index}", "Switch", f"n{index - 1}" if index else "x", "p")
        node(graph, f"m{index}", "Merge", f"s{index}", f"s{index}:1", N=2)
        node(graph, f"n{index}", "Neg", f"m{index}")
    return graph


def functions(size):
    """Each node calls a function of its own."""
    graph = placeholder()
    for index in range(size):
        function = graph.library.function.add()
        function.signature.name = f"f{index}"
        function.signature.input_arg.add(name="a", type=1)
        function.signature.output_arg.add(name="r", type=1)
        function.node_def.add(name="k", op="Neg", input=["a"]).attr["T"].type = 1
        function.ret["r"] = "k:y:0"
        call = graph.node.add(name=f"n{index}", op="PartitionedCall")
        call.input.append(f"n{index - 1}" if index else "x")
        call.attr["Tin"].list.type.append(1)
        call.attr["Tout"].list.type.append(1)
        call.attr["f"].func.name = f"f{index}"
    return graph


def branches(size):
    """Each node is a condition with two functions of its own."""
    graph = placeholder()
    graph.node.add(name="p", op="Placeholder").attr["dtype"].type = 10
    for index in range(size):
        call = graph.node.add(name=f"n{index}", op="If", input=["p"])
        call.input.append(f"n{index - 1}" if index else "x")
        call.attr["Tcond"].type = 10
        call.attr["Tin"].list.type.append(1)
        call.attr["Tout"].list.type.append(1)
        for branch in ("then_branch", "else_branch"):
            function = graph.library.function.add()
            function.signature.name = call.attr[branch].func.name = f"{branch}_{index}"
            function.signature.input_arg.add(name=f"{branch}_{index}_x", type=1)
            function.signature.output_arg.add(name="r", type=1)
            body = function.node_def.add(name="k", op="Neg", input=[f"{branch}_{index}_x"])
            body.attr["T"].type = 1
            function.ret["r"] = "k:y:0"
    return graph


def chains(size):
    """Functions call each other, and the last one has an effect."""
    graph = placeholder()
    depth = size // 5 + 1
    for index in range(size):
        function = graph.library.function.add()
        function.signature.name = f"f{index}"
        function.signature.input_arg.add(name="a", type=1)
        function.signature.output_arg.add(name="r", type=1)
        function.ret["r"] = "k:output:0"
        if index % depth:
            inner = function.node_def.add(name="k", op=f"f{index - 1}", input=["a"])
            function.ret["r"] = "k:r:0"
        else:
            inner = function.node_def.add(name="k", op="EnsureShape", input=["a"])
            inner.attr["T"].type = 1
        call = graph.node.add(name=f"n{index}", op="StatefulPartitionedCall", input=["x"])
        if index % depth == depth - 1:
            call.attr["Tin"].list.type.append(1)
            call.attr["Tout"].list.type.append(1)
            call.attr["f"].func.name = f"f{index}"
        else:
            call.op = "Identity"
            call.attr["T"].type = 1
    return graph


def loop(size):
    """A loop of TensorFlow 1 with a long body."""
    graph = placeholder()
    for name, op, inputs in (
        ("p", "Const", ()),
        ("again", "Enter", ("p",)),
        ("enter", "Enter", ("x",)),
        ("merge", "Merge", ("enter", "next")),
        ("cond", "LoopCond", ("again",)),
        ("switch", "Switch", ("merge", "cond")),
        ("exit", "Exit", ("switch",)),
    ):
        node(graph, name, op, *inputs)
        if op == "Enter":
            graph.node[-1].attr["frame_name"].s = b"loop"
    graph.node[1].attr["dtype"].type = graph.node[2].attr["T"].type = 10
    for index in range(size):
        node(graph, f"n{index}", "Neg", f"n{index - 1}" if index else "switch:1")
    node(graph, "next", "NextIteration", graph.node[-1].name)
    node(graph, "y", "Neg", "exit")
    return graph


def wide(size):
    """One node reads another one very often, and waits for it as often."""
    graph = placeholder()
    node(graph, "y", "AddN", *["x"] * size, *["^x"] * size, N=size)
    return graph


def ports(size):
    """Each node reads another output of one node."""
    graph = placeholder()
    graph.node.add(name="d", op="Const").attr["dtype"].type = 3
    node(graph, "split", "Split", "d", "x", num_split=size)
    for index in range(size):
        node(graph, f"n{index}", "Neg", f"split:{index}")
    node(graph, "y", "AddN", *(f"n{index}" for index in range(size)), N=size)
    return graph


def alike(size):
    """The names are long and differ in little."""
    graph = placeholder()
    for index in range(size):
        node(graph, "abc" * 300 + f"{index:06}", "Neg", "x")
    return graph


def scan(graph, path):
    del graph
    tfp.Policy().check(tfp.safety.scan(path))


def show(graph, path):
    del graph
    str(tfp.FrozenModel.load(path))


def miss(graph, path):
    with pytest.raises(tfp.NameNotFoundError):
        tfp.Freezer(path).outputs(graph.node[-1].name + "q").freeze()


def propose(graph, path):
    del graph
    with pytest.raises(tfp.FreezeError, match="no outputs are named"):
        tfp.Freezer(path).freeze()


def freeze(graph, path):
    tfp.Freezer(path).outputs(graph.node[-1].name).freeze()


def shrink(graph, path):
    del path
    optimize(Graph(graph), [graph.node[-1].name])


def convert(graph, path):
    tfp.Freezer(path).outputs(graph.node[-1].name).portable("onnx").freeze()


def work(step, graph, path):
    """Return how often functions are called, or go on, in a step."""
    path.write_bytes(graph.SerializeToString())
    profile = cProfile.Profile()
    profile.enable()
    step(graph, path)
    profile.disable()
    return sum(entry.callcount for entry in profile.getstats())


@pytest.mark.parametrize("step", [scan, show, miss, propose, freeze, shrink, convert])
@pytest.mark.parametrize(
    "make",
    [
        *(chain, doubling, backwards, conditions, functions, branches, chains, loop, wide, ports),
        alike,
    ],
    ids=lambda made: made.__name__,
)
def test_work_grows_as_the_graph_does(make, step, tmp_path):
    path = tmp_path / "m.pb"
    work(step, make(3), path)
    small, large = (work(step, make(size), path) for size in (SIZE, 4 * SIZE))
    assert large <= 5 * small
