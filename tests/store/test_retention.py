"""The rules of what is kept: for any history, and for options that make no sense."""

from __future__ import annotations

import datetime
import itertools
import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import NameNotFoundError, RetentionError
from tfpersist.store.retention import (
    Best,
    Candidate,
    Keep,
    Pruning,
    as_keep,
    best_of,
    decide,
)

values = st.one_of(st.floats(), st.integers(-3, 3).map(float))
metrics = st.dictionaries(st.sampled_from(["loss", "accuracy"]), values)
facts = st.tuples(
    st.integers(0, 40), st.one_of(st.none(), st.integers(0, 40)), metrics, st.booleans()
)


@st.composite
def histories(draw):
    """Some checkpoints, oldest first."""
    rows = sorted(draw(st.lists(facts, max_size=14)), key=lambda row: row[0])
    return [
        Candidate(f"m-{number}", created * 600.0, step, measured, damaged)
        for number, (created, step, measured, damaged) in enumerate(rows)
    ]


def odd(candidate):
    return candidate.step is not None and candidate.step % 2 == 1


single = st.one_of(
    st.builds(Keep, last=st.integers(1, 5)),
    st.builds(Keep, every=st.sampled_from(["30m", 3600, datetime.timedelta(hours=2)])),
    st.builds(
        Keep,
        best=st.tuples(
            st.sampled_from(["loss", "accuracy"]),
            st.sampled_from(["max", "min"]),
            st.integers(1, 3),
        ),
    ),
    st.builds(Keep, steps=st.integers(1, 10)),
    st.just(Keep(where=odd)),
)
keeps = st.lists(single, min_size=1, max_size=3).map(tuple).map(as_keep)


def kept(candidates, keep):
    return [each.candidate for each in decide(candidates, keep) if each.kept]


@given(histories(), keeps)
def test_the_newest_sound_one_and_the_damaged_stay(history, keep):
    stay = kept(history, keep)
    intact = [each for each in history if not each.damaged]
    assert intact[-1:] == [each for each in stay if not each.damaged][-1:]
    assert [each for each in stay if each.damaged] == [each for each in history if each.damaged]


@given(histories(), keeps)
def test_deciding_twice_changes_nothing(history, keep):
    stay = kept(history, keep)
    assert kept(stay, keep) == stay


@given(histories(), keeps)
def test_it_makes_no_difference_how_often_one_prunes(history, keep):
    present = []
    for each in history:
        present = kept([*present, each], keep)
    assert present == kept(history, keep)


@given(histories(), single, single)
def test_joined_rules_keep_what_each_keeps(history, one, other):
    both = {each.name for each in kept(history, one | other)}
    assert both == {each.name for rule in (one, other) for each in kept(history, rule)}
    assert kept(history, one | other) == kept(history, as_keep((one, other)))


@given(histories(), st.integers(1, 6))
def test_last_counts_what_can_be_restored(history, count):
    intact = [each for each in history if not each.damaged]
    stay = [each for each in kept(history, Keep(last=count)) if not each.damaged]
    assert stay == intact[-count:]


@given(histories(), st.sampled_from(["max", "min"]))
def test_no_value_is_better_than_the_best_and_nan_never_wins(history, mode):
    intact = [each for each in history if not each.damaged]
    numbers = [each.metrics["loss"] for each in intact if "loss" in each.metrics]
    numbers = [number for number in numbers if not math.isnan(number)]
    if not numbers:
        with pytest.raises(NameNotFoundError):
            best_of(history, Best("loss", mode), "here")
        return
    best = best_of(history, Best("loss", mode), "here")
    assert best.metrics["loss"] == (max if mode == "max" else min)(numbers)
    assert best in kept(history, Keep(best=("loss", mode)))
    equal = [each for each in intact if each.metrics.get("loss") == best.metrics["loss"]]
    assert best == equal[-1]


@given(histories())
def test_every_leaves_no_two_too_near_and_no_gap_too_wide(history):
    rule = Keep(every="1h")
    reason = "one every 1h"
    times = [v.candidate.created for v in decide(history, rule) if reason in v.reasons]
    assert all(later - earlier >= 3600 for earlier, later in itertools.pairwise(times))
    for each in history:
        if not each.damaged:
            assert any(each.created - 3600 < time <= each.created for time in times)


def test_every_restarts_after_a_clock_that_was_ahead():
    times = [0, 1000, 9e8, 2000, 2010, 5600, 5700]
    history = [Candidate(f"m-{number}", time) for number, time in enumerate(times)]
    kept = [v.candidate.created for v in decide(history, Keep(every="1h")) if v.kept]
    assert kept == [0, 9e8, 2000, 5600, 5700]


def test_every_takes_any_length_of_time():
    assert Keep(every="2h") == Keep(every=datetime.timedelta(hours=2)) == Keep(every=7200)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"last": 0},
        {"last": -1},
        {"last": True},
        {"last": 2.5},
        {"last": "3"},
        {"every": "1 fortnight"},
        {"every": ""},
        {"every": "h"},
        {"every": 0},
        {"every": math.nan},
        {"every": math.inf},
        {"every": datetime.timedelta(0)},
        {"every": [1]},
        {"every": True},
        {"best": ("loss", "least")},
        {"best": ()},
        {"best": ("loss", "min", 0)},
        {"best": ("loss", "min", 1, 1)},
        {"best": 3},
        {"best": (3, "min")},
        {"steps": 0},
        {"where": "step > 3"},
    ],
)
def test_a_keep_without_rules_is_refused(options):
    with pytest.raises(RetentionError) as caught:
        Keep(**options)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("value", [5, "last", (), (Keep(last=1), 2)])
def test_a_value_that_is_not_a_keep_is_refused(value):
    with pytest.raises(RetentionError, match="a Keep, a tuple of them"):
        as_keep(value)


def test_a_keep_joins_only_keeps():
    with pytest.raises(TypeError):
        Keep(last=1) | 5


def test_a_failing_where_names_the_checkpoint():
    with pytest.raises(RetentionError, match="where= failed on 'm-7': KeyError: 'loss'"):
        decide([Candidate("m-7", 1.0)], Keep(where=lambda each: each.metrics["loss"] < 1))


def test_a_metric_that_is_not_there():
    history = [Candidate("m", 1.0, 1, {"accuracy": math.nan, "val_loss": 1.0})]
    with pytest.raises(NameNotFoundError, match="Did you mean 'accuracy'"):
        best_of(history, Best("acuracy"), "here")
    with pytest.raises(NameNotFoundError, match="Its values are NaN"):
        best_of(history, Best("accuracy"), "here")
    with pytest.raises(NameNotFoundError, match="Pass metrics= to save"):
        best_of([], Best("accuracy"), "here")


def test_the_table():
    history = [Candidate(f"model-{step}", step, step, {"loss": 1 / step}) for step in (1, 20, 300)]
    history[1] = attrs.evolve(history[1], damaged=True)
    table = Pruning("runs", decide(history, Keep(best=("loss", "min"))))
    assert str(table) == (
        "runs: 2 checkpoints stay, 1 went\n"
        "  gone   model-1\n"
        "  stays  model-20   damaged; kept for you to examine\n"
        "  stays  model-300  the newest; best loss (min): 0.00333333"
    )
    assert table.kept == ("model-20", "model-300")
    assert table.dropped == ("model-1",)


def test_rules_may_be_joined_in_any_order():
    history = [Candidate(f"m-{step}", float(step), step) for step in range(1, 9)]
    one, other, third = Keep(last=1), Keep(steps=3), Keep(where=lambda each: each.step == 4)
    for keep in ((one | other) | third, one | (other | third), as_keep((one, other | third))):
        assert [each.step for each in kept(history, keep)] == [3, 4, 6, 8]


def test_a_reason_is_given_once():
    history = [Candidate("m-1", 1.0, 1)]
    (verdict,) = decide(history, Keep(last=2) | Keep(last=2))
    assert verdict.reasons == ("the newest", "among the last 2")
