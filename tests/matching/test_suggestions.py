"""Tensors that may be those of variables with names of another kind."""

from __future__ import annotations

from tfpersist.formats.tensors import Slice, TensorSpec
from tfpersist.matching.plan import Entry, Missing
from tfpersist.matching.selection import Selection
from tfpersist.matching.suggestions import suggested


def suggestion(variables, saved):
    entries = [Entry(name, name, TensorSpec("float32", shape)) for name, shape in variables]
    specs = {key: TensorSpec("float32", shape) for key, shape in saved}
    plan = Selection().for_restore(specs, entries)
    if plan.suggestion:
        renamed = Selection(renames=plan.suggestion).for_restore(specs, entries)
        assert len(renamed.assignments) == len(plan.assignments) + len(plan.suggestion)
    return dict(plan.suggestion)


def test_shapes_that_occur_once_pair_up():
    found = suggestion([("a/x", (2, 3)), ("b/y", (3,))], [("p", (3,)), ("q", (2, 3))])
    assert found == {"p": "b/y", "q": "a/x"}


def test_the_order_is_that_of_numbers():
    names = [f"blocks/{at}/kernel" for at in range(12)]
    found = suggestion([(n, (4, 4)) for n in names], [(f"l{n}/w", (4, 4)) for n in range(12)])
    assert found == {f"l{at}/w": name for at, name in enumerate(names)}


def test_what_is_called_alike_goes_together():
    norm = ("gamma", "beta", "moving_mean", "moving_variance")
    old = ("beta", "gamma", "moving_mean", "moving_variance", "biases")
    variables, saved, expected = [], [], {}
    for at in (1, 2):
        variables += [(f"conv{at}/bias", (8,)), *((f"norm{at}/{name}", (8,)) for name in norm)]
        saved += [(f"c{at}/BN/{name}", (8,)) for name in old]
        expected |= {f"c{at}/BN/{name}": f"norm{at}/{name}" for name in norm}
        expected[f"c{at}/BN/biases"] = f"conv{at}/bias"
    assert suggestion(variables, saved) == expected


def test_where_there_is_more_than_one_way_nothing_is_suggested():
    two = [("a/x", (2,)), ("b/y", (2,))]
    assert suggestion(two, [("p/u", (2,)), ("q/v", (2,))]) == {}
    assert suggestion(two, [("p", (2,))]) == {}
    assert suggestion([("a/x", (2,))], [("p", (2,)), ("q", (2,))]) == {}


def test_what_an_optimizer_keeps_is_left_out():
    saved = [("p", (2,)), ("p/Adam", (2,)), ("p/Adam_1", (2,))]
    assert suggestion([("a/x", (2,))], saved) == {"p": "a/x"}


def test_parts_of_a_variable_are_left_out():
    part = Slice("a", (2,), (0,), (2,))
    missing = [Missing("a", Entry("a", "a/part_0", TensorSpec("float32", (2,)), part=part))]
    assert suggested(missing, {"p": TensorSpec("float32", (2,))}, ["p"]) == {}


def test_a_name_that_two_variables_have_is_replaced_by_their_keys():
    spec, other = TensorSpec("float32", (2,)), TensorSpec("float32", (3,))
    entries = [Entry("first/k", "kernel", spec), Entry("second/k", "kernel", other)]
    missing = [Missing(entry.key, entry) for entry in entries]
    assert suggested(missing, {"p": spec, "q": other}, ["p", "q"]) == {
        "p": "first/k",
        "q": "second/k",
    }


def test_a_common_beginning_goes_before():
    saved = [("net/a", (2,)), ("net/b", (3,))]
    assert suggestion([("a", (2,)), ("b", (3,))], saved) == {}


def test_the_advice_shows_the_first_pairs():
    entries = [Entry(f"v{at}", f"v{at}", TensorSpec("float32", (at,))) for at in range(5)]
    specs = {f"t{at}": TensorSpec("float32", (at,)) for at in range(5)}
    advice = Selection().for_restore(specs, entries).advice
    assert "5 of the 5 missing would be: t0 -> v0, t1 -> v1, t2 -> v2 and 2 more." in advice
    assert "give it to .rename()" in advice
