"""Tensors that may be those of variables with names of another kind."""

from __future__ import annotations

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.plan import Entry
from tfpersist.matching.selection import Selection


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


def test_a_common_beginning_goes_before():
    saved = [("net/a", (2,)), ("net/b", (3,))]
    assert suggestion([("a", (2,)), ("b", (3,))], saved) == {}


def test_the_advice_shows_the_first_pairs():
    entries = [Entry(f"v{at}", f"v{at}", TensorSpec("float32", (at,))) for at in range(5)]
    specs = {f"t{at}": TensorSpec("float32", (at,)) for at in range(5)}
    advice = Selection().for_restore(specs, entries).advice
    assert "5 of the 5 missing would be: t0 -> v0, t1 -> v1, t2 -> v2 and 2 more." in advice
    assert "give it to .rename()" in advice
