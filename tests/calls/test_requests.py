"""Fetches and feeds in the forms in which users pass them."""

from __future__ import annotations

import pytest

from tfpersist.calls import requests
from tfpersist.errors import FeedError


@pytest.mark.parametrize(
    ("fetches", "expected"),
    [
        ("x", "X"),
        (["x", "y", "x"], ["X", "Y", "X"]),
        (("x",), ["X"]),
        ([], []),
        ({1: "x", "two": "y"}, {1: "X", "two": "Y"}),
        ({}, {}),
    ],
)
def test_results_have_the_form_of_the_fetches(fetches, expected):
    assert requests.structured(fetches, lambda names: [name.upper() for name in names]) == expected


def test_feeds_are_a_dict_or_none():
    assert requests.feeds_of(None) == {}
    assert requests.feeds_of({"x": 1}) == {"x": 1}
    with pytest.raises(FeedError, match=r"the feeds must be a dict.*got 3.*'x:0'"):
        requests.feeds_of(3)


def test_a_tensor_is_fed_once():
    requests.refuse_fed_twice("x:0", "x", {"y:0"})
    with pytest.raises(FeedError, match="x:0: this tensor is fed twice; got it again as 'image'"):
        requests.refuse_fed_twice("x:0", "image", {"x:0"})


def test_all_missing_feeds_are_named():
    error = requests.missing_feeds([("a:0", "float32[2]"), ("b:0", "int32[]")])
    assert str(error) == (
        "a:0, b:0: the fetches need all these placeholders, and they are not fed; expected"
        " float32[2], int32[]. Pass feeds={'a:0': ...}."
    )
