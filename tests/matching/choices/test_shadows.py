"""Where the moving averages of variables are found, and where not."""

from __future__ import annotations

import pytest

from tfpersist.errors import SelectionError
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.choices.shadows import shadows_in
from tfpersist.matching.plans.entry import Entry

SPEC = TensorSpec("float32", (2,))


def found(*keys, names=("w", "net/w"), suffix="avg", other=()):
    specs = {**dict.fromkeys(keys, SPEC), **dict.fromkeys(other, TensorSpec("float32", (3,)))}
    entries = [Entry(name, name, SPEC) for name in names]
    return shadows_in(specs, suffix, entries, {name: (f"{name}/{suffix}",) for name in names})


def test_an_average_stands_below_its_variable():
    assert found("w", "w/avg", "net/w") == {"w": "w/avg"}


def test_one_that_was_made_under_a_scope_is_the_longest_names():
    assert found("w", "net/w", "train/net/w/avg") == {"net/w": "train/net/w/avg"}
    assert found("w", "net/w", "train/w/avg") == {"w": "train/w/avg"}


def test_what_belongs_to_another_variable_is_not_taken():
    assert found("w", "net/w", "net/w/avg", names=["w", "net/w"]) == {"net/w": "net/w/avg"}
    for keys in (["w", "net/w", "net/w/avg"], ["w", "a/w/avg", "b/w/avg"]):
        with pytest.raises(SelectionError, match="no moving average"):
            found(*keys, names=["w"])
    with pytest.raises(SelectionError, match="no moving average"):
        found("w", names=["w"], other=["train/w/avg"])


@pytest.mark.parametrize(
    ("suffix", "keys", "problem"),
    [
        ("agv", ["w", "w/avg", "w/Adam"], "end in 'Adam', 'avg'. Did you mean 'avg'"),
        ("agv", ["w", "train/w/avg"], "end in 'avg'. Did you mean 'avg'"),
        ("", ["w", "w/avg"], "end in 'avg'. Leave averages"),
        ("avg", ["w"], "of the selected variables. Leave averages"),
        ("avg", ["w", "net", "net/avg"], r"variables of only\(\) have no averages"),
    ],
)
def test_averages_that_are_nowhere_are_an_error_that_names_the_nearest(suffix, keys, problem):
    with pytest.raises(SelectionError, match=problem):
        found(*keys, names=["w"], suffix=suffix)
