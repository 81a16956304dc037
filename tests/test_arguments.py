"""Arguments of a user are checked before they are used."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pytest

from tfpersist import arguments
from tfpersist.arguments import seconds
from tfpersist.errors import ArgumentError


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
def test_other_values_are_not_a_length_of_time(value):
    assert seconds(value) is None


class Named:
    def __init__(self, name):
        self.name = name

    def __iter__(self):
        raise AssertionError


class Keras(list):
    """A Keras variable has a path; that it can be iterated says nothing."""

    path, name = "dense/kernel", ""


def test_lists_among_arguments_are_flattened_and_tensors_are_not():
    tensor, feeds = Named("x:0"), {"a": 1}
    array = np.arange(2)
    array.flags.writeable = False
    values = ["ab", [tensor, ("c",)], tensor, feeds, {"s"}, 3]
    assert list(arguments.flattened(values)) == ["ab", tensor, ("c",), tensor, feeds, "s", 3]


def test_tensors_are_names_or_have_names():
    assert arguments.tensors(["x", Named("y:0")], "outputs") == ("x", "y:0")
    for value in ("", 3, None, Named(""), Named(3), b"x"):
        with pytest.raises(ArgumentError, match=r"^outputs\(\): .*\"operation:index\" or a tensor"):
            arguments.tensors([value], "outputs")


def test_variables_are_names_or_have_names_or_paths():
    chosen = ["conv/*", Named("w:0"), Keras()]
    assert arguments.variables(chosen, "keep_variables") == tuple(chosen)
    with pytest.raises(ArgumentError, match=r"^keep_variables\(\): .* got 3\."):
        arguments.variables(["w", 3], "keep_variables")


def test_values_are_by_the_names_of_tensors():
    assert arguments.values_of({Named("x:0"): 1, "y": 2}, "bake") == {"x:0": 1, "y": 2}
    for values in ([("x", 1)], {3: 1}, None):
        with pytest.raises(ArgumentError, match=r"^bake\(\): "):
            arguments.values_of(values, "bake")


def test_a_name_and_one_of_several():
    assert arguments.text("serve", "tags") == "serve"
    assert arguments.one_of("int8", ("float16", "int8"), "weights") == "int8"
    for value in ("", None, 3):
        with pytest.raises(ArgumentError, match=r"^tags\(\): .*expected a name"):
            arguments.text(value, "tags")
    for value in ("Int8", None, ["int8"], np.array(["int8", "float16"])):
        with pytest.raises(ArgumentError, match=r"expected 'float16' or 'int8'"):
            arguments.one_of(value, ("float16", "int8"), "weights")


@pytest.mark.parametrize("value", [0, 1e-5, np.float32(0.5), np.int64(3)])
def test_a_tolerance(value):
    assert arguments.tolerance(value, "parity") == value


@pytest.mark.parametrize("value", [-1, -1e-9, math.nan, math.inf, "0", None, True, 10**400, [0]])
def test_invalid_tolerances_are_refused(value):
    with pytest.raises(ArgumentError, match=r"^parity\(\): .*a finite number, 0 or more"):
        arguments.tolerance(value, "parity")


@pytest.mark.parametrize(
    ("value", "least", "number"),
    [(3, 1, 3), (np.int8(3), 1, 3), (0, 0, 0), (0, 1, None), (2, 3, None), (True, 0, None)],
)
def test_a_count(value, least, number):
    assert arguments.count_of(value, least) == number


def test_a_size():
    assert arguments.size(np.int64(3), "batch") == 3
    for value in (0, -1, 1.5, "2", True, None, 1 << 31):
        with pytest.raises(ArgumentError, match=r"batch\(\).*expected a whole number from 1 on"):
            arguments.size(value, "batch")
