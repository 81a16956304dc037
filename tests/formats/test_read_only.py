"""Test that a read-only mapping reads as a dict does, and survives pickle and copy."""

from __future__ import annotations

import copy
import pickle

import pytest

from tfpersist.formats.read_only import ReadOnly

VALUES = {"b": 1, "a": 2}


def test_it_reads_as_the_dict():
    mapping = ReadOnly(VALUES)
    assert (list(mapping), len(mapping), mapping["a"], mapping.get("c")) == (["b", "a"], 2, 2, None)
    assert "b" in mapping
    assert "c" not in mapping
    assert mapping == VALUES
    assert repr(mapping) == repr(VALUES)
    assert list(mapping.items()) == list(VALUES.items())


def test_nobody_changes_it():
    mapping = ReadOnly(dict(VALUES))
    with pytest.raises(TypeError):
        mapping["a"] = 3
    with pytest.raises(TypeError):
        del mapping["a"]
    with pytest.raises(AttributeError):
        mapping.update(a=3)


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_it_survives(again):
    assert again(ReadOnly(VALUES)) == VALUES
