"""Advice of a report on variables without a tensor."""

from __future__ import annotations

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.choices.suggestions import advice_on, suggested
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.fit import Missing

SPEC = TensorSpec("float32", (2,))


def missing(name, *, key=None, to=None, **facts):
    proposal = to and (to, "shared words")
    entry = Entry(key or name, name, SPEC, proposal=proposal, **facts)
    return Missing(entry.key, entry)


def texts(*ones):
    found = suggested(ones, dict.fromkeys(("p", "q", "model/a/w", "model/b/w"), SPEC))
    return found, advice_on(ones, found)


def test_a_name_that_two_variables_have_is_replaced_by_a_longer_one():
    found, _ = texts(
        missing("kernel", key="first/k", to="p"),
        missing("kernel", key="second/k.V", to="q", aliases=("second/k",)),
    )
    assert found == {"p": "first/k", "q": "second/k"}


def test_slots_and_what_the_checkpoint_lacks_are_left_out():
    assert texts(missing("w/Adam", to="p", slot="Adam"), missing("w", to="nowhere"))[0] == {}


def test_a_common_beginning_is_said_in_short():
    found, advice = texts(missing("net/a/w", to="model/a/w"), missing("net/b/w", to="model/b/w"))
    assert found == {"model/a/w": "net/a/w", "model/b/w": "net/b/w"}
    assert '.rename({"model/": "net/"}) finds 2 of the 2 missing.' in advice


def test_other_names_are_shown_by_one_pair():
    _, advice = texts(missing("x", to="p"), missing("y", to="q"), missing("z"))
    assert "(shared words), 2 of the 3 missing would be: p -> x and 1 more." in advice
    assert "give it to .rename()" in advice


def test_alternatives_and_contradictions_are_shown():
    _, advice = texts(missing("x", alternatives=("p", "q")), missing("y", alternatives=("p", "q")))
    assert "x may be p: nothing tells which" not in advice
    assert "x may be p or q" in advice
    assert "And so for 1 more." in advice
    _, advice = texts(missing("x", conflict="p by name and q by attribute"))
    assert "contradict" in advice
    assert "p by name and q by attribute" in advice


def test_names_from_files_are_escaped():
    _, advice = texts(missing("x", alternatives=("p\x1b[2J", "q")))
    assert "\x1b" not in advice


def test_slots_alone_have_an_advice_of_their_own():
    assert "other variables" in texts(missing("w/Adam", slot="Adam"))[1]
    assert advice_on([], {}) == ""
