"""Test plans as values: what they print, their JSON, and how users change them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import SelectionError
from tfpersist.matching.plans.plan import Pair, Plan
from tfpersist.matching.recipes.recipe import Recipe
from tfpersist.matching.recipes.recipe_steps import Transpose

TURNED = Recipe(("old/w",), (Transpose((1, 0)),))
PLAN = Plan(
    (
        Pair("net/w", "model/w", reason="same name", expected="float32[2]", path="layers/0/w"),
        Pair("net/b", "model/b", proposed=True, reason="same order"),
        Pair("dense/w", alternatives=("a/w", "b/w"), path="layers/1/w"),
        Pair("dense/w", recipe=TURNED, path="layers/2/w"),
        Pair("head/w", keep=True),
    ),
    "run/model.ckpt-5",
)
TEXTS = st.text(max_size=8)
PAIRS = st.one_of(
    st.builds(Pair, TEXTS.filter(bool), TEXTS.filter(bool), proposed=st.booleans(), reason=TEXTS),
    st.builds(Pair, TEXTS.filter(bool), recipe=st.just(TURNED), path=TEXTS, expected=TEXTS),
    st.builds(Pair, TEXTS.filter(bool), keep=st.just(True)),
    st.builds(Pair, TEXTS.filter(bool), alternatives=st.lists(TEXTS).map(tuple)),
)


def test_a_plan_prints_what_each_variable_gets_and_why():
    assert str(PLAN) == (
        "run/model.ckpt-5: 5 variables, 1 proposed, 1 kept, 1 not decided\n"
        "  net/w    <- model/w                        same name\n"
        "  net/b    <- model/b                        proposed: same order\n"
        "  dense/w  not decided                       may be a/w or b/w\n"
        "  dense/w  <- old/w: transpose(axes=[1, 0])\n"
        "  head/w   kept"
    )
    assert str(Plan(())) == "0 variables"


def test_names_from_a_file_do_not_steer_a_terminal():
    plan = Plan((Pair("w\x1b[2J", "a\nb", reason="\x07"),), "run\x1b")
    assert "\x1b" not in str(plan) + str(plan["w\x1b[2J"])
    assert len(str(plan).splitlines()) == 2


@given(st.lists(PAIRS), TEXTS)
def test_json_gives_the_plan_back(pairs, checkpoint):
    plan = Plan(tuple(pairs), checkpoint)
    assert Plan.from_json(plan.to_json()) == plan
    assert json.loads(plan.to_json()) == plan.as_dict()


def test_json_shows_where_a_key_can_be_written():
    open_pair = PLAN.as_dict()["pairs"][2]
    assert open_pair["key"] is None
    assert "key" not in PLAN.as_dict()["pairs"][3]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("{", ""),
        ("[" * 100_000, ""),
        ("[]", "plan"),
        ('{"pairs": {}}', "plan.pairs"),
        ('{"version": 2, "pairs": []}', "version"),
        ('{"version": true, "pairs": []}', "plan.version"),
        ('{"pears": []}', "plan"),
        ('{"pairs": [1]}', "pairs[0]"),
        ('{"pairs": [{"key": "k"}]}', "pairs[0].variable"),
        ('{"pairs": [{"variable": 1}]}', "pairs[0].variable"),
        ('{"pairs": [{"variable": "w", "key": 1}]}', "pairs[0].key"),
        ('{"pairs": [{"variable": "w", "key": "k", "keep": true}]}', "pairs[0]"),
        ('{"pairs": [{"variable": "w", "alternatives": [1]}]}', "pairs[0].alternatives"),
        ('{"pairs": [{"variable": "w", "recipe": {}}]}', "pairs[0].recipe"),
        ('{"pairs": [{"variable": "w", "colour": "red"}]}', "pairs[0]"),
    ],
)
def test_json_that_is_no_plan(text, where):
    with pytest.raises(SelectionError) as caught:
        Plan.from_json(text)
    assert (caught.value.where or "") == where
    assert caught.value.expected


def test_a_user_says_what_a_variable_gets():
    plan = PLAN.take("net/b", "other").take("layers/1/w", TURNED)
    assert (plan["net/b"].key, plan["net/b"].proposed) == ("other", False)
    assert (plan["layers/1/w"].recipe, plan["layers/1/w"].alternatives) == (TURNED, ())
    assert plan.take("layers/1/w", "k")["layers/1/w"].recipe is None
    assert PLAN["net/b"].key == "model/b"


def test_a_user_says_what_stays():
    plan = PLAN.keep("net/*", "layers/2/w")
    assert [pair.keep for pair in plan] == [True, True, False, True, True]
    assert plan["net/w"].key is None
    assert len(plan) == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: PLAN["new/w"], "no variable 'new/w'"),
        (lambda: PLAN["dense/w"], "layers/1/w"),
        (lambda: PLAN.take("net/w", ""), "take"),
        (lambda: PLAN.take("net/w", 3), "got 3"),
        (lambda: PLAN.keep("tail/*"), "'tail/*'"),
    ],
)
def test_a_change_that_cannot_be_meant(change, said):
    with pytest.raises(SelectionError, match=said.replace("*", r"\*")):
        change()
