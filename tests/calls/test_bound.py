"""A bound function checks its values, and returns arrays that belong to the caller."""

from __future__ import annotations

import contextlib
import sys
import threading

import numpy as np
import pytest

from tfpersist.calls.bound import Binding, Bound, Guard, Output, refuse_twice
from tfpersist.errors import FeedError, RunError


def doubling(labels=None, *, single=False, fit=None):
    """Return a bound function of one vector that gives its double and its half."""

    @contextlib.contextmanager
    def translated():
        try:
            yield
        except ZeroDivisionError as error:
            raise RunError("translated") from error

    def compute(value):
        if not value.size:
            raise ZeroDivisionError
        return [value * 2, value / 2]

    binding = Binding(
        guards=(Guard(np.dtype(np.float32), (None,), fit or np.float32),),
        results=(Output(True), Output(True)),
        single=single,
        labels=labels,
        compute=compute,
        translated=translated,
        forked=lambda: RunError("forked"),
        pickled=lambda: (str, ("pickled",)),
    )
    return Bound(("x:0",), ("a:0", "b:0"), binding)


def test_results_have_the_form_that_was_bound():
    value = np.float32([1, 2])
    double, half = doubling()(value)
    assert (double.tolist(), half.tolist()) == ([2, 4], [0.5, 1])
    assert doubling(single=True)(value).tolist() == [2, 4]
    found = doubling(labels=("a", 7))(value)
    assert list(found) == ["a", 7]
    assert found[7].tolist() == [0.5, 1]


def test_only_what_does_not_fit_as_it_is_is_converted():
    converted = []

    def fit(value):
        converted.append(value)
        return np.asarray(value, np.float32).reshape(-1)

    call = doubling(fit=fit)
    call(np.float32([1]))
    assert converted == []
    for value in ([1.0], np.float64([1]), np.float32([[1]]), np.float32([1, 2, 3])[::2]):
        call(value)
    assert len(converted) == 4


def test_misuse_and_failures_are_errors_of_tfpersist():
    with pytest.raises(FeedError, match="wrong number of values; expected 1: x:0, got 2"):
        doubling()([1.0], [2.0])
    with pytest.raises(RunError, match="translated"):
        doubling()(np.float32([]))
    with pytest.raises(FeedError, match="y:0: this input is named twice"):
        refuse_twice(["x:0", "y:0", "y:0"])
    assert repr(doubling()) == "<Bound x:0 -> a:0, b:0>"


def test_a_constant_is_copied_for_each_of_several_threads():
    """One thread runs to its end before each line of another."""
    lines = iter(range(1, 40))
    reached = True
    while reached:
        stop, reached = next(lines), False
        constant = np.ones(4)
        output = Output(True)
        output.own(constant.view())
        passed = 0

        def each_line(frame, event, _, stop=stop, output=output, constant=constant):
            nonlocal passed, reached
            if frame.f_code is not Output.own.__code__:
                return None
            passed += event == "line"
            if event == "line" and passed == stop:
                reached = True
                thread = threading.Thread(target=lambda: output.own(constant.view()))
                thread.start()
                thread.join()
            return each_line

        before = sys.gettrace()
        sys.settrace(each_line)
        try:
            output.own(constant.view())
        finally:
            sys.settrace(before)
        assert not np.may_share_memory(output.own(constant.view()), constant)
