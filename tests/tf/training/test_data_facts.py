"""Facts on the order of the data: covered, large, replayed, made by Python."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tfpersist.tf.internals.iterators import IteratorState
from tfpersist.tf.training.data_facts import facts_of, of_validation, unknown


def test_each_kind_of_data_has_its_facts():
    iterator = iter(tf.data.Dataset.range(3))
    small = facts_of(iterator, IteratorState(b""), 9)
    assert [(fact.coverage, fact.advice) for fact in small] == [("covered", "")]
    large = facts_of(iterator, IteratorState(b""), 5 << 20)
    assert "5,242,880 bytes" in large[0].where
    assert large[0].advice.startswith("Shuffle file names")
    replayed = facts_of(iterator, IteratorState(None, "RandomShuffle is stateful"), 0)
    assert [(f.coverage, f.why) for f in replayed] == [("replayed", "RandomShuffle is stateful")]
    python = facts_of(iterator, IteratorState(None, "PyFunc is stateful"), 0)
    assert [fact.coverage for fact in python] == ["replayed", "not covered"]
    unseeded = facts_of(iterator, IteratorState(None, "", is_seeded=False), 0)
    assert [fact.what for fact in unseeded][1:] == ["random ops of the data without seeds"]
    strategy = facts_of(iterator, None, 0)
    assert strategy[0].why == "the iterator of a strategy has no state"
    assert unknown("why", "advice")[0].coverage == "not covered"


PLAIN = tf.data.Dataset.range(4).batch(2)


@pytest.mark.parametrize(
    ("data", "steps", "why"),
    [
        (None, None, ""),
        (([1.0], [2.0]), None, ""),
        (PLAIN, None, ""),
        (PLAIN, 2, ""),
        (PLAIN.shuffle(2, seed=1, reshuffle_each_iteration=False), None, ""),
        (PLAIN, 1, "goes on after the one before"),
        (PLAIN.repeat(), 2, "goes on after the one before"),
        (PLAIN.shuffle(2, seed=1).prefetch(1), None, "seeds begin anew"),
        (PLAIN.map(lambda n: tf.random.normal(())), None, "seeds begin anew"),
        (iter(()), None, "nobody knows"),
    ],
)
def test_validation_data_that_would_be_others_are_named(data, steps, why):
    found = of_validation(data, steps)
    assert [fact.coverage for fact in found] == (["not covered"] if why else [])
    assert all(why in fact.why for fact in found)
