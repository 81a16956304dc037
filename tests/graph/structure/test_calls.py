"""Calls of functions by nodes, and the copy of a function for one call."""

from __future__ import annotations

import pytest

from tfpersist.formats import schema
from tfpersist.formats.graphdef import parse_text
from tfpersist.graph.structure.calls import Callee, call_of

FLOAT, INT32, BOOL = 1, 3, 10
LIBRARY = {name: schema.FunctionDef() for name in ("f", "g", "h")}


def node(op, functions=(), types=None, **attrs):
    made = schema.NodeDef(name="call", op=op)
    for key, names in dict(functions).items():
        if isinstance(names, str):
            made.attr[key].func.name = names
        else:
            for name in names:
                made.attr[key].list.func.add(name=name)
    for key, numbers in (types or {}).items():
        made.attr[key].list.type.extend(numbers)
    for key, number in attrs.items():
        made.attr[key].i = number
    return made


@pytest.mark.parametrize(
    ("call", "targets", "skip", "types", "returns", "loops"),
    [
        (node("f"), ("f",), 0, None, None, False),
        (node("PartitionedCall", {"f": "g"}), ("g",), 0, "Tin", "Tout", False),
        (node("StatefulPartitionedCall", {"f": "g"}), ("g",), 0, "Tin", "Tout", False),
        *(
            (
                node(op, {"else_branch": "g", "then_branch": "f"}),
                ("f", "g"),
                1,
                "Tin",
                "Tout",
                False,
            )
            for op in ("If", "StatelessIf")
        ),
        *(
            (node(op, {"branches": ["h", "f"]}), ("h", "f"), 1, "Tin", "Tout", False)
            for op in ("Case", "StatelessCase")
        ),
        *(
            (node(op, {"body": "g", "cond": "h"}), ("h", "g"), 0, "T", "T", True)
            for op in ("While", "StatelessWhile")
        ),
    ],
    ids=lambda value: value.op if hasattr(value, "op") else "",
)
def test_the_form_of_each_call(call, targets, skip, types, returns, loops):
    found = call_of(call, LIBRARY)
    assert (found.targets, found.skip, found.types) == (targets, skip, types)
    assert (found.returns, found.loops, found.captured) == (returns, loops, 0)


@pytest.mark.parametrize(
    "call",
    [
        node("Neg"),
        node("PartitionedCall"),
        node("If", {"then_branch": "f", "else_branch": "gone"}),
        node("RemoteCall", {"f": "f"}),
        node("MyOwnOp", {"f": "f"}, {"Targuments": [FLOAT]}),
        node("MapDataset", {"f": "f", "g": "g"}, {"Targuments": []}),
        node("MapDataset", {"f": "gone"}, {"Targuments": []}),
    ],
    ids=lambda call: call.op,
)
def test_nodes_that_call_no_known_function(call):
    assert call_of(call, LIBRARY) is None


def test_a_dataset_passes_an_element_before_what_it_captured():
    function = schema.FunctionDef()
    for name in ("element", "image", "weight", "bias"):
        function.signature.input_arg.add(name=name)
    dataset = node("MapDataset", {"f": "f"}, {"Targuments": [FLOAT, INT32]})
    call = call_of(dataset, {"f": function})
    assert (call.targets, call.skip, call.types, call.captured) == (("f",), 1, "Targuments", 2)
    assert call.arguments(("dataset", "w", "b")) == (None, None, "w", "b")
    dataset.attr["Targuments"].list.type[:] = []
    call = call_of(dataset, {"f": function})
    assert (call.skip, call.captured) == (0, 4)


def test_arguments_are_the_inputs_after_the_first_ones():
    call = call_of(node("If", {"then_branch": "f", "else_branch": "g"}), LIBRARY)
    assert call.arguments(("predicate", "a", None)) == ("a", None)


def test_a_call_is_redirected_where_it_names_the_function():
    while_loop = node("While", {"cond": "f", "body": "g"})
    while_loop.attr["body"].func.attr["inner"].func.name = "f"
    call_of(while_loop, LIBRARY).redirect(while_loop, {"f": "new"})
    assert while_loop.attr["cond"].func.name == "new"
    assert while_loop.attr["body"].func.name == "g"
    assert while_loop.attr["body"].func.attr["inner"].func.name == "new"
    by_op = node("f")
    call_of(by_op, LIBRARY).redirect(by_op, {"f": "new"})
    assert by_op.op == "new"


def function(text):
    graph = parse_text(f"library {{ function {{ {text} }} }}".encode())
    return graph.functions["f"], graph.functions


GENERIC = """
signature { name: "f" attr { name: "T" type: "type" } attr { name: "N" type: "int" }
  input_arg { name: "xs" type_attr: "T" number_attr: "N" } input_arg { name: "p" type: DT_BOOL }
  output_arg { name: "y" type_attr: "T" } output_arg { name: "q" type: DT_BOOL } }
node_def { name: "sum" op: "AddN" input: "xs:0" input: "xs:1" input: "^check"
  attr { key: "N" value { placeholder: "N" } } attr { key: "T" value { placeholder: "T" } } }
node_def { name: "check" op: "Assert" input: "p" input: "xs"
  attr { key: "T" value { list { type: DT_FLOAT } } } }
ret { key: "y" value: "sum:sum:0" } ret { key: "q" value: "p" }
control_ret { key: "checked" value: "check" }
"""


def attrs(n=2, **more):
    made = schema.NodeDef()
    made.attr["T"].type = FLOAT
    made.attr["N"].i = n
    for key, value in more.items():
        made.attr[key].placeholder = value
    return dict(made.attr)


def test_a_callee_has_the_attrs_of_its_call():
    definition, library = function(GENERIC)
    callee = Callee.of(definition, attrs(), library)
    assert callee.arguments == (("xs", FLOAT), ("xs", FLOAT), ("p", BOOL))
    assert callee.results == (("y", FLOAT), ("q", BOOL))
    assert callee.returned == ("sum:sum:0", "p")
    assert callee.ends == {"check"}
    assert not callee.flows
    total, _ = callee.nodes
    assert (total.attr["N"].i, total.attr["T"].type) == (2, FLOAT)
    assert definition.node_def[0].attr["N"].placeholder == "N"
    assert callee.passed(["a", "b:1", "c"]) == {
        "xs": "a",
        "xs:0": "a",
        "xs:1": "b:1",
        "p": "c",
        "p:0": "c",
    }
    assert len(callee) == 2


def test_placeholders_inside_of_functions_in_attrs_are_filled_in():
    definition, library = function(
        GENERIC.replace(
            'name: "check" op: "Assert"',
            'name: "check" op: "Assert" attr { key: "f" value { func { name: "g" '
            'attr { key: "inner" value { placeholder: "T" } } } } }',
        )
    )
    callee = Callee.of(definition, attrs(), library)
    assert callee.nodes[1].attr["f"].func.attr["inner"].type == FLOAT
    branch = definition.node_def[1].attr["branches"].list.func.add(name="g")
    branch.attr["inner"].placeholder = "N"
    callee = Callee.of(definition, attrs(), library)
    assert callee.nodes[1].attr["branches"].list.func[0].attr["inner"].i == 2
    branch.attr["inner"].placeholder = "gone"
    assert Callee.of(definition, attrs(), library) is None


@pytest.mark.parametrize(
    ("old", "new", "call_attrs"),
    [
        ("", "", {}),
        ("", "", attrs(n=-1)),
        ("", "", attrs(T="Elsewhere")),
        ("", "", attrs(n=1)),
        ('op: "AddN"', 'op: "MyOwnOp"', attrs()),
        ('value: "sum:sum:0"', 'value: "sum:total:0"', attrs()),
        ('input: "^check"', 'input: "^gone"', attrs()),
        ('input: "xs:1"', 'input: "ys"', attrs()),
        ('ret { key: "q" value: "p" }', "", attrs()),
        ('"y" type_attr: "T"', '"y" type_attr: "T" number_attr: "N"', attrs()),
        ('"y" type_attr: "T"', '"y" type_list_attr: "T"', attrs()),
    ],
    ids=[
        "no attrs",
        "a negative number",
        "a placeholder for another",
        "fewer arguments than are read",
        "an unknown op",
        "a result that no node has",
        "a node to wait for that is not there",
        "an input that no node has",
        "a result that is not named",
        "a list of results",
        "results of several types",
    ],
)
def test_a_function_that_is_not_whole_is_left_alone(old, new, call_attrs):
    definition, library = function(GENERIC.replace(old, new) if old else GENERIC)
    assert Callee.of(definition, call_attrs, library) is None


def test_outputs_have_the_names_that_the_function_uses():
    definition, library = function(
        """signature { name: "f" input_arg { name: "x" type: DT_FLOAT } }
        node_def { name: "s" op: "SplitV" input: "x" input: "x" input: "x"
          attr { key: "T" value { type: DT_FLOAT } } attr { key: "Tlen" value { type: DT_INT32 } }
          attr { key: "num_split" value { i: 2 } } }
        node_def { name: "u" op: "Unique" input: "x" attr { key: "T" value { type: DT_FLOAT } } }
        node_def { name: "m" op: "Merge" input: "x" attr { key: "T" value { type: DT_FLOAT } }
          attr { key: "N" value { i: 1 } } }"""
    )
    callee = Callee.of(definition, {}, library)
    split, unique, _ = callee.nodes
    assert list(callee.outputs(split)) == [
        ("s:output", 0),
        ("s:output:0", 0),
        ("s:output:1", 1),
    ]
    assert list(callee.outputs(unique)) == [("u:y", 0), ("u:y:0", 0), ("u:idx", 1), ("u:idx:0", 1)]
    assert callee.flows


def test_large_constants_count_for_more_than_one_node():
    definition, library = function(
        'signature { name: "f" } node_def { name: "c" op: "Const" attr { key: "value" value { '
        f'tensor {{ tensor_content: "{"x" * 5000}" }} }} }} attr {{ key: "dtype" '
        "value { type: DT_FLOAT } } }"
    )
    assert len(Callee.of(definition, {}, library)) == 5
