"""What a user passes is checked before it is used."""

from __future__ import annotations

import datetime
import math

import pytest

from tfpersist.arguments import seconds


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1d", 86400.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("1h 30m", 5400.0),
        ("45s", 45.0),
        (0.5, 0.5),
        (datetime.timedelta(minutes=2), 120.0),
    ],
)
def test_a_length_of_time_in_seconds(value, expected):
    assert seconds(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *("", "h", "1", "1 fortnight", "1h soon", "-1h", None, [1], True, 10**400),
        *(0, -1, math.nan, math.inf, datetime.timedelta(0), datetime.timedelta(-1)),
    ],
)
def test_anything_else_is_no_length_of_time(value):
    assert seconds(value) is None
