"""Test what fits, what is tolerated, and the report of it all."""

from __future__ import annotations

import gc
import weakref

import pytest

from tfpersist.errors import SelectionError
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.fit import Assignment, Fit, Mismatch, Missing, Tolerance
from tfpersist.matching.plans.report import Skipped

SPEC = TensorSpec("float32", (2,))
W, B = Entry("w", "w", SPEC), Entry("b", "b", SPEC)
FITS = Assignment("w", W)


def misfit(shape, dtype="float32"):
    return Mismatch("b", B, TensorSpec(dtype, shape))


@pytest.mark.parametrize(
    ("mismatch", "overlaps"),
    [
        (misfit((9,)), True),
        (misfit((9, 1)), False),
        (misfit((9,), "float64"), False),
        (misfit(None), False),
    ],
)
def test_only_sizes_may_differ_in_a_slice(mismatch, overlaps):
    assert mismatch.overlaps is overlaps
    fit = Fit((FITS,), mismatched=(mismatch,)).tolerating(Tolerance(mismatched="slice"))
    assert fit.sliced == ((mismatch,) if overlaps else ())
    assert fit.fits is overlaps


def test_what_is_skipped_is_kept():
    missing, mismatch = Missing("b", B), misfit((9, 9))
    fit = Fit((FITS,), missing=(missing,), mismatched=(mismatch,))
    assert fit.tolerating(Tolerance()) == fit
    one = fit.tolerating(Tolerance(missing="skip"))
    assert (one.kept, one.missing, one.mismatched) == ((missing,), (), (mismatch,))
    both = fit.tolerating(Tolerance(missing="skip", mismatched="skip"))
    assert (both.kept, both.fits) == ((missing, mismatch), True)


def test_a_slice_alone_is_worth_a_restore():
    fit = Fit((), mismatched=(misfit((9,)),))
    assert fit.tolerating(Tolerance(mismatched="slice")).sliced == fit.mismatched
    assert fit.tolerating(Tolerance(mismatched="skip")) is fit


def test_a_fit_that_assigns_nothing_tolerates_nothing():
    fit = Fit((), missing=(Missing("w", W),))
    assert fit.tolerating(Tolerance(missing="skip")) is fit


def test_what_is_unexpected_may_be_refused():
    counter = "save_counter/.ATTRIBUTES/VARIABLE_VALUE"
    fit = Fit((FITS,), unexpected=("a", counter))
    assert fit.tolerating(Tolerance()).fits
    strict = fit.tolerating(Tolerance(unexpected="error"))
    assert (strict.fits, strict.refused, strict.unexpected) == (False, ("a",), (counter,))
    report = strict.report("m", carried_out=False)
    assert (report.fits, report.unexpected) == (False, ("a", counter))
    assert str(report).splitlines()[1].split() == ["refused", "a"]
    assert Fit((FITS,), unexpected=(counter,)).tolerating(Tolerance(unexpected="error")).fits


@pytest.mark.parametrize(
    "options", [{"missing": "slice"}, {"mismatched": "ignore"}, {"missing": 3}]
)
def test_a_tolerance_that_is_unknown(options):
    with pytest.raises(SelectionError, match="has an unknown value; expected 'error' or 'skip'"):
        Tolerance(**options)


def test_a_report_has_a_row_of_every_kind_and_its_problems_first():
    slot = Entry("s", "s", SPEC, slot="Adam")
    fit = Fit(
        (Assignment("w/avg", W, averaged=True), Assignment("s", slot)),
        missing=(Missing("m", B, ("n",)),),
        mismatched=(misfit((9,)),),
        unexpected=("w/avg/Adam",),
        unselected=("left",),
        kept=(Missing("k", B),),
        sliced=(misfit((7,)),),
    )
    skipped = Skipped("run", "model.ckpt-6", "it is cut")
    report = fit.report("run/model.ckpt-5", skipped=[skipped], averages=True, note="odd")
    assert [row.outcome for row in report.rows] == [
        *("missing", "mismatched", "kept", "sliced", "unexpected", "averaged", "restored")
    ]
    assert report.rows[0].nearest == ("n",)
    assert report.rows[1].found == "float32[9]"
    assert report.slots == {"w/avg/Adam": "Adam", "s": "Adam"}
    assert (report.skipped, report.unselected, report.note) == ((skipped,), ("left",), "odd")
    assert report.wanted_averages
    dry = fit.report("run/model.ckpt-5", carried_out=False)
    assert [row.outcome for row in dry.rows[-2:]] == ["fits", "fits"]
    assert not dry.carried_out


def test_a_report_keeps_no_variable_alive():
    class Variable:
        pass

    variable = Variable()
    fit = Fit((Assignment("w", Entry("w", "w", SPEC, variable)),))
    report, watched = fit.report("run"), weakref.ref(variable)
    del variable, fit
    gc.collect()
    assert watched() is None
    assert report.restored == ("w",)


def test_states_of_an_optimizer_stay_with_the_layer_that_they_are_kept_for():
    """Another head of the same name has another kernel, and a bias of the same shape."""
    kernel, bias, slot, other = (object() for _ in range(4))

    def entry(name, ref, **facts):
        return Entry(name, name, TensorSpec("float32", (2,)), ref, **facts)

    fits = [
        entry("bias", bias, layer="head"),
        entry("m", slot, kept_for=("adam/m", id(bias))),
        entry("n", other, kept_for=("adam/m", id(other))),
    ]
    fit = Fit(
        tuple(Assignment(one.key, one) for one in fits),
        mismatched=(
            Mismatch("kernel", entry("kernel", kernel, layer="head"), TensorSpec("float32", (3,))),
        ),
    )
    done = fit.tolerating(Tolerance(mismatched="skip"))
    assert [one.key for one in done.assignments] == ["n"]
    assert [one.key for one in done.kept] == ["kernel", "bias", "m"]
