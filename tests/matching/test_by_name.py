"""Variables of objects, and checkpoints that know names only."""

from __future__ import annotations

import pytest

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching import by_name
from tfpersist.matching.plan import Entry


def paired(names, specs):
    members = [
        by_name.Named(Entry(name, name, TensorSpec("float32", shape)), (name,))
        for name, shape in names.items()
    ]
    specs = {key: TensorSpec("float32", shape) for key, shape in specs.items()}
    return [entry.key for entry in by_name.pair(members, specs)]


@pytest.mark.parametrize(
    ("names", "specs", "expected"),
    [
        ({"a/w": (2,)}, {"a/w": (2,), "b/a/w": (2,)}, ["a/w"]),
        ({"a/w": (3,)}, {"a/w": (2,), "b/w": (3,)}, ["a/w"]),
        ({"dense/w": (2,)}, {"model/dense/w": (2,)}, ["model/dense/w"]),
        ({"model/dense/w": (2,)}, {"dense/w": (2,)}, ["dense/w"]),
        ({"mine/dense/w": (2,)}, {"net/dense/w": (2,)}, ["net/dense/w"]),
        ({"w": (2,)}, {"a/w": (2,), "b/w": (2,)}, ["w"]),
        ({"w": (2,)}, {"a/w": (2,), "b/w": (3,)}, ["a/w"]),
        ({"x/w": (2,), "y/w": (2,)}, {"w": (2,)}, ["x/w", "y/w"]),
        ({"a/w": (2,)}, {"b/w": (2,)}, ["a/w"]),
        ({"m_3/dense_7/w": (2,)}, {"dense/w": (2,), "dense_1/w": (3,)}, ["dense/w"]),
        ({"dense_7/w": (2,)}, {"dense/w": (2,), "dense_1/w": (2,)}, ["dense_7/w"]),
        ({"Variable": (2,), "Variable_1": (3,)}, {"Variable": (2,), "Variable_1": (3,)}, None),
        ({}, {"a": (1,)}, []),
    ],
    ids=[
        "equal before similar",
        "equal whatever the shape",
        "a scope more in the file",
        "a scope less in the file",
        "another scope",
        "two would do",
        "one of two fits",
        "wanted twice",
        "one part in common is not enough",
        "numbers differ",
        "numbers differ and two would do",
        "numbers agree",
        "nothing wanted",
    ],
)
def test_a_name_is_taken_only_where_there_is_no_choice(names, specs, expected):
    assert paired(names, specs) == (list(names) if expected is None else expected)
