"""Read, edit and write the state file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.checkpoint import state_file
from tfpersist.checkpoint.state_file import Record
from tfpersist.formats import state

PREFIXES = st.text(st.characters(codec="ascii"), min_size=1, max_size=6).filter(
    lambda text: "/" not in text
)


@given(
    st.lists(st.tuples(PREFIXES, st.booleans()), min_size=1, max_size=8, unique_by=lambda p: p[0]),
    PREFIXES,
    st.sampled_from([0.0, 1234.5]),
)
def test_naming_writes_what_format_state_does(named, latest, preserved):
    """However the record came about, its bytes are those of a file that is written anew."""
    dates = {prefix: 1.5 + place // 2 for place, (prefix, _) in enumerate(named)}
    before = state.format_state(
        state.StateFile(named[-1][0], tuple(dates), tuple(dates.values()), preserved)
    )
    left = {prefix: dates[prefix] for prefix, stays in named if stays and prefix != latest}
    wanted = {**left, latest: 99.5}
    expected = state.format_state(
        state.StateFile(latest, tuple(wanted), tuple(wanted.values()), preserved)
    )
    record = Record(before).naming(wanted)
    assert record.content == expected
    assert record.dates == wanted
    again = record.naming({**wanted, "and one more": 100.5})
    assert Record(again.content).dates == {**wanted, "and one more": 100.5}
    assert Record(again.content).last_preserved == preserved


@pytest.mark.parametrize(
    ("date", "ordered"), [(2.5, True), (2.0, True), (1.0, False), (float("inf"), False)]
)
def test_one_more_is_in_order_if_it_is_the_newest(date, ordered):
    record = Record(state.format_state(state.StateFile("b", ("a", "b"), (1.5, 2.0))))
    assert record.naming({"b": 2.0, "c": date}).is_ordered is ordered


def test_several_new_ones_are_named_at_once():
    content = state.format_state(state.StateFile("m-1", ("m-1",), (1.5,)))
    for dates in ({"m-1": 1.5, "m-2": 2.5, "m-3": 3.5}, {"m-2": 2.5, "m-3": 3.5}):
        record = Record(content).naming(dates)
        assert Record(record.content).dates == dates


def test_paths_become_relative_when_it_is_written_again():
    content = state.format_state(state.StateFile("/old/m-1", ("/old/m-1",), (1.5,)))
    record = Record(content).naming({"m-1": 1.5, "m-2": 2.5})
    assert state.parse_state(record.content, "").all == ("m-1", "m-2")


def test_no_checkpoint_no_file():
    assert Record(b"").naming({}).content is None


@pytest.mark.parametrize(
    ("said", "ordered"),
    [
        (state.StateFile("b", ("a", "b"), (1.0, 2.0)), True),
        (state.StateFile("b", ("a", "b"), (2.0, 2.0)), True),
        (state.StateFile("a", ("a", "b"), (1.0, 2.0)), False),
        (state.StateFile("b", ("a", "b"), (2.0, 1.0)), False),
        (state.StateFile("b", ("a", "b")), False),
        (state.StateFile("b", ("b", "b"), (1.0, 2.0)), False),
        (state.StateFile("b", ("b",), (0.0,)), False),
        (state.StateFile("b", ("b",), (float("inf"),)), False),
        (state.StateFile("b"), False),
    ],
)
def test_the_file_gives_the_order_only_if_it_is_consistent(said, ordered):
    record = Record(state.format_state(said))
    assert record.is_ordered is ordered
    if ordered:
        assert record.naming(dict(record.dates)).is_ordered


def test_the_latest_is_the_newest_at_any_place_of_the_list():
    record = Record(state.format_state(state.StateFile("a", ("a", "b"), (1.0, 2.0))))
    assert list(record.dates) == ["b", "a"]


def test_an_unreadable_file_has_no_facts():
    for content in (None, b"\xff", b"model_checkpoint_path: 3"):
        record = Record(content)
        assert (record.says, dict(record.dates), record.is_ordered) == (None, {}, False)
        assert record.last_preserved == 0


def test_reading(tmp_path):
    from tfpersist.storage import open_storage

    assert state_file.read(open_storage(tmp_path)).content is None
    (tmp_path / "checkpoint").write_bytes(b"any")
    record = state_file.read(open_storage(tmp_path))
    assert (record.content, record.file) == (b"any", f"{tmp_path}/checkpoint")
