"""Variables that take rows of a tensor into other rows, in a fit."""

from __future__ import annotations

import pytest

from tfpersist.errors import SelectionError
from tfpersist.formats.tensors import Slice, TensorSpec
from tfpersist.matching.choices.remapped import with_rows
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.fit import Assignment, Fit, Mismatch, Missing
from tfpersist.matching.recipes.recipe import Recipe

SPEC = TensorSpec("float32", (4, 2))


def fit_of(**more):
    same, other, new = (Entry(name, f"net/{name}", SPEC, **more) for name in ("a", "b", "c"))
    return Fit(
        (Assignment("a", same),),
        missing=(Missing("c", new),),
        mismatched=(Mismatch("b", other, TensorSpec("float32", (3, 2))),),
    )


def test_what_fits_and_what_does_not_are_remapped():
    fit = with_rows(fit_of(), {"net/a": {0: 3}, "net/b": (["x", "y", "z"], ["z"])})
    assert not fit.assignments
    assert not fit.mismatched
    assert [(one.key, one.rows.old, one.rows.new) for one in fit.remapped] == [
        ("a", (0,), (3,)),
        ("b", (2,), (0,)),
    ]
    report = fit.report("run", carried_out=True)
    assert report.remapped == ("net/a", "net/b")
    assert report.restored == ("net/a", "net/b")
    assert [row.reason for row in report.rows if row.outcome == "remapped"] == [
        "1 row remapped",
        "1 row remapped",
    ]
    assert "2 of them in part" in report.headline()


def test_pairs_hold_variables_themselves():
    variable = object()
    fit = with_rows(fit_of(ref=variable), [("net/b", {0: 0})])
    assert [one.key for one in fit.remapped] == ["b"]
    entry = Entry("a", "a", SPEC, variable)
    fit = with_rows(Fit((Assignment("a", entry),)), [(variable, {0: 0})])
    assert [one.key for one in fit.remapped] == ["a"]


def test_without_rows_nothing_changes():
    fit = fit_of()
    assert with_rows(fit, ()) is fit
    assert with_rows(fit, {}) is fit


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (3, "rows= has a value of another kind; expected {name of a variable: rows}, or a list"),
        (["net/a"], "another kind"),
        ({"x": {}}, "rows= finds no variable named 'x'"),
        ({"net/c": {}}, "net/c: rows= names a variable that gets no tensor"),
        ([("net/a", {}), ("a", {})], "net/a: rows= names a variable twice"),
        ({"net/b": {3: 0}}, "net/b: the tensor has fewer rows"),
    ],
)
def test_what_cannot_be_remapped_is_refused(rows, words):
    with pytest.raises(SelectionError) as error:
        with_rows(fit_of(), rows)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "more", [{"part": Slice("a", (8, 2), (0, 0), (4, 2))}, {"recipe": Recipe(("k",))}]
)
def test_parts_and_recipes_have_no_rows_of_their_own(more):
    with pytest.raises(SelectionError, match="has parts, or gets no tensor as it is"):
        with_rows(fit_of(**more), {"net/a": {}})
