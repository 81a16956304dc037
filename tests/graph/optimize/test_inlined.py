"""After inlining: the nodes that are removed, and the control inputs that replace theirs."""

from tfpersist.formats.graphdef import parse_text
from tfpersist.graph.optimize.inlined import Inlined, remove_leftovers
from tfpersist.graph.structure.effects import Effects


def cleaned(text, *, before=(), wanted=(), **inlined):
    """Return {name: inputs} of the nodes that stay."""
    nodes = list(parse_text(text.encode()).proto.node)
    found = remove_leftovers(Inlined(nodes, **inlined), before, wanted, Effects({}))
    return {node.name: [*node.input] for node in found}


def test_a_reader_of_a_call_reads_the_result():
    nodes = """
        node { name: "x" op: "Placeholder" } node { name: "call/n" op: "Neg" input: "x" }
        node { name: "call" op: "IdentityN" input: "x" input: "call/n" }
        node { name: "y" op: "Abs" input: "call:1" } node { name: "z" op: "Abs" input: "call" }"""
    sources = {"call:0": "outer:0", "outer:0": "x", "call:1": "call/n"}
    found = cleaned(nodes, before=["x", "y", "z"], sources=sources, stand_ins={"call"})
    assert found == {"x": [], "call/n": ["x"], "y": ["call/n"], "z": ["x"]}


def test_a_call_that_is_wanted_or_read_stays():
    nodes = """
        node { name: "x" op: "Placeholder" } node { name: "call" op: "Identity" input: "x" }
        node { name: "read" op: "Identity" input: "x" }
        node { name: "y" op: "Abs" input: "read" }"""
    found = cleaned(nodes, wanted=["call"], stand_ins={"call", "read"})
    assert found == {"x": [], "call": ["x"], "read": ["x"], "y": ["read"]}


def test_a_control_input_comes_from_the_effects_of_the_function():
    """It no longer comes from nodes that only compute, unless something needs them."""
    nodes = """
        node { name: "x" op: "Placeholder" } node { name: "call/print" op: "PrintV2" input: "x" }
        node { name: "call/idle" op: "Neg" input: "x" }
        node { name: "call/used" op: "Neg" input: "x" }
        node { name: "call" op: "IdentityN" input: "call/idle" input: "call/used"
          input: "^call/print" }
        node { name: "after" op: "NoOp" input: "^call" input: "^call/print" }
        node { name: "y" op: "Abs" input: "call/used" }"""
    found = cleaned(nodes, before=["x", "after", "y"], stand_ins={"call"})
    assert sorted(found["after"]) == ["^call/print", "^call/used"]
    assert "call" not in found


def test_calls_that_wait_for_calls_are_all_replaced():
    nodes = """
        node { name: "print" op: "PrintV2" } node { name: "one" op: "NoOp" input: "^print" }
        node { name: "two" op: "NoOp" input: "^one" input: "^print" }
        node { name: "after" op: "NoOp" input: "^two" }"""
    found = cleaned(nodes, before=["after"], stand_ins={"one", "two"})
    assert found == {"print": [], "after": ["^print"]}


def test_a_call_whose_result_comes_from_a_branch_stays():
    """A control input does not tell which output of a Switch is live."""
    nodes = """
        node { name: "s" op: "Switch" input: "x" input: "p" }
        node { name: "call" op: "Identity" input: "s:1" }
        node { name: "after" op: "NoOp" input: "^call" }"""
    found = cleaned(nodes, before=["s", "after"], stand_ins={"call"})
    assert found["after"] == ["^call"]


def test_a_control_input_for_order_is_removed_if_its_source_only_computes():
    nodes = """
        node { name: "a" op: "Neg" input: "x" } node { name: "print" op: "PrintV2" input: "x" }
        node { name: "call/n" op: "Abs" input: "x" input: "^a" input: "^print" }
        node { name: "x" op: "Placeholder" }"""
    order_only = {("call/n", "^a"), ("call/n", "^print")}
    found = cleaned(nodes, before=["x"], order_only=order_only)
    assert found["call/n"] == ["x", "^print"]
