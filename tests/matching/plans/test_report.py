"""Reports: exact text, folded rows, and the same facts for programs."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from tfpersist.errors import RestoreError
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.choices.selection import Selection
from tfpersist.matching.pairing.by_key import keyed
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.fit import Assignment, Fit, Missing
from tfpersist.matching.plans.report import RestoreReport, Row, Skipped

FLOAT = TensorSpec("float32", (2,))


def entry(name, spec=FLOAT, **facts):
    return Entry(name, name, spec, **facts)


def unfit():
    entries = [
        *(entry(f"layer_{i}/w") for i in range(12)),
        entry("head/b"),
        entry("head/w", TensorSpec("float32", (5,))),
        entry("step"),
    ]
    saved = {f"layer_{i}/kernel": FLOAT for i in range(3)}
    saved |= {"head/bias": FLOAT, "head/w": TensorSpec("float32", (1001,)), "step": FLOAT}
    return Selection().for_restore(saved, keyed(entries, Saved(saved)))


def test_the_table_of_what_does_not_fit():
    report = unfit().report("run/model.ckpt-5", carried_out=False)
    assert str(report).splitlines() == [
        "run/model.ckpt-5: 13 missing, 1 mismatched, 1 variable that would fit,"
        " 4 unexpected in the checkpoint",
        "  missing     layer_{0..11}/w                       float32[2]                 12 alike",
        "  missing     head/b                                float32[2]"
        "                 nearest: head/bias",
        "  mismatched  head/w                                float32[5]  float32[1001]",
        "  unexpected                   head/bias",
        "  unexpected                   layer_{0..2}/kernel                             3 alike",
        "By other evidence (same layer, same name), 4 of the 13 missing would be: head/bias ->"
        " head/b and 3 more.",
        "Look at the report's `suggestion`, {key: variable}; give it to .rename() if it is right.",
    ]
    assert report.suggestion == {
        "head/bias": "head/b",
        **{f"layer_{i}/kernel": f"layer_{i}/w" for i in range(3)},
    }
    assert report.restored == ()
    assert not report.fits


def test_every_row_is_in_the_error():
    report = unfit().report("run/model.ckpt-5", carried_out=False)
    text = str(RestoreError("it does not fit", report=report))
    for part in ("it does not fit", "layer_{0..11}/w", "float32[1001]", "head/bias", "12 alike"):
        assert part in text


def test_what_was_restored():
    entries = [entry("w"), entry("b"), entry("w/Adam", slot="Adam")]
    saved = dict.fromkeys(("w", "w/avg", "b", "w/Adam", "w/Adam/x"), FLOAT)
    selection = Selection(averages="avg", renames={"b": "b"})
    fit = selection.for_restore(
        saved, entries, lambda averages, chosen: {one.key: (f"{one.key}/avg",) for one in chosen}
    )
    skipped = [Skipped("run", "model.ckpt-6", "it is damaged")]
    report = fit.report("run/model.ckpt-5", skipped=skipped, averages=True)
    assert report.averaged == ("w",)
    assert report.raw == ("b", "w/Adam")
    assert report.slots == {"w/Adam": "Adam"}
    assert report.unexpected == ("w/Adam/x",)
    assert str(report).splitlines()[:2] == [
        "run/model.ckpt-5: 3 variables restored (1 averages, 2 raw), 1 unexpected in the"
        " checkpoint",
        "  skipped run/model.ckpt-6: it is damaged",
    ]


def test_programs_get_the_same_facts():
    report = unfit().report("run/model.ckpt-5", carried_out=False)
    facts = json.loads(report.to_json())
    assert facts["checkpoint"] == "run/model.ckpt-5"
    assert len(facts["rows"]) == len(report.rows)
    assert facts["rows"][0] == {
        "outcome": "missing",
        "variable": "layer_0/w",
        "key": "layer_0/w",
        "expected": "float32[2]",
        "found": "",
        "slot": "",
        "nearest": list(report.rows[0].nearest),
        "reason": "same name",
        "proposal": "layer_0/kernel",
        "alternatives": [],
        "path": "",
        "recipe": None,
    }


def test_a_checkpoint_that_was_skipped_has_its_path_and_the_parts_of_it():
    skipped = Skipped("memory://run", "model.ckpt-6", "it is cut", quarantined=True)
    assert skipped.checkpoint == "memory://run/model.ckpt-6"
    [facts] = RestoreReport("run", (), (skipped,)).as_dict()["skipped"]
    assert facts == {
        "location": "memory://run",
        "prefix": "model.ckpt-6",
        "checkpoint": "memory://run/model.ckpt-6",
        "reason": "it is cut",
        "outcome": "",
        "quarantined": True,
    }


def test_a_notebook_shows_a_table_with_nothing_unescaped():
    report = RestoreReport("<run>", (Row("restored", "<b>", "<b>", "float32[2]"),))
    shown = report._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    assert shown.count("<tr>") == 2


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["a1", "a2", "a10"], "a{1..10}"),
        (["a1/b", "a1/c"], "a1/b"),
        (["block1/unit2/w", "block3/unit2/w"], "block{1..3}/unit2/w"),
    ],
)
def test_repeated_layers_are_one_row(names, shown):
    report = RestoreReport(
        "run", tuple(Row("restored", name, name, "float32[2]") for name in names)
    )
    assert shown in str(report)


def test_renamed_variables_show_both_names():
    report = RestoreReport("run", (Row("restored", "v", "x", "float32[2]"),))
    assert report.renamed == {"x": "v"}
    assert str(report).splitlines()[1].split() == ["restored", "v", "x", "float32[2]"]


def test_rows_that_are_made_late_are_what_rows_are():
    fit = Fit((Assignment("b", entry("b")),), (Missing("a", entry("a")),))
    report, same = fit.report("run"), fit.report("run")
    assert report == same
    assert hash(report) == hash(same)
    assert report.rows == tuple(report.rows)
    assert [row.outcome for row in report.rows] == ["missing", "restored"]
    assert (len(report.rows), report.rows[1].variable) == (2, "b")
    assert not report.fits
    assert repr(report.rows[0]) in repr(report)
    assert [row["outcome"] for row in report.as_dict()["rows"]] == ["missing", "restored"]


def test_a_report_can_be_pickled_and_copied():
    fit = Fit((Assignment("b", entry("b")),), (Missing("a", entry("a")),))
    report = fit.report("run", carried_out=False)
    for again in (pickle.loads(pickle.dumps(report)), copy.deepcopy(report)):
        assert again == report
        assert str(again) == str(report)
    error = RestoreError("it does not fit", report=report)
    assert pickle.loads(pickle.dumps(error)).report.missing == ("a",)
