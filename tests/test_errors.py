"""Messages: where, what was expected, what came instead and what to do next."""

import errno
import pickle
import re

import pytest

from tfpersist import errors
from tfpersist.errors import CorruptionError, StorageError, TFPersistError


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({}, "it is cut."),
        ({"where": "m.index"}, "m.index: it is cut."),
        ({"expected": 3}, "it is cut; expected 3."),
        ({"found": 0}, "it is cut; got 0."),
        ({"expected": 3, "found": "4"}, "it is cut; expected 3, got 4."),
        ({"advice": "Copy it again."}, "it is cut. Copy it again."),
        ({"found": 1, "advice": "Did you mean 'a'?"}, "it is cut; got 1. Did you mean 'a'?"),
        ({"where": "a\x1b[2J\n"}, "a\\x1b[2J\\n: it is cut."),
    ],
)
def test_a_message_has_the_facts_that_are_known(facts, text):
    assert str(TFPersistError("it is cut", **facts)) == text


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ArgumentError", TypeError),
        ("StorageError", OSError),
        ("ConflictError", errors.StorageError),
        ("CheckpointNotFoundError", FileNotFoundError),
        ("NameNotFoundError", KeyError),
        ("TargetError", TypeError),
        ("RetentionError", ValueError),
        ("FeedError", ValueError),
    ],
)
def test_builtin_errors_are_caught_too_and_the_message_stays(name, builtin):
    error = getattr(errors, name)("it is cut", expected=1, found=2)
    assert isinstance(error, builtin)
    assert str(error) == "it is cut; expected 1, got 2."


@pytest.mark.parametrize("name", [name for name in vars(errors) if name.endswith("Error")])
def test_errors_travel_between_processes(name):
    error = getattr(errors, name)("it is cut", advice="Copy it again.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_facts_of_an_error_travel_with_it():
    error = StorageError("full", where="/runs")
    error.errno = errno.ENOSPC
    again = pickle.loads(pickle.dumps(error))
    assert (again.errno, again.where) == (errno.ENOSPC, "/runs")
    damage = pickle.loads(pickle.dumps(CorruptionError("cut", file="m.index", offset=7)))
    assert (damage.file, damage.offset) == ("m.index", 7)
    assert str(damage).startswith("m.index, byte 7: cut. Restore another checkpoint")


@pytest.mark.parametrize("name", ["RestoreError", "ParityError"])
def test_a_report_follows_the_message(name):
    assert str(getattr(errors, name)("no", report="a table")) == "no.\na table"
    assert str(getattr(errors, name)("no")) == "no."


def test_findings_follow_the_message():
    assert str(errors.UnsafeModelError("no", findings=("one", "two"))) == "no.\n  one\n  two"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (1.5, "1.5"),
        (b"a", "b'a'"),
        ([1], "a list"),
        (errors, "a module"),
        (int, "the class int"),
        (TFPersistError, "the class tfpersist.errors.TFPersistError"),
        (TFPersistError("x"), "a tfpersist.errors.TFPersistError"),
        (ArithmeticError(), "an ArithmeticError"),
        (object(), "an object"),
    ],
)
def test_the_text_of_a_value(value, text):
    assert errors.value_text(value) == text


def test_the_nearest_names_have_the_same_last_part_or_similar_letters():
    names = ["dense/kernel", "dense/bias", "conv/kernel", "karnel", "other"]
    assert errors.nearest("dense_1/kernel", names)[:2] == ["dense/kernel", "conv/kernel"]
    assert errors.nearest("kernal", names)[0] == "karnel"
    assert errors.nearest("dense_1/kernel", names, most=1) == ["dense/kernel"]
    assert errors.nearest("zzz", names) == []
    assert errors.nearest("a/", ["b/", "a/c"])[0] == "a/c"


def test_advice_on_a_name_lists_all_names_if_none_is_similar():
    assert errors.did_you_mean("zzz", "abc") == "There are 'a', 'b', 'c'."
    assert errors.did_you_mean("zzz", map(str, range(10))).endswith("'7' and 2 more.")
    assert errors.did_you_mean("zzz", []) == "There are no names at all."


def test_long_names_are_shown_by_their_ends():
    known = ["a" * 3000 + str(number) for number in range(10)]
    for name in (known[0] + "q", "other"):
        advice = errors.did_you_mean(name, known)
        assert "a..." in advice
        assert re.search(r"a\d'", advice)
        assert len(advice) < 2000
