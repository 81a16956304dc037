"""A damaged checkpoint is noticed, skipped and renamed; an intact one stays."""

from __future__ import annotations

import errno
import itertools
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.checkpoint import state_file
from tfpersist.checkpoint.directory import Directory
from tfpersist.errors import (
    CheckpointNotFoundError,
    CorruptionError,
    StorageError,
    TFPersistError,
)
from tfpersist.formats import bundle
from tfpersist.storage import open_storage
from tfpersist.store.quarantine import ending_of, quarantine

DATA = ".data-00000-of-00001"
SIDECAR = ".tfpersist.json"


def values(step, size=6):
    numbers = np.random.default_rng(step)
    return {
        "w": numbers.standard_normal((size, 2)).astype(np.float32),
        "b": numbers.integers(0, 9, size),
        "s": np.array([b"text %d" % step, b""], object),
    }


def empty(size=6):
    return {
        "w": np.zeros((size, 2), np.float32),
        "b": np.zeros(size, int),
        "s": np.array([b"", b""], object),
    }


def step_in(target, *steps, size=6):
    """Return the save whose values a target has, bit by bit; there must be one."""
    for step in steps:
        saved = values(step, size)
        if all((saved[key] == target[key]).all() for key in saved):
            return step
    raise AssertionError(target)


def names(path):
    return sorted(os.listdir(path))


@pytest.fixture
def store(tmp_path):
    store = tfp.ModelStore(tmp_path, durable=False)
    for step in (1, 2):
        store.save(values(step), step)
    return store


def flip(path, at=3):
    data = bytearray(path.read_bytes())
    data[at] ^= 16
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def extend(path):
    path.write_bytes(path.read_bytes() + b"stray")


def remove(path):
    path.unlink()


def swap(path):
    """Put the same file of the other checkpoint in its place."""
    path.write_bytes(path.with_name(path.name.replace("-2", "-1", 1)).read_bytes())


HARMS = {
    f"{harm.__name__} {suffix}": (harm, suffix)
    for harm, suffix in itertools.product((flip, cut, extend, remove, swap), (".index", DATA))
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_checkpoint_is_skipped_and_renamed(store, tmp_path, harm):
    spoil, suffix = HARMS[harm]
    spoil(tmp_path / f"model.ckpt-2{suffix}")
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    target = empty()
    report = store.restore(target)
    assert step_in(target, 1, 2) == 1
    assert [each.quarantined for each in report.skipped] == [True]
    assert "quarantined as *.corrupt-1" in str(report)
    assert "quarantined as *.corrupt-1" in report._repr_html_()
    assert report.as_dict()["skipped"][0]["quarantined"] is True
    moved = {
        f"{name}.corrupt-1" if "-2" in name else name: data
        for name, data in before.items()
        if name != "checkpoint"
    }
    found = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    state = state_file.read(open_storage(tmp_path)).says
    assert found.pop("checkpoint")
    assert found == moved
    assert state.all == ("model.ckpt-1",)
    assert [each.step for each in store.checkpoints()] == [1]
    assert store.latest().step == 1
    again = store.restore(target)
    assert again.skipped == ()


def test_quarantined_files_are_never_deleted_nor_replaced(store, tmp_path):
    def aside():
        return {name: (tmp_path / name).read_bytes() for name in names(tmp_path) if "corr" in name}

    for number in (1, 2):
        flip(tmp_path / f"model.ckpt-2{DATA}", number)
        store.restore(empty())
        kept = aside()
        assert len(kept) == 3 * number
        assert [each.step for each in store.checkpoints()] == [1]
        with pytest.raises(CheckpointNotFoundError, match=r"only quarantined: model\.ckpt-2\.data"):
            store.at(2).restore(empty())
        store.save(values(2), 2)
    for step in (3, 4):
        tfp.ModelStore(store.location, keep=tfp.Keep(last=1)).save(values(step), step)
    store.prune(keep=tfp.Keep(last=1))
    incremental = tfp.ModelStore(store.location, incremental=True)
    incremental.save(values(4), 5)
    assert aside() == kept
    assert [each.step for each in store.checkpoints()] == [4, 5]
    # Without the end of its name it is what it was.
    for name in kept:
        if name.endswith(".corrupt-1"):
            (tmp_path / name).rename(tmp_path / name.removesuffix(".corrupt-1"))
    assert not tfp.Checkpoint(tmp_path / "model.ckpt-2").verify().ok


def test_several_damaged_checkpoints(store, tmp_path):
    for step in (3, 4, 5):
        store.save(values(step), step)
    for step in (2, 3, 5):
        cut(tmp_path / f"model.ckpt-{step}{DATA}")
    target = empty()
    report = store.restore(target)
    assert step_in(target, 4) == 4
    assert [each.checkpoint[-1] for each in report.skipped] == ["5"]
    # Those that are older than what was restored were not looked at.
    flip(tmp_path / "model.ckpt-4.index")
    report = store.restore(target)
    assert step_in(target, 1) == 1
    assert [each.checkpoint[-1] for each in report.skipped] == ["4", "3", "2"]
    assert all(each.quarantined for each in report.skipped)


def test_where_none_is_sound_all_stay(store, tmp_path):
    for step in (1, 2):
        flip(tmp_path / f"model.ckpt-{step}{DATA}")
    before = names(tmp_path)
    with pytest.raises(CorruptionError, match="2 checkpoints are here, and none is intact"):
        store.restore(empty())
    assert names(tmp_path) == before


def test_a_checkpoint_requested_by_name_is_not_renamed(store, tmp_path):
    flip(tmp_path / f"model.ckpt-2{DATA}")
    before = names(tmp_path)
    for restore in (
        lambda: store.at(2).restore(empty()),
        lambda: store._with(chosen="model.ckpt-2").restore(empty()),
        lambda: dict(tfp.Checkpoint(tmp_path / "model.ckpt-2")),
    ):
        with pytest.raises(CorruptionError):
            restore()
    assert not store.at(2).latest().verify().ok
    assert names(tmp_path) == before


def test_in_memory_and_behind_a_url(tmp_path):
    for number, location in enumerate(("memory://quarantine", f"local://{tmp_path}/remote")):
        store = tfp.ModelStore(location)
        for step in (1, 2):
            store.save(values(step), step)
        storage = open_storage(location)
        (name,) = Directory.look(storage).files("model.ckpt-2").shards
        data = bytes(storage.read(name))
        with storage.publish() as publication:
            publication.create(name).write(data[:9])
        target = empty()
        report = store.restore(target)
        assert step_in(target, 1) == 1, number
        assert report.skipped[0].quarantined
        assert f"{name}.corrupt-1" in storage.names()
        assert list(Directory.look(storage).complete) == ["model.ckpt-1"]


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


RESTORE = """
    import os, sys
    import numpy as np
    import tfpersist as tfp
    store = tfp.ModelStore(sys.argv[1])
    target = {"b": np.zeros(6, int)}
    print("ready", flush=True)
    sys.stdin.readline()
    report = store.only(["b"]).restore(target)
    print(*(each.outcome for each in report.skipped))
    print(report.checkpoint[-1], target["b"].tolist())
"""


def test_a_directory_that_cannot_be_written(store, tmp_path):
    warm = tfp.ModelStore("memory://quarantine/warm")
    for step in (1, 2):
        warm.save(values(step), step)
    for path in (*tmp_path.parents[:3], tmp_path):
        path.chmod(0o755)
    flip(tmp_path / f"model.ckpt-2{DATA}", 66)
    before = names(tmp_path)
    tmp_path.chmod(0o555)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            target = empty()
            report = store.restore(target)
            told = report.skipped[0].outcome
            good = told.startswith("not quarantined: ") and "permission" in told.lower()
            good = good and not report.skipped[0].quarantined
            status = 0 if good and step_in(target, 1, 2) == 1 else 2
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    tmp_path.chmod(0o755)
    assert status == 0
    assert names(tmp_path) == before


def test_processes_that_come_upon_it_at_once(store, tmp_path):
    seen = []
    for step in range(2, 6):
        store.save(values(step), step)
        for suffix in (DATA, ".index"):
            flip(tmp_path / f"model.ckpt-{step}{suffix}", 66)
        readers = [start(RESTORE, tmp_path) for _ in range(2)]
        assert [reader.stdout.readline() for reader in readers] == ["ready\n"] * 2
        for reader in readers:
            reader.stdin.write("\n")
            reader.stdin.flush()
        told = [reader.communicate(timeout=60)[0] for reader in readers]
        assert [each.splitlines()[-1] for each in told] == [f"1 {values(1)['b'].tolist()}"] * 2
        seen.append("".join(told).count("quarantined as *.corrupt-1"))
        aside = [name for name in names(tmp_path) if name.startswith(f"model.ckpt-{step}")]
        assert len(aside) == 3
        if all(name.endswith(".corrupt-1") for name in aside):
            continue
        # Each has seen that the other still read it; whoever is next does it.
        assert not any("corrupt" in name for name in aside)
        store.restore(empty())
    assert len([name for name in names(tmp_path) if "corrupt-1" in name]) == 3 * 4
    assert not [name for name in names(tmp_path) if "corrupt-2" in name]
    assert sum(seen) > 0


def test_one_that_is_pinned_or_sound_or_gone_stays(store, tmp_path):
    storage = open_storage(tmp_path)
    assert str(quarantine(storage, "model.ckpt-2")) == "not quarantined: it is intact now"
    assert str(quarantine(storage, "model.ckpt-7")) == "not quarantined: it is gone"
    flip(tmp_path / f"model.ckpt-2{DATA}")
    before = names(tmp_path)
    with store.at(2).latest().pin():
        report = store.restore(empty())
        assert "not quarantined: it is pinned" in str(report)
        assert names(tmp_path) == before
    assert store.restore(empty()).skipped[0].quarantined
    assert str(quarantine(storage, "model.ckpt-2")) == "quarantined as *.corrupt-1"


def test_a_checkpoint_saved_again_during_the_check_stays(store, tmp_path):
    flip(tmp_path / f"model.ckpt-2{DATA}")
    storage = open_storage(tmp_path)

    class Slow(type(storage)):
        def rename(self, names, **options):
            store.save(values(2), 2)
            return super().rename(names, **options)

    outcome = quarantine(Slow(storage.directory), "model.ckpt-2")
    assert str(outcome) == "not quarantined: it was saved again"
    target = empty()
    assert store.restore(target).skipped == ()
    assert step_in(target, 2) == 2
    assert state_file.read(storage).says.latest == "model.ckpt-2"


def test_background_saves_are_waited_for(store, tmp_path):
    flip(tmp_path / f"model.ckpt-2{DATA}")
    saving = store.background()
    saving.save(values(3), 3)
    target = empty()
    assert saving.restore(target).skipped == ()
    assert step_in(target, 3) == 3
    flip(tmp_path / f"model.ckpt-3{DATA}")
    saving.save(values(2), 2)
    assert saving.restore(target).skipped == ()
    assert step_in(target, 2) == 2


def test_data_that_checkpoints_share(tmp_path):
    """A damaged file damages all that share it; what has one of its own is restored."""
    store = tfp.ModelStore(tmp_path, incremental=True)
    big = {"frozen": np.zeros(50_000), "head": np.zeros(3)}
    store.save({**big, "frozen": np.ones(50_000)}, 1)
    for step in (2, 3, 4):
        store.save({**big, "head": np.full(3, float(step))}, step)
    flip(tmp_path / "model.ckpt-4.data-00000-of-00002", 700)
    target = {"frozen": np.zeros(50_000), "head": np.zeros(3)}
    report = store.restore(target)
    assert (target["frozen"] == 1).all()
    assert [each.checkpoint[-1] for each in report.skipped] == ["4", "3", "2"]
    assert all(each.quarantined for each in report.skipped)
    assert store.save(big, 5).verify().ok


def test_tensorflow_does_not_name_it_again(store, tmp_path):
    import tensorflow as tf

    flip(tmp_path / f"model.ckpt-2{DATA}")
    assert tf.train.latest_checkpoint(str(tmp_path)).endswith("-2")
    store.restore(empty())
    assert tf.train.latest_checkpoint(str(tmp_path)).endswith("-1")
    state = tf.train.get_checkpoint_state(str(tmp_path))
    assert len(state.all_model_checkpoint_paths) == 1
    assert not tf.compat.v1.train.checkpoint_exists(str(tmp_path / "model.ckpt-2"))
    assert not tf.io.gfile.glob(str(tmp_path / "model.ckpt-2.index"))


def test_a_checkpoint_with_a_damaged_graph_is_skipped(tmp_path):
    import tensorflow as tf

    store = tfp.ModelStore(tmp_path)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        v = tf.compat.v1.get_variable("v", initializer=[1.0, 2.0])
        tf.add(v, v, name="twice")
        for step in (1, 2, 3):
            session.run(v.assign([step, 2.0]))
            store.save(session, step)
    flip(tmp_path / "model.ckpt-3.meta", 40)
    flip(tmp_path / f"model.ckpt-2{DATA}")
    before = names(tmp_path)
    with store.open_graph() as model:
        assert model.run("twice").tolist() == [2, 4]
        assert [each.checkpoint[-1] for each in model.report.skipped] == ["3", "2"]
        assert [each.quarantined for each in model.report.skipped] == [False, True]
        assert "meta graph" in model.report.skipped[0].reason
    assert {name.partition(".corrupt")[0] for name in names(tmp_path)} == set(before)
    with pytest.raises(CorruptionError, match="not the one that was saved"):
        store.at(3).open_graph()
    assert tfp.Checkpoint(tmp_path / "model.ckpt-3")["v"].tolist() == [3, 2]


# --- every byte ----------------------------------------------------------------------------------


def put_back(path, kept):
    """Put the files back as they were saved."""
    for name in names(path):
        if name not in kept:
            (path / name).unlink()
    for name, data in kept.items():
        if not (path / name).exists() or (path / name).read_bytes() != data:
            (path / name).write_bytes(data)


def restored(store, size=6):
    """Restore; return the step that was restored and the report."""
    target = empty(size)
    report = store.restore(target)
    step = step_in(target, 1, 2, size=size)
    assert report.checkpoint.endswith(f"-{step}")
    assert (step == 1) == bool(report.skipped) or step == 2
    return step, report


def test_every_byte_of_a_small_checkpoint(tmp_path):
    store = tfp.ModelStore(tmp_path, durable=False)
    for step in (1, 2):
        store.save(values(step, 1), step)
    kept = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    index = bundle.read_index(memoryview(kept["model.ckpt-2.index"]), "index")
    spans = [range(entry.offset, entry.offset + entry.size) for entry in index.entries.values()]
    fell_back = 0
    for name, data in kept.items():
        if "-1" in name:
            continue
        for at in range(len(data)):
            spoilt = bytearray(data)
            spoilt[at] ^= 1 << at % 8
            (tmp_path / name).write_bytes(spoilt)
            step, report = restored(store, 1)
            fell_back += step == 1
            if name.endswith(DATA):
                # What lies between tensors is nobody's value.
                assert step == (1 if any(at in span for span in spans) else 2), at
            elif name.endswith((SIDECAR, "checkpoint")):
                assert step == 2
                assert not report.note or name.endswith(SIDECAR)
            if step == 1:
                assert report.skipped[0].quarantined, (name, at)
                assert "model.ckpt-2.index" not in names(tmp_path)
            put_back(tmp_path, kept)
    assert fell_back > 150


def test_every_length_of_every_file(tmp_path):
    store = tfp.ModelStore(tmp_path, durable=False)
    for step in (1, 2):
        store.save(values(step, 1), step)
    kept = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    for name, data in kept.items():
        if "-1" in name:
            continue
        lengths = [*range(0, len(data), 3), len(data) - 1, len(data) + 1, len(data) + 500]
        for length in lengths:
            (tmp_path / name).write_bytes((data + bytes(500))[:length])
            step, _ = restored(store, 1)
            assert step == (2 if name.endswith((SIDECAR, "checkpoint")) else 1), (name, length)
            put_back(tmp_path, kept)


def test_random_bytes_of_a_larger_one(tmp_path):
    chance = np.random.default_rng(7)
    store = tfp.ModelStore(tmp_path, durable=False)
    size = 20_000
    for step in (1, 2):
        store.save(values(step, size), step)
    kept = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    outcomes = []
    for _ in range(40):
        name = chance.choice([f"model.ckpt-2{suffix}" for suffix in (".index", DATA, DATA)])
        spoilt = bytearray(kept[name])
        for _ in range(chance.integers(1, 4)):
            spoilt[chance.integers(len(spoilt))] ^= 1 << chance.integers(8)
        (tmp_path / name).write_bytes(spoilt)
        outcomes.append(restored(store, size)[0])
        put_back(tmp_path, kept)
    assert outcomes.count(1) > 30


@pytest.mark.parametrize("suffixes", [s for n in (1, 2, 3) for s in itertools.combinations(
    (".index", DATA, SIDECAR), n)], ids="+".join)  # fmt: skip
def test_files_of_two_checkpoints_that_were_swapped(store, tmp_path, suffixes):
    """Of equal shapes, so that only checksums tell; all of them swapped are just renamed."""
    for suffix in suffixes:
        one, two, spare = (tmp_path / f"{name}{suffix}" for name in (
            "model.ckpt-1", "model.ckpt-2", "spare"))  # fmt: skip
        shutil.move(one, spare)
        shutil.move(two, one)
        shutil.move(spare, two)
    target = empty()
    matched = (".index" in suffixes) == (DATA in suffixes)
    renamed = len(suffixes) == 3
    for checkpoint in store.checkpoints():
        report = checkpoint.verify()
        assert report.ok == renamed
        assert report.notes or not renamed
    if matched and SIDECAR in suffixes:
        report = store.restore(target)
        assert (report.checkpoint[-1] == str(step_in(target, 1, 2))) != renamed
        assert not report.skipped
        assert ("and renamed later" if renamed else "belongs to another") in report.note
    else:
        with pytest.raises(CorruptionError):
            store.restore(target)
        assert not any(array.any() for key, array in target.items() if key != "s")


def test_a_v1_checkpoint_is_quarantined_as_well(tmp_path, golden):
    source = golden / "1.4.1"
    for name in os.listdir(source):
        if name.startswith("plain_v1.ckpt"):
            for step in (1, 2):
                copy = tmp_path / name.replace("plain_v1.ckpt", f"old.ckpt-{step}")
                shutil.copy(source / name, copy)
                os.utime(copy, (step, step))
    found = list(Directory.look(open_storage(tmp_path)).complete)
    assert found == ["old.ckpt-1", "old.ckpt-2"]
    store = tfp.ModelStore(tmp_path, name="old.ckpt")
    target = {key: array.copy() for key, array in tfp.Checkpoint(tmp_path / "old.ckpt-1").items()}
    path = pathlib.Path(tmp_path / "old.ckpt-2")
    flip(path, 30)
    os.utime(path, (2, 2))
    report = store.restore(target)
    assert report.checkpoint.endswith("-1")
    assert report.skipped[0].quarantined
    assert "old.ckpt-2.corrupt-1" in names(tmp_path)


def test_an_interrupted_quarantine_is_completed_later(store, tmp_path):
    flip(tmp_path / f"model.ckpt-2{DATA}")
    (tmp_path / f"model.ckpt-2{DATA}").rename(tmp_path / f"model.ckpt-2{DATA}.corrupt-1")
    report = store.restore(empty())
    assert report.skipped[0].outcome == "quarantined as *.corrupt-1"
    assert len([name for name in names(tmp_path) if name.endswith(".corrupt-1")]) == 3


def test_every_damage_raises_a_tfpersist_error(store, tmp_path):
    (tmp_path / "model.ckpt-2.index").unlink()
    (tmp_path / "model.ckpt-2.index").mkdir()
    target = empty()
    try:
        store.restore(target)
    except TFPersistError:
        return
    assert step_in(target, 1, 2) == 1


def test_one_whose_sidecar_alone_is_damaged_stays(store, tmp_path):
    flip(tmp_path / f"model.ckpt-2{SIDECAR}", 20)
    assert not store.at(2).verify().ok
    outcome = quarantine(open_storage(tmp_path), "model.ckpt-2")
    assert outcome.reason == "it is intact now"


def test_all_that_bears_its_name_is_set_aside_and_its_index_last(store, tmp_path):
    (tmp_path / "model.ckpt-2.data-00001-of-00003").write_bytes(b"left by another program")
    flip(tmp_path / f"model.ckpt-2{DATA}")
    storage, renamed = open_storage(tmp_path), []

    class Recording(type(storage)):
        def rename(self, names, **options):
            renamed.extend(names)
            return super().rename(names, **options)

    quarantine(Recording(storage.directory), "model.ckpt-2")
    assert renamed[-1] == "model.ckpt-2.index"
    assert "model.ckpt-2.data-00001-of-00003" in renamed
    assert not [name for name in names(tmp_path) if "-2." in name and ".corrupt-1" not in name]


def test_the_last_ending_is_that_of_the_highest_number():
    present = ["m-1.index.corrupt-2", "m-1.index.corrupt-10", "m-1.index.corrupt-9", "m-2.index"]
    assert ending_of("m-1", present) == ".corrupt-10"
    assert ending_of("m-2", present) == ""
    assert ending_of("m", present) == ""


@pytest.mark.parametrize(("number", "message"), [(errno.ENOENT, ""), (errno.EIO, "broken")])
def test_one_that_is_removed_after_the_look_is_gone_and_a_failure_is_told(store, number, message):
    storage = open_storage(store.location)

    class Late(type(storage)):
        def hold(self, name, *, alone=False):
            failure = StorageError("broken")
            failure.errno = number
            raise failure

    late = Late(storage.directory)
    if message:
        with pytest.raises(StorageError, match=message):
            quarantine(late, "model.ckpt-2")
    else:
        assert quarantine(late, "model.ckpt-2").reason == "it is gone"
