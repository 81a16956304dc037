"""Handles that flow through nodes, functions and loops: what is rewritten, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import parse_text
from tfpersist.formats.tensors import payload_of
from tfpersist.graph.constants.variables import replace_variables
from tfpersist.graph.structure.lowered import Lowered

VARIABLE = """node { name: "%s" op: "VarHandleOp" attr { key: "dtype" value { type: %s } }
  attr { key: "shape" value { shape { dim { size: %s } } } } } """
V = VARIABLE % ("v", "DT_FLOAT", 3)
W = VARIABLE % ("w", "DT_FLOAT", 3)
HALF = VARIABLE % ("w", "DT_HALF", 3)
LONG = VARIABLE % ("w", "DT_FLOAT", 5)
READ = (
    'node { name: "y" op: "ReadVariableOp" input: "%s" attr { key: "dtype" value { type: 1 } } } '
)
RESOURCE = 'attr { key: "T" value { type: DT_RESOURCE } }'


def frozen(text, keep=(), **values):
    arrays = {"v": np.ones(3, np.float32), "w": np.ones(3, np.float32), **values}
    payloads = {name: payload_of(array) for name, array in arrays.items()}
    graph = parse_text(text.replace("type: 1 ", "type: DT_FLOAT ").encode())
    return replace_variables(Lowered(graph, payloads), keep)


def function(name, args, rets, body, returns):
    args = " ".join(f'input_arg {{ name: "{a}" type: {t} }}' for a, t in args)
    outs = " ".join(f'output_arg {{ name: "{a}" type: {t} }}' for a, t in rets)
    ret = " ".join(f'ret {{ key: "{k}" value: "{v}" }}' for k, v in returns.items())
    return f'function {{ signature {{ name: "{name}" {args} {outs} }} {body} {ret} }}'


def test_a_handle_passes_through_and_is_read():
    graph = frozen(V + f'node {{ name: "i" op: "Identity" input: "v" {RESOURCE} }}' + READ % "i")
    assert [(n.name, n.op) for n in graph.proto.node] == [
        ("v", "Const"), ("i", "Identity"), ("y", "Identity"),
    ]  # fmt: skip
    assert {n.attr["T"].type for n in graph.proto.node if n.op == "Identity"} == {1}


def test_a_merge_of_variables_of_two_shapes_is_fine_and_of_two_types_is_not():
    merge = f'node {{ name: "m" op: "Merge" input: "v" input: "w" {RESOURCE} }}'
    graph = frozen(V + LONG + merge + READ % "m", w=np.ones(5, np.float32))
    assert graph.nodes["m"].attr["T"].type == 1
    with pytest.raises(FreezeError, match=r"different types.*node m \(Merge\)|node m.*different"):
        frozen(V + HALF + merge + READ % "m", w=np.ones(3, np.float16))
    with pytest.raises(FreezeError, match=r"node m \(Merge\).*'v'"):
        frozen(V + W + merge + READ % "m", keep={"w"})


def test_a_variable_that_comes_later_is_known_behind_the_merge():
    """It comes through an Identity, so the nodes behind the Merge have been looked at before."""
    text = V + LONG + f'node {{ name: "i" op: "Identity" input: "w" {RESOURCE} }}'
    text += f'node {{ name: "m" op: "Merge" input: "v" input: "i" {RESOURCE} }}'
    graph = frozen(text + READ % "m", w=np.ones(5, np.float32))
    assert "_output_shapes" not in graph.nodes["y"].attr
    write = 'node { name: "n" op: "AssignVariableOp" input: "m" }'
    with pytest.raises(FreezeError, match=r"node n \(AssignVariableOp\).*'v', 'w'"):
        frozen(text + write, w=np.ones(5, np.float32))


@pytest.mark.parametrize("output", ["s", "s:1"])
def test_both_outputs_of_a_switch_are_the_handle(output):
    text = V + f'node {{ name: "s" op: "Switch" input: "v" input: "p" {RESOURCE} }}'
    text += 'node { name: "p" op: "Placeholder" }' + READ % output
    graph = frozen(text)
    assert graph.nodes["s"].attr["T"].type == 1
    assert (graph.nodes["y"].op, [*graph.nodes["y"].input]) == ("Identity", [output])


def test_a_copied_function_has_no_handle_data():
    described = """function { signature { name: "f"
        input_arg { name: "x" type: DT_INT32 }
        input_arg { name: "h" type: DT_RESOURCE handle_data { dtype: DT_FLOAT } } }
      arg_attr { key: 0 value { attr { key: "_kept" value { i: 1 } } } }
      arg_attr { key: 1 value { attr { key: "_resource" value { i: 1 } } } }
      resource_arg_unique_id { key: 1 value: 7 } }"""
    text = (
        V + 'node { name: "n" op: "Placeholder" } node { name: "c" op: "f" input: "n" input: "v" }'
    )
    graph = frozen(text + f"library {{ {described} }}")
    copy = graph.functions[graph.nodes["c"].op]
    assert copy.signature.name != "f"
    assert [arg.type for arg in copy.signature.input_arg] == [3, 1]
    assert not copy.signature.input_arg[1].handle_data
    assert ([*copy.arg_attr], [*copy.resource_arg_unique_id]) == ([0], [])


def test_a_function_that_returns_its_handle():
    body = (
        'node_def { name: "i" op: "Identity" input: "h"'
        ' attr { key: "T" value { type: DT_RESOURCE } } }'
    )
    library = function(
        "same", [("h", "DT_RESOURCE"), ("x", "DT_INT32")], [("o", "DT_RESOURCE")], body,
        {"o": "i:output:0"},
    )  # fmt: skip
    call = (
        'node { name: "c" op: "PartitionedCall" input: "v" input: "n"'
        ' attr { key: "f" value { func { name: "same" } } }'
        ' attr { key: "Tin" value { list { type: DT_RESOURCE type: DT_INT32 } } }'
        ' attr { key: "Tout" value { list { type: DT_RESOURCE } } } }'
        ' node { name: "n" op: "Const" }'
    )
    graph = frozen(V + call + READ % "c" + f"library {{ {library} }}")
    assert list(graph.nodes["c"].attr["Tin"].list.type) == [1, 3]
    assert list(graph.nodes["c"].attr["Tout"].list.type) == [1]
    clone = graph.functions[graph.nodes["c"].attr["f"].func.name]
    assert [arg.type for arg in clone.signature.input_arg] == [1, 3]
    assert clone.signature.output_arg[0].type == 1
    assert clone.node_def[0].attr["T"].type == 1


def test_one_function_for_two_types_becomes_two():
    body = (
        'node_def { name: "r" op: "VariableShape" input: "h" }'
        ' node_def { name: "s" op: "Neg" input: "r:output:0"'
        ' attr { key: "T" value { type: DT_INT32 } } }'
    )
    library = function("f", [("h", "DT_RESOURCE")], [("o", "DT_INT32")], body, {"o": "s:y:0"})
    call = (
        'node { name: "%s" op: "StatefulPartitionedCall" input: "%s"'
        ' attr { key: "f" value { func { name: "f" } } }'
        ' attr { key: "Tin" value { list { type: DT_RESOURCE } } }'
        ' attr { key: "Tout" value { list { type: DT_INT32 } } } } '
    )
    calls = call % ("a", "v") + call % ("b", "w") + call % ("c", "v")
    graph = frozen(V + HALF + calls + f"library {{ {library} }}", w=np.ones(3, np.float16))
    names = [graph.nodes[name].attr["f"].func.name for name in "abc"]
    assert names[0] == names[2] != names[1]
    assert [graph.functions[n].node_def[0].attr["T"].type for n in names[:2]] == [1, 19]


def test_a_function_that_calls_itself():
    body = (
        'node_def { name: "again" op: "f" input: "h" }'
        ' node_def { name: "r" op: "ReadVariableOp" input: "h"'
        ' attr { key: "dtype" value { type: DT_FLOAT } } }'
    )
    library = function("f", [("h", "DT_RESOURCE")], [("o", "DT_FLOAT")], body, {"o": "r:value:0"})
    graph = frozen(V + 'node { name: "y" op: "f" input: "v" }' + f"library {{ {library} }}")
    clone = graph.functions[graph.nodes["y"].op]
    assert clone.node_def[0].op == clone.signature.name
    assert clone.ret["o"] == "r:output:0"


def test_functions_that_are_nested_too_deep():
    bodies = [
        function(
            f"f{i}", [("h", "DT_RESOURCE")], [],
            f'node_def {{ name: "n" op: "f{i + 1}" input: "h" }}', {},
        )
        for i in range(2000)
    ]  # fmt: skip
    text = V + 'node { name: "y" op: "f0" input: "v" }' + f"library {{ {' '.join(bodies)} }}"
    with pytest.raises(FreezeError, match="nested too deep"):
        frozen(text)


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("AssignVariableOp", 'attr { key: "dtype" value { type: DT_FLOAT } }'),
        ("ResourceScatterAdd", ""),
        ("OpOfSomebodyElse", ""),
        ("SymbolicGradient", ""),
    ],
)
def test_other_users_of_a_handle_are_named(op, attrs):
    text = V + f'node {{ name: "n" op: "{op}" input: "v" {attrs} }}'
    with pytest.raises(FreezeError, match=rf"node n \({op}\).*'v'.*keep_variables"):
        frozen(text)


BRANCHES = [
    function("one", [("h", "DT_RESOURCE")], [("o", "DT_RESOURCE")], "", {"o": "h"}),
    function(
        "two",
        [("h", "DT_RESOURCE")],
        [("o", "DT_RESOURCE")],
        'node_def { name: "other" op: "VarHandleOp" }',
        {"o": "other:resource:0"},
    ),
]
CHOICE = (
    'node { name: "p" op: "Placeholder" } node { name: "c" op: "If" input: "p" input: "v"'
    ' attr { key: "then_branch" value { func { name: "%s" } } }'
    ' attr { key: "else_branch" value { func { name: "%s" } } }'
    ' attr { key: "Tin" value { list { type: DT_RESOURCE } } }'
    ' attr { key: "Tout" value { list { type: DT_RESOURCE } } } } '
)


def test_branches_that_both_return_the_handle():
    text = V + CHOICE % ("one", "one") + READ % "c" + f"library {{ {BRANCHES[0]} }}"
    graph = frozen(text)
    assert [*graph.nodes["c"].attr["Tout"].list.type] == [1]
    assert graph.nodes["y"].op == "Identity"


def test_a_branch_that_returns_another_handle():
    text = V + CHOICE % ("one", "two") + READ % "c" + f"library {{ {''.join(BRANCHES)} }}"
    with pytest.raises(FreezeError, match=r"node c \(If\): one branch returns a variable"):
        frozen(text)


LOOP = (
    'node { name: "l" op: "While" input: "v" input: "w"'
    ' attr { key: "cond" value { func { name: "on" } } }'
    ' attr { key: "body" value { func { name: "step" } } }'
    ' attr { key: "T" value { list { type: DT_RESOURCE type: DT_HALF } } } }'
    ' node { name: "w" op: "Placeholder" attr { key: "dtype" value { type: DT_HALF } } } '
)
PAIR = [("h", "DT_RESOURCE"), ("x", "DT_HALF")]
ON = function(
    "on", PAIR, [("o", "DT_BOOL")], 'node_def { name: "t" op: "Const" }', {"o": "t:output:0"}
)


def test_a_loop_passes_values_around():
    step = function(
        "step", PAIR, [("a", "DT_RESOURCE"), ("b", "DT_HALF")], "", {"a": "h", "b": "x"}
    )
    graph = frozen(V + LOOP + READ % "l" + f"library {{ {ON} {step} }}")
    assert [*graph.nodes["l"].attr["T"].list.type] == [1, 19]
    for attr in ("cond", "body"):
        copy = graph.functions[graph.nodes["l"].attr[attr].func.name]
        assert [arg.type for arg in copy.signature.input_arg] == [1, 19]


def test_a_loop_whose_body_exchanges_its_variables():
    step = function(
        "step", PAIR, [("a", "DT_HALF"), ("b", "DT_RESOURCE")], "", {"a": "x", "b": "h"}
    )
    with pytest.raises(FreezeError, match=r"node l \(While\): the body of this loop returns"):
        frozen(V + LOOP + READ % "l" + f"library {{ {ON} {step} }}")


def test_an_identity_of_several_tensors():
    text = (
        V + W + 'node { name: "n" op: "IdentityN" input: "v" input: "x" input: "w"'
        ' attr { key: "T" value { list { type: DT_RESOURCE type: DT_INT32 type: DT_RESOURCE } } } }'
        ' node { name: "x" op: "Placeholder" }' + READ % "n:2"
    )
    graph = frozen(text)
    assert [*graph.nodes["n"].attr["T"].list.type] == [1, 3, 1]
    assert graph.nodes["y"].op == "Identity"


def test_the_question_whether_a_variable_is_initialized():
    """Asked of the variable itself it is true; behind a branch it is as dead as the branch."""
    text = (
        V + 'node { name: "n" op: "VarIsInitializedOp" input: "v" input: "^after" }'
        ' node { name: "after" op: "NoOp" }'
        f' node {{ name: "i" op: "Identity" input: "v" {RESOURCE} }}'
        ' node { name: "m" op: "VarIsInitializedOp" input: "i" }'
    )
    graph = frozen(text)
    assert (graph.nodes["n"].op, [*graph.nodes["n"].input]) == ("Const", ["^after"])
    assert (graph.nodes["m"].op, [*graph.nodes["m"].input]) == ("Equal", ["m/rank", "m/rank"])


REFERENCE = """node { name: "r" op: "VariableV2" attr { key: "dtype" value { type: DT_FLOAT } }
  attr { key: "shape" value { shape { dim { size: 3 } } } } } """


def test_a_reference_is_read_by_any_node():
    text = REFERENCE + 'node { name: "n" op: "RefIdentity" input: "r" }'
    text += 'node { name: "y" op: "Neg" input: "n" attr { key: "T" value { type: DT_FLOAT } } }'
    graph = frozen(text, r=np.ones(3, np.float32))
    assert [node.op for node in graph.proto.node] == ["Const", "Identity", "Neg"]


def test_a_node_that_writes_a_reference_is_refused():
    text = REFERENCE + 'node { name: "n" op: "AssignAdd" input: "r" input: "r" }'
    with pytest.raises(FreezeError, match=r"node n \(AssignAdd\): .*'r'"):
        frozen(text, r=np.ones(3, np.float32))


def test_a_function_with_any_number_of_arguments():
    many = (
        'function { signature { name: "many" input_arg { name: "h" type: DT_RESOURCE'
        ' number_attr: "N" } } }'
    )
    text = V + 'node { name: "n" op: "many" input: "v" }' + f"library {{ {many} }}"
    with pytest.raises(FreezeError, match=r"function many: .*number of arguments; got v"):
        frozen(text)
