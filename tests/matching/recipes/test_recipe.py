"""Recipes: what they make, what JSON says of them, and the ways back."""

from __future__ import annotations

import json
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tfpersist.errors import SelectionError
from tfpersist.formats.tensors import TensorSpec, spec_of
from tfpersist.matching.recipes.recipe import Recipe
from tfpersist.matching.recipes.recipe_steps import (
    AddToBlock,
    Cast,
    Concat,
    Pad,
    Reorder,
    Reshape,
    Slice,
    Stack,
    Sum,
    Transpose,
)

AXES, SIZES = st.integers(0, 2), st.integers(-1, 6)
STEPS = st.one_of(
    st.builds(Concat, AXES),
    st.builds(Stack, AXES),
    st.builds(Slice, AXES, SIZES, st.none() | SIZES),
    st.builds(Pad, AXES, st.integers(0, 2), st.integers(0, 2)),
    st.builds(Reorder, AXES, st.integers(1, 3).flatmap(lambda n: st.permutations(range(n)))),
    st.builds(Transpose, st.integers(0, 3).flatmap(lambda n: st.permutations(range(n)))),
    st.builds(Reshape, st.lists(st.integers(0, 6), max_size=3)),
    st.builds(Cast, st.sampled_from(("float16", "bfloat16", "float32", "float64"))),
    st.builds(AddToBlock, AXES, st.just(3), st.integers(0, 2), st.integers(-4, 4).map(float)),
    st.builds(Sum, AXES),
)


@st.composite
def recipes(draw):
    """Return tensors with a recipe that often fits them."""
    shape = tuple(draw(st.lists(st.sampled_from((1, 2, 3, 6)), max_size=3)))
    number = draw(st.integers(1, 3))
    keys = tuple("abc"[:number])
    dtype = draw(st.sampled_from((np.float32, np.float64, np.float16)))
    size = math.prod(shape)
    arrays = [np.arange(at, at + size, dtype=dtype).reshape(shape) for at in range(number)]
    steps: list = []
    for step in draw(st.lists(STEPS, max_size=6)):
        try:
            Recipe(keys, (*steps, step, *([Stack(0)] if number > 1 else ()))).apply(arrays)
        except SelectionError:
            continue
        steps.append(step)
    if number > 1 and not any(isinstance(step, Concat | Stack) for step in steps):
        steps.append(Stack(0))
    return arrays, Recipe(keys, tuple(steps))


def specs_of(keys, arrays):
    return dict(zip(keys, map(spec_of, arrays), strict=True))


@given(recipes())
def test_the_spec_is_that_of_the_value(drawn):
    arrays, recipe = drawn
    copies = [array.copy() for array in arrays]
    value = recipe.apply(arrays)
    assert recipe.spec_of(specs_of(recipe.keys, arrays)) == spec_of(value)
    assert value.flags.c_contiguous
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@given(recipes())
def test_json_gives_it_back(drawn):
    _, recipe = drawn
    assert Recipe.from_json(json.loads(json.dumps(recipe.as_json()))) == recipe


@given(recipes())
def test_the_way_back_leads_to_the_same_tensors(drawn):
    arrays, recipe = drawn
    ways = recipe.inverses("value", specs_of(recipe.keys, arrays))
    if ways is None:
        assert any(isinstance(step, Slice | Sum | Cast) for step in recipe.steps)
        return
    value = recipe.apply(arrays)
    for way, array in zip(ways, arrays, strict=True):
        assert way.keys == ("value",)
        # Small whole numbers: no step of addition rounds.
        np.testing.assert_array_equal(way.apply([value]), array)


@given(recipes(), st.lists(STEPS, max_size=3))
def test_what_does_not_fit_is_an_error_of_our_own(drawn, more):
    arrays, recipe = drawn
    longer = Recipe(recipe.keys, (*recipe.steps, *more))
    try:
        spec = longer.spec_of(specs_of(recipe.keys, arrays))
    except SelectionError:
        with pytest.raises(SelectionError):
            longer.apply(arrays)
    else:
        assert spec_of(longer.apply(arrays)) == spec


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(("axis", "concat", "slice", "reorder", "float32", "do", "from", "steps")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("do", "axis", "from", "steps", "order", "start", "value")), inner
        )
    ),
    max_leaves=12,
)


@given(ANY, ANY)
def test_strange_json_is_refused(value, step):
    for strange in (value, {"from": ["a"], "steps": [step]}, {"from": value, "steps": []}):
        try:
            recipe = Recipe.from_json(strange)
        except SelectionError:
            continue
        assert Recipe.from_json(recipe.as_json()) == recipe


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, "this is no recipe; expected {'from': [...], 'steps': [...]}, got 3."),
        ({"from": "a", "steps": []}, "this is no recipe; expected a list under 'from', got 'a'."),
        ({"from": [], "steps": []}, "a recipe has wrong keys; expected 1 to 4096 str"),
        ({"from": [1], "steps": []}, "a recipe has wrong keys; expected 1 to 4096 str"),
        ({"from": ["a"], "steps": [{}] * 33}, "too many steps; expected at most 32, got 33."),
        (
            {"from": ["a"], "steps": [{"do": "eval"}]},
            "step 1 of a recipe: the step is not known; expected slice or pad or",
        ),
        (
            {"from": ["a"], "steps": [{"do": "sum", "axis": 0}, {"do": "sum"}]},
            "step 2 of a recipe: sum has other arguments; expected axis, got nothing.",
        ),
        (
            {"from": ["a"], "steps": [{"do": "sum", "axis": True}]},
            "axis= is wrong; expected an int from 0 to 253, got True.",
        ),
        (
            {"from": ["a"], "steps": [{"do": "sum", "axis": 10**5000}]},
            "axis= is wrong; expected an int from 0 to 253, got an int that is too large.",
        ),
        (
            {"from": ["a"], "steps": [{"do": "reorder", "axis": 0, "order": [0, 0]}]},
            "order= is wrong; expected each number from 0 to 1 once, got [0, 0].",
        ),
        (
            {"from": ["a"], "steps": [{"do": "reorder", "axis": 0, "order": []}]},
            "order= is wrong; expected at least one number, got none.",
        ),
        (
            {"from": ["a"], "steps": [{"do": "reshape", "shape": 3}]},
            "shape= is wrong; expected at most 254 ints from 0",
        ),
        (
            {"from": ["a"], "steps": [{"do": "cast", "dtype": "int8"}]},
            "dtype= is wrong; expected float16 or bfloat16 or float32 or float64, got 'int8'.",
        ),
        (
            {
                "from": ["a"],
                "steps": [
                    {"do": "add_to_block", "axis": 0, "blocks": 2, "block": 0, "value": math.nan}
                ],
            },
            "value= is wrong; expected a finite number, got nan.",
        ),
        (
            {
                "from": ["a"],
                "steps": [{"do": "add_to_block", "axis": 0, "blocks": 2, "block": 2, "value": 1.0}],
            },
            "block= is wrong; expected less than 2, the blocks, got 2.",
        ),
    ],
)
def test_the_error_says_where_and_what(value, words):
    with pytest.raises(SelectionError) as error:
        Recipe.from_json(value)
    assert words in str(error.value)


def test_a_tensor_that_is_missing_is_named():
    with pytest.raises(SelectionError, match=r"no tensor 'b'.*Did you mean 'a/b'"):
        Recipe(("b",)).spec_of({"a/b": TensorSpec("float32", ())})


def test_a_step_that_does_not_fit_is_named():
    recipe = Recipe(("a",), (Slice(0, 0, 2), Slice(0, 0, 3)))
    with pytest.raises(SelectionError) as error:
        recipe.spec_of({"a": TensorSpec("float32", (5,))})
    assert str(error.value) == (
        "a: slice(axis=0, start=0, stop=2), slice(axis=0, start=0, stop=3): step 2, slice: the"
        " slice is outside of axis 0; expected a part of 0:2, got Slice(axis=0, start=0, stop=3)."
    )


def test_several_tensors_must_be_joined():
    spec = TensorSpec("float32", (2,))
    with pytest.raises(SelectionError, match="leaves several tensors"):
        Recipe(("a", "b"), (Slice(0, 1),)).spec_of({"a": spec, "b": spec})
    with pytest.raises(SelectionError, match=r"another number of tensors.*expected 2, got 1"):
        Recipe(("a", "b"), (Concat(0),)).apply([np.zeros(2)])


def test_a_recipe_cannot_ask_for_far_more_memory_than_its_tensors():
    recipe = Recipe(("a",), (Pad(0, 0, 2**50), Slice(0, 0, 2)))
    with pytest.raises(SelectionError, match=r"far larger.*expected <= 128"):
        recipe.apply([np.zeros(2, np.float32)])


def test_it_holds_steps_and_nothing_else():
    with pytest.raises(SelectionError, match="wrong steps"):
        Recipe(("a",), ("slice",))


def test_a_text_names_few_of_many_keys():
    assert str(Recipe(tuple("abcde"), (Stack(0),))) == "a, b, c, d, ...: stack(axis=0)"
    assert str(Recipe(("a",))) == "a: as it is"
