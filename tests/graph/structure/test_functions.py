"""Functions of the library: who calls whom, and what they are called."""

from __future__ import annotations

from tfpersist.formats import schema
from tfpersist.formats.graphdef import parse_text
from tfpersist.graph.structure.functions import (
    called,
    calls_no_function,
    names_in,
    prune_library,
    reachable,
    references,
    rename_functions,
    settle_names,
    unused,
)


def library(**calls):
    """Make FunctionDefs, each with a node for each function that it calls."""
    functions = {}
    for name, callees in calls.items():
        functions[name] = schema.FunctionDef(
            node_def=[schema.NodeDef(name=f"n{n}", op=callee) for n, callee in enumerate(callees)]
        )
        functions[name].signature.name = name
    return functions


def test_functions_are_found_in_lists_and_in_the_attrs_of_functions():
    case = schema.NodeDef(name="n", op="Case")
    branches = case.attr["branches"].list.func
    branches.add(name="first")
    branches.add(name="second").attr["inner"].func.name = "third"
    branches[1].attr["inner"].func.attr["innermost"].list.func.add(name="fourth")
    branches[1].attr["empty"].func.SetInParent()
    assert sorted(names_in(case.attr)) == ["first", "fourth", "second", "third"]


def test_functions_in_lists_and_in_attrs_of_functions():
    node = parse_text(b"""node { name: "c" op: "Case"
      attr { key: "branches" value { list { func { name: "f" } func { name: "g"
        attr { key: "inner" value { func { name: "h" } } } } } } } }""").nodes["c"]
    assert [function.name for function in references(node)] == ["f", "g", "h"]
    assert called(node, {"h": None, "g": None}) == ["g", "h"]


def test_names_do_not_depend_on_the_counter_of_the_process():
    def library(first, second):
        text = f"""
        node {{ name: "c" op: "PartitionedCall"
          attr {{ key: "f" value {{ func {{ name: "__inference_call_{first}" }} }} }} }}
        library {{
          function {{ signature {{ name: "__inference_call_{first}"
            input_arg {{ name: "while_cond_{second}_x" }} }}
            node_def {{ name: "n" op: "while_cond_{second}_frozen"
              input: "while_cond_{second}_x" }} }}
          function {{ signature {{ name: "while_cond_{second}_frozen" }} }}
          function {{ signature {{ name: "__inference_call_{first}_{second}" }} }}
          function {{ signature {{ name: "Identity_3" }} }} }}"""
        proto = parse_text(text.encode()).proto
        settle_names(proto)
        return proto

    proto = library(3, 17)
    assert proto == library(9, 101)
    names = [function.signature.name.rpartition("__")[0] for function in proto.library.function]
    assert names == ["call", "while_cond", "call_1", "Identity_1"]
    assert proto.node[0].attr["f"].func.name == proto.library.function[0].signature.name
    settled = proto.SerializeToString(deterministic=True)
    settle_names(proto)
    assert proto.SerializeToString(deterministic=True) == settled


def test_unused_names():
    assert unused("a", ["b"]) == "a"
    assert unused("a", {"a", "a_1", "a_3"}) == "a_2"


def test_reachable_functions_are_in_the_order_of_their_calls():
    functions = library(f=["h", "g"], g=["k"], h=["f"], k=[], g_grad=["lost"], lost=[], alone=[])
    nodes = [schema.NodeDef(name="a", op="g"), schema.NodeDef(name="b", op="f")]
    gradients = {"g": "g_grad", "k": "nowhere", "alone": "lost"}
    assert reachable(nodes, functions, gradients) == ["g", "f", "k", "g_grad", "h", "lost"]
    assert reachable(nodes, functions, {}) == ["g", "f", "k", "h"]
    assert reachable(nodes, {}, gradients) == []


def test_a_gradient_stays_with_its_function():
    graph = schema.GraphDef(node=[schema.NodeDef(name="a", op="f")])
    graph.library.function.extend(library(f=[], f_grad=[], g=[], g_grad=[]).values())
    for name in "fg":
        graph.library.gradient.add(function_name=name, gradient_func=f"{name}_grad")
    graph.library.gradient.add(function_name="f_grad", gradient_func="gone")
    prune_library(graph)
    assert [function.signature.name for function in graph.library.function] == ["f", "f_grad"]
    assert [pair.function_name for pair in graph.library.gradient] == ["f"]


def test_a_new_name_replaces_every_use_of_the_old_one():
    graph = schema.GraphDef(node=[schema.NodeDef(name="a", op="f"), schema.NodeDef(name="f")])
    graph.node[1].attr["then"].func.name = "f"
    graph.node[1].attr["then"].func.attr["inner"].list.func.add(name="f")
    graph.library.function.extend(library(f=["f"], g=[]).values())
    graph.library.gradient.add(function_name="f", gradient_func="g")
    graph.library.gradient.add(function_name="g", gradient_func="f")
    rename_functions(graph, {"f": "new"})
    assert [node.name for node in graph.node] == ["a", "f"]
    then = graph.node[1].attr["then"].func
    assert (graph.node[0].op, then.name, then.attr["inner"].list.func[0].name) == ("new",) * 3
    assert [function.signature.name for function in graph.library.function] == ["new", "g"]
    assert graph.library.function[0].node_def[0].op == "new"
    pairs = [(pair.function_name, pair.gradient_func) for pair in graph.library.gradient]
    assert pairs == [("new", "g"), ("g", "new")]


def test_settled_names_stay_clear_of_ops_and_of_each_other():
    graph = schema.GraphDef(node=[schema.NodeDef(name="a", op="Mine")])
    names = ["__inference_Add_12", "__inference_Mine_3", "__forward_x_1", "__backward_x_2"]
    graph.library.function.extend(library(**{name: [] for name in names}).values())
    settle_names(graph)
    settled = [function.signature.name.partition("__")[0] for function in graph.library.function]
    assert settled == ["Add_1", "Mine_1", "x", "x_1"]
    digests = {function.signature.name.partition("__")[2] for function in graph.library.function}
    assert len(digests) == 1
    assert len(digests.pop()) == 8


def test_a_renamed_argument_is_renamed_where_it_is_read_and_returned():
    graph = parse_text(
        b"""library { function {
          signature { name: "__inference_f_7" input_arg { name: "inference_f_7" }
            input_arg { name: "__inference_f_7_x" } output_arg { name: "y" } }
          node_def { name: "f_x" op: "Neg" input: "__inference_f_7_x" input: "^f_x" }
          ret { key: "y" value: "__inference_f_7_x" } ret { key: "z" value: "f_x:y:0" } } }"""
    ).proto
    settle_names(graph)
    (function,) = graph.library.function
    assert [arg.name for arg in function.signature.input_arg] == ["inference_f_7", "f_x_1"]
    assert list(function.node_def[0].input) == ["f_x_1", "^f_x"]
    assert dict(function.ret) == {"y": "f_x_1", "z": "f_x:y:0"}


def test_only_a_known_op_without_function_attrs_calls_no_function():
    assert calls_no_function("MatMul")
    assert not any(map(calls_no_function, ("If", "Case", "PartitionedCall", "MyOwnOp")))
