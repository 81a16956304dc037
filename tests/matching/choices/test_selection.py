"""Keys and variables: only, rename, averages; and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from tfpersist.errors import SelectionError
from tfpersist.formats.tensors import Slice, TensorSpec
from tfpersist.matching.choices.selection import Selection
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.sides.object_graph import OBJECT_GRAPH_KEY


class Thing:
    """A stand-in for whatever object a user holds."""

    def __init__(self, name="", variables=None):
        self.name = name
        if variables is not None:
            self.variables = variables


FLOAT = TensorSpec("float32", (2,))


def entry(name, *, key=None, spec=FLOAT, **facts):
    return Entry(key or name, name, spec, Thing(name), **facts)


NAMES = ["conv1/kernel", "conv1/bias", "conv2/kernel", "conv2/bias", "head"]
ENTRIES = [entry(name) for name in NAMES]


def parts_of(name, *lengths):
    full = (sum(lengths),)
    starts = np.cumsum([0, *lengths[:-1]])
    return [
        Entry(
            name,
            f"{name}/part_{at}",
            TensorSpec("float32", (length,)),
            Thing(),
            Slice(name, full, (int(start),), (length,)),
        )
        for at, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]


def keys(selection, entries=ENTRIES):
    return {one.name: one.key for one in selection.for_save(entries)}


def specs(*names, spec=FLOAT):
    return dict.fromkeys(names, spec)


def test_everything_is_taken_where_nothing_is_said():
    assert keys(Selection()) == {name: name for name in NAMES}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (["head"], {"head"}),
        (["head:0"], {"head"}),
        (["conv1/*"], {"conv1/kernel", "conv1/bias"}),
        (["*/kernel", "head"], {"conv1/kernel", "conv2/kernel", "head"}),
        (["conv[12]/bias"], {"conv1/bias", "conv2/bias"}),
        ([ENTRIES[0].ref, "head"], {"conv1/kernel", "head"}),
        ([[ENTRIES[0].ref, ENTRIES[1].ref]], {"conv1/kernel", "conv1/bias"}),
        ([Thing(variables=[ENTRIES[2].ref])], {"conv2/kernel"}),
    ],
)
def test_only_takes_variables_names_and_patterns(choice, expected):
    assert keys(Selection(only=choice)).keys() == expected


def test_what_is_selected_keeps_the_order_of_the_target():
    chosen = Selection(only=["head", "conv2/*", "conv1/bias"]).for_save(ENTRIES)
    assert [one.name for one in chosen] == ["conv1/bias", "conv2/kernel", "conv2/bias", "head"]


def test_a_name_with_pattern_letters_is_a_name_first():
    odd = [entry("a[0]"), entry("a0")]
    assert keys(Selection(only=["a[0]"]), odd) == {"a[0]": "a[0]"}


def test_only_and_rename_with_dicts():
    by_name = {"k": "conv1/kernel", "b": ENTRIES[1].ref}
    assert keys(Selection(only=by_name)) == {"conv1/kernel": "k", "conv1/bias": "b"}
    assert keys(Selection(renames={"k": ENTRIES[0].ref}))["conv1/kernel"] == "k"
    assert keys(Selection(renames={"k": "head"}))["conv1/bias"] == "conv1/bias"
    swapped = {"conv1/bias": "conv2/bias", "conv2/bias": "conv1/bias"}
    assert keys(Selection(renames=swapped))["conv1/bias"] == "conv2/bias"


@pytest.mark.parametrize(
    ("renames", "name", "expected"),
    [
        ({"net/": ""}, "head", "net/head"),
        ({"": "conv1/"}, "conv1/bias", "bias"),
        ({"old/": "conv1/"}, "conv1/bias", "old/bias"),
        ({"old/": "conv1/"}, "conv2/bias", "conv2/bias"),
        ({"net/": "", "old/": "conv1/"}, "conv1/bias", "old/bias"),
        ({"net/": "", "k": "conv1/bias"}, "conv1/bias", "k"),
    ],
)
def test_prefixes_are_renamed(renames, name, expected):
    assert keys(Selection(renames=renames))[name] == expected


def test_a_selected_variable_may_also_be_renamed():
    assert keys(Selection(only=["head"], renames={"tail": "head"})) == {"head": "tail"}


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(only=["conv1/kernle"]), "'conv1/kernel'"),
        (Selection(only=["nothing*"]), "finds no variable named 'nothing*'"),
        (Selection(only=[]), "selects nothing"),
        (Selection(only=[Thing("heads")]), "Thing 'heads', which is not a variable"),
        (Selection(only=[7]), "got 7"),
        (Selection(only={"a": "head", "b": "head"}), "gets two keys, 'a' and 'b'"),
        (Selection(only={"a": "conv*"}), "gives one key to 4 variables"),
        (Selection(only={"a": "head"}, renames={"b": "head"}), "gets two keys"),
        (Selection(renames={"head": "conv1/bias"}), "two variables have the key 'head'"),
        (Selection(renames={"x": "hed"}), "Did you mean 'head'"),
        (Selection(renames={"x/": "y/"}), "no variable whose name begins with 'y/'"),
        (Selection(averages="avg"), "cannot be used with a save"),
    ],
)
def test_what_is_not_there_is_told(selection, message):
    with pytest.raises(SelectionError) as caught:
        selection.for_save(ENTRIES)
    assert message in str(caught.value)


def test_parts_go_together():
    parts = parts_of("p", 3, 2)
    assert [one.part.full_name for one in Selection(renames={"q": "p"}).for_save(parts)] == [
        "q"
    ] * 2
    with pytest.raises(SelectionError, match="only some parts"):
        Selection(only=["p/part_0"]).for_save(parts)
    fit = Selection().for_restore(specs("p", spec=TensorSpec("float32", (5,))), parts)
    assert fit.fits
    assert len(fit.assignments) == 2
    fit = Selection().for_restore(specs("p", spec=TensorSpec("float32", (4,))), parts)
    assert [one.entry.wanted.shape for one in fit.mismatched] == [(5,), (5,)]


def test_entries_that_are_not_default_have_to_be_named():
    entries = [entry("w"), entry("local", default=False)]
    assert keys(Selection(), entries) == {"w": "w"}
    assert keys(Selection(only=["local"]), entries) == {"local": "local"}
    assert Selection().for_restore(specs("w"), entries).unselected == ()


def test_a_plan_says_what_fits_and_what_does_not():
    saved = specs("conv1/kernel", "conv1/bais", "extra") | {"head": TensorSpec("float32", (3,))}
    fit = Selection(only=["conv1/*", "head"]).for_restore(saved, ENTRIES)
    assert [one.key for one in fit.assignments] == ["conv1/kernel"]
    assert [(one.key, one.nearest[0]) for one in fit.missing] == [("conv1/bias", "conv1/bais")]
    assert [str(one.found) for one in fit.mismatched] == ["float32[3]"]
    assert fit.unexpected == ("conv1/bais", "extra")
    assert fit.unselected == ("conv2/kernel", "conv2/bias")
    assert not fit.fits


def test_the_object_graph_of_a_checkpoint_is_not_unexpected():
    saved = specs("w", OBJECT_GRAPH_KEY, "other")
    assert Selection().for_restore(saved, [entry("w")]).unexpected == ("other",)


def test_data_types_have_to_be_equal_and_open_dimensions_take_any():
    saved = specs("w", spec=TensorSpec("float16", (2,)))
    assert Selection().for_restore(saved, [entry("w")]).mismatched
    for shape in (None, (None,)):
        open_entry = entry("w", spec=TensorSpec("float16", shape))
        assert Selection().for_restore(saved, [open_entry]).fits


def test_averages_are_taken_where_there_are_any():
    def averages_of(averages, entries):
        return {one.key: (f"{one.key}/first", f"{one.key}/{averages}") for one in entries}

    saved = specs("conv1/kernel", "conv1/kernel/avg", "conv1/bias", "head/avg")
    selection = Selection(only=["conv1/*", "head"], averages="avg")
    fit = selection.for_restore(saved, ENTRIES, averages_of)
    assert {one.key: one.averaged for one in fit.assignments} == {
        "conv1/kernel/avg": True,
        "conv1/bias": False,
        "head/avg": True,
    }
    assert not fit.unexpected


@pytest.mark.parametrize("only", [[], {}])
def test_only_of_nothing_is_an_error(only):
    with pytest.raises(SelectionError, match="selects nothing"):
        Selection(only=only).for_save(ENTRIES)
    with pytest.raises(SelectionError, match="selects nothing"):
        Selection(only=only).for_restore(specs(*NAMES), ENTRIES)


def test_two_variables_may_not_share_a_key_whose_end_is_not_spelt():
    end = "/.ATTRIBUTES/VARIABLE_VALUE"
    objects = [entry(name, key=name + end) for name in ("a", "b")]
    saved = specs(f"a{end}", f"b{end}")
    with pytest.raises(SelectionError, match=r"two variables have the key 'b/\.ATTRIBUTES"):
        Selection(renames={"b": "a"}).for_restore(saved, objects)
    with pytest.raises(SelectionError, match=r"two variables have the key 'b/\.ATTRIBUTES"):
        Selection(renames={"b": "a"}).for_save(objects)
    swapped = Selection(renames={"b": "a", "a": "b"})
    assert keys(swapped, objects) == {"a": f"b{end}", "b": f"a{end}"}
    assert {one.entry.name: one.key for one in swapped.for_restore(saved, objects).assignments} == {
        "a": f"b{end}",
        "b": f"a{end}",
    }


@pytest.mark.parametrize("selection", [Selection(only={1: "head"}), Selection(renames={1: "head"})])
def test_keys_have_to_be_text(selection):
    with pytest.raises(SelectionError, match=r"a key that is not a str.*got 1"):
        selection.for_save(ENTRIES)


def test_what_is_renamed_is_given_as_a_dict():
    with pytest.raises(SelectionError, match=r"not a dict.*list"):
        Selection().renamed(["head"])
