"""The state of a training in a checkpoint: kinds, texts, JSON and differences."""

from __future__ import annotations

import json

import pytest

from tfpersist.matching.plans.resume import Fact, Resume

FACTS = (
    Fact("covered", "seeds", "2 generators"),
    Fact("replayed", "data", "OwnedIterator", "it is stateful"),
    Fact("not covered", "counters", "f", "nobody can read them", "Use others."),
)


def test_facts_are_listed_by_kind_and_survive_json():
    resume = Resume(FACTS, {"numpy": "2.0"})
    assert (resume.covered, resume.replayed, resume.not_covered) == tuple((f,) for f in FACTS)
    again = Resume.from_dict(json.loads(json.dumps(resume.as_dict())))
    assert again == resume
    assert str(again).splitlines() == [
        "to resume: 1 covered, 1 replayed, 1 not covered",
        "  covered  seeds: 2 generators",
        "  replayed  data: OwnedIterator; it is stateful",
        "  not covered  counters: f; nobody can read them. Use others.",
    ]


def test_differences_of_the_environment_are_listed():
    resume = Resume((), {"numpy": "2.0", "threads": "1"}).now({"numpy": "2.1", "threads": "1"})
    assert resume.changed == ("numpy was 2.0 and is 2.1",)
    assert "1 difference of the environment:\n    numpy was 2.0" in str(resume)


def test_names_from_a_file_are_escaped():
    assert "\x1b" not in str(Resume((Fact("covered", "\x1b[31m"),)))


@pytest.mark.parametrize("wrong", [{}, {"facts": [{"coverage": "good", "what": "x"}]}])
def test_what_is_no_list_of_facts_is_refused(wrong):
    with pytest.raises((KeyError, ValueError)):
        Resume.from_dict(wrong)
