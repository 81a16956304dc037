"""Weights that are tied now and were apart in the checkpoint are noted."""

from __future__ import annotations

import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.fit import Assignment, Fit
from tfpersist.matching.plans.tied import tied

SPEC = TensorSpec("float32", (2,))


def assigned(number):
    entry = Entry(f"a{number}", f"a{number}", SPEC, aliases=(f"a{number}", f"b{number}"))
    return Assignment(entry.key, entry)


def test_many_are_shortened():
    fit = Fit(tuple(map(assigned, range(5))), unexpected=tuple(f"b{n}" for n in range(5)))
    assert tied(fit).count("is one variable here") == 3
    assert tied(fit).endswith("it takes a2, and not b2; and 2 more")


@pytest.mark.parametrize("unexpected", [(), ("c0",), ("a0",)])
def test_other_tensors_are_no_reason_for_a_note(unexpected):
    entry = Entry("a0", "a0", SPEC, aliases=("b0",))
    assert tied(Fit((Assignment("a0", entry),), unexpected=unexpected)) == ""


def module(a, b):
    made = tf.Module()
    made.a = tf.Variable(a)
    made.b = made.a if b is None else tf.Variable(b)
    return made


def test_a_report_has_the_note():
    store = tfp.ModelStore("memory://test/tied")
    store.save(module(1.0, 2.0))
    report = store.restore(together := module(0.0, None))
    assert "a is one variable here and several in the checkpoint" in str(report)
    assert "not b/.ATTRIBUTES/VARIABLE_VALUE" in report.note
    assert float(together.b) == 1.0
    store.save(together)
    assert store.restore(module(0.0, None)).note == ""
