"""A row of the tables, for a cell of which more is known."""

from __future__ import annotations

import pytest

from tfpersist.matching.forms.forms import FORMS

ADDING = [form for form in FORMS if form.adds]


def test_forms_that_add_have_the_default_and_none_as_their_ways():
    assert len(ADDING) == 4
    for form in ADDING:
        assert form.ways["bias"].steps[-1] == ("add_to_block", 0, 4, 1, 1.0)
        assert form.others["bias"].steps == form.ways["bias"].steps[:-1]


@pytest.mark.parametrize("form", ADDING, ids=lambda form: form.stored["kernel"])
def test_a_known_forget_bias_leaves_no_other_way(form):
    known = form.with_forget_bias(0.5)
    assert known.ways["bias"].steps == (
        *form.ways["bias"].steps[:-1],
        ("add_to_block", 0, 4, 1, 0.5),
    )
    assert known.others == {}
    assert known.title.endswith("forget_bias 0.5 added, as the graph says")
    assert known.ways["kernel"] == form.ways["kernel"]
    assert form.with_forget_bias(0.0).ways["bias"].steps == form.ways["bias"].steps[:-1]
