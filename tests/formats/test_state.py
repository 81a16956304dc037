"""The state file."""

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import CorruptionError
from tfpersist.formats import schema, state

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.floats(0, 1e11)
STATES = st.builds(
    state.StateFile,
    NAMES,
    st.lists(NAMES, max_size=4).map(tuple),
    st.lists(TIMES, max_size=4).map(tuple),
    TIMES,
)


@given(STATES)
def test_round_trip(value):
    assert state.parse_state(state.format_state(value), "checkpoint") == value


@given(STATES)
def test_it_is_what_protobuf_writes_and_reads(value):
    proto = schema.CheckpointState(
        model_checkpoint_path=value.latest,
        all_model_checkpoint_paths=value.all,
        all_model_checkpoint_timestamps=value.timestamps,
        last_preserved_timestamp=value.last_preserved,
    )
    text = text_format.MessageToString(proto).encode()
    assert state.format_state(value) == text
    assert state.parse_state(text, "checkpoint") == value
    assert state.parse_state(b"# a comment\n" + text, "checkpoint") == value


def test_it_is_what_tensorflow_writes(tmp_path):
    import tensorflow as tf

    root = tf.train.Checkpoint(v=tf.Variable(1.0))
    manager = tf.train.CheckpointManager(root, str(tmp_path), max_to_keep=2)
    for _ in range(3):
        manager.save()
    content = (tmp_path / "checkpoint").read_bytes()
    found = state.parse_state(content, "checkpoint")
    assert (found.latest, found.all) == ("ckpt-3", ("ckpt-2", "ckpt-3"))
    assert len(found.timestamps) == 2
    assert found.last_preserved > 0
    assert state.format_state(found) == content


@given(STATES)
def test_tensorflow_reads_it(tmp_path_factory, value):
    import tensorflow as tf

    if not value.latest:
        return
    folder = tmp_path_factory.getbasetemp()
    (folder / "checkpoint").write_bytes(state.format_state(value))
    theirs = tf.train.get_checkpoint_state(str(folder))
    assert theirs.model_checkpoint_path.endswith(value.latest)
    assert list(theirs.all_model_checkpoint_timestamps) == list(value.timestamps)


def test_files_of_old_releases(old_files):
    found = {
        f"{path.parent.parent.name}/{path.parent.name}": state.parse_state(
            path.read_bytes(), path.name
        )
        for path in old_files.rglob("checkpoint")
        if path.is_file()
    }
    assert found["2.4.4/mgr"].latest == "ckpt-7"
    assert len(found["2.4.4/mgr"].timestamps) == 1
    moved = [each.latest for each in found.values() if each.latest.startswith("/data/run")]
    assert {latest.rpartition("/")[2] for latest in moved} == {"shard2_v2.ckpt"}
    assert len(moved) == 3
    assert len(found) > 10


@pytest.mark.parametrize(
    ("content", "offset"),
    [
        (b'model_checkpoint_path: "a"\nnonsense: 5\n', 27),
        (b'model_checkpoint_path: "a', 23),
        (b"\xff\xfe", 0),
        (b'model_checkpoint_path: "\\377"', None),
        (b"a {" * 100_000, None),
        (b"SQLite format 3\0", None),
    ],
)
def test_rubbish_is_refused_with_its_place(content, offset):
    with pytest.raises(CorruptionError) as caught:
        state.parse_state(content, "checkpoint")
    assert caught.value.file == "checkpoint"
    assert offset is None or caught.value.offset == offset


def test_a_damaged_file_is_a_state_or_is_refused(survives):
    content = b'model_checkpoint_path: "m-2"\nall_model_checkpoint_timestamps: 1.5e3\n'
    read = lambda damaged: state.parse_state(damaged, "checkpoint")  # noqa: E731
    assert survives(read, content, lambda found: isinstance(found, state.StateFile))


def test_an_empty_file_names_nothing():
    assert state.parse_state(b"", "checkpoint") == state.StateFile("")


PLAIN = st.integers(0, 10**9).map("m-{}".format)


@given(st.lists(PLAIN, min_size=1, max_size=6, unique=True), st.data(), TIMES)
def test_an_edited_file_is_the_one_that_would_be_written_anew(names, data, preserved):
    times = [float(at) for at in range(len(names))]
    before = state.StateFile(names[-1], tuple(names), tuple(times), preserved)
    gone = data.draw(st.sets(st.sampled_from(names)))
    left = [(name, time) for name, time in zip(names, times, strict=True) if name not in gone]
    edited = state.edited(
        state.format_state(before),
        {name: times[names.index(name)] for name in gone},
        "new",
        99.5,
    )
    after = state.StateFile(
        "new",
        (*(name for name, _ in left), "new"),
        (*(time for _, time in left), 99.5),
        preserved,
    )
    assert edited == state.format_state(after)


@pytest.mark.parametrize(
    ("content", "without", "latest"),
    [
        (b"", {}, "m-2"),
        (b"# by hand\n", {}, "m-2"),
        (b'model_checkpoint_path: "m-1"\n', {"m-1": 1.5}, "m-2"),
        (b'model_checkpoint_path: "m-1"\n', {}, 'm"2'),
        (b'model_checkpoint_path: "m-1"\n', {}, "m'2"),
        (b'model_checkpoint_path: "m-1"\n', {}, "é"),
    ],
)
def test_what_tensorflow_would_not_write_is_not_edited(content, without, latest):
    assert state.edited(content, without, latest, 2.5) is None
