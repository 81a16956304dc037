"""The table of forms: each row fits its own shapes, and what leads back leads back."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.forms.form_sizes import recipe_of, size_of
from tfpersist.matching.forms.forms import FORMS, LABELS

# Different numbers, of which none is the product of others, so that no two axes agree by chance.
SIZES = {"i": 5, "u": 3, "p": 2, "d": 7, "n": 22, "h": 2, "k": 11, "o": 13, "a": 17, "b": 19}
SIZES |= {"w": 3, "x": 5, "y": 23, "z": 2}


def specs_of(shapes):
    return {
        name: TensorSpec("float32", tuple(size_of(axis, SIZES) for axis in shape.split(",")))
        for name, shape in shapes.items()
    }


def random_tensors(shapes):
    random = np.random.default_rng(1)
    return {
        name: random.uniform(-1, 1, spec.shape).astype(np.float32)
        for name, spec in specs_of(shapes).items()
    }


def made(form, tensors):
    keys = {name: name for name in form.stored}
    recipes = {name: recipe_of(way, keys, SIZES) for name, way in form.ways.items()}
    return {
        name: recipe.apply([tensors[key] for key in recipe.keys])
        for name, recipe in recipes.items()
    }


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.title)
def test_each_way_makes_a_tensor_of_the_wanted_shape(form):
    assert bool(form.ways) != bool(form.refused)
    if form.refused:
        return
    assert form.ways.keys() == form.wanted.keys()
    keys, specs, wanted = {n: n for n in form.stored}, specs_of(form.stored), specs_of(form.wanted)
    for ways in (form.ways, form.others):
        for name, way in ways.items():
            assert recipe_of(way, keys, SIZES).spec_of(specs) == wanted[name]
    assert {key for way in form.ways.values() for key in way.of} == form.stored.keys()


def test_what_needs_more_than_a_shape_names_its_source():
    for form in FORMS:
        if form.by_order:
            assert re.search(r"\w+/\w+\.py", form.source), form.title


def test_labels_are_written_as_they_are_compared():
    assert all(label == label.lower().strip("_") for label in LABELS)


PAIRS = [
    (one, other)
    for one in FORMS
    for other in FORMS
    if one.ways and other.ways and other.wanted == one.stored and other.stored == one.wanted
    # A forget bias that is added is subtracted.
    if bool(one.others) == bool(other.others)
]


@pytest.mark.parametrize(("there", "back"), PAIRS, ids=lambda form: form.title)
def test_the_way_there_and_back_leads_to_the_same_tensors(there, back):
    tensors = random_tensors(there.stored)
    again = made(back, made(there, tensors))
    for name, tensor in tensors.items():
        # To add and to subtract 1.0 rounds once each.
        np.testing.assert_allclose(again[name], tensor, rtol=0, atol=3e-7)


def test_cells_and_attention_have_a_way_back():
    there = {frozenset(one.wanted) for one, _ in PAIRS}
    for names in (
        {"kernel", "recurrent_kernel", "bias"},
        {"kernel", "bias"},
        {"gates/kernel", "gates/bias", "candidate/kernel", "candidate/bias"},
        {"qkv/kernel", "qkv/bias"},
        {"query/kernel", "key/kernel", "value/kernel"},
    ):
        assert names in there
