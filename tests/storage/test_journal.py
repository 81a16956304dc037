import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.storage import journal, open_storage
from tfpersist.storage.journal import Journal, decode, is_staged, staged_name

names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1).filter(
    lambda name: name not in {".", ".."}
)
staged = st.builds(staged_name, st.just("0123456789abcdef"), st.integers(0, 999_999_999))


@given(st.dictionaries(names, staged), st.lists(names, unique=True).map(tuple))
def test_round_trip(moves, discards):
    plan = Journal(moves, discards)
    assert decode(plan.encode()) == plan
    assert list(decode(plan.encode()).moves) == list(moves)


@given(st.dictionaries(names, staged, min_size=1), st.data())
def test_a_truncated_journal_is_ignored(moves, data):
    encoded = Journal(moves).encode()
    assert decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))]) is None


@given(st.binary())
def test_any_bytes_are_a_journal_or_are_ignored(data):
    assert decode(data) is None or isinstance(decode(data), Journal)


@pytest.mark.parametrize(
    "facts",
    [
        {"version": 2, "moves": [], "discards": []},
        {"version": 1, "moves": [["a", "b"]], "discards": []},
        {"version": 1, "moves": [["a/b", staged_name("0" * 16, 1)]], "discards": []},
        {"version": 1, "moves": [["a", "../" + staged_name("0" * 16, 1)]], "discards": []},
        {"version": 1, "moves": [], "discards": ["../a"]},
        {"version": 1, "moves": {}, "discards": 5},
        {"version": 1, "moves": [["a\0b", staged_name("0" * 16, 1)]], "discards": []},
        {"version": 1, "moves": [["..", staged_name("0" * 16, 1)]], "discards": []},
        {"version": 1, "moves": [], "discards": ["a\0b"]},
        {"version": 1, "moves": [], "discards": ["\ud800"]},
        {"version": 1, "moves": [], "discards": [""]},
        {"version": 1, "moves": [[1]], "discards": []},
    ],
)
def test_invalid_journals(facts):
    assert decode(json.dumps(facts).encode()) is None


def test_a_journal_from_a_stranger_is_ignored(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("stays")
    (tmp_path / "run").mkdir()
    storage = open_storage(tmp_path / "run")
    for name in ("../precious", str(precious), "..", ".", "", "a\0b", "\ud800"):
        facts = {"version": 1, "moves": [], "discards": [name]}
        (tmp_path / "run" / journal.NAME).write_text(json.dumps(facts))
        with storage.publish(durable=False) as publication:
            publication.create("file").write(b"new")
        assert storage.names() == {"file"}
    assert precious.read_text() == "stays"


def test_names():
    assert is_staged(staged_name("0123456789abcdef", 12))
    assert not any(
        map(is_staged, ["a", ".tfpersist-journal", ".tfpersist-0123456789abcdef.1.tmpx"])
    )
    assert not is_staged(journal.NAME)
