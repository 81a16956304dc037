"""What is said of the order of the data: covered, large, replayed, made by Python."""

from __future__ import annotations

import tensorflow as tf

from tfpersist.tf.internals.iterators import IteratorState
from tfpersist.tf.training.data_facts import facts_of, unknown


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
    strategy = facts_of(iterator, None, 0)
    assert strategy[0].why == "the iterator of a strategy has no state"
    assert unknown("why", "advice")[0].coverage == "not covered"
