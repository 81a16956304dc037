"""Stores that prune: what goes, what stays, and who reads, saves or is killed meanwhile."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from killing import killing_directory

import tfpersist as tfp
from tfpersist.checkpoint import state_file, verified
from tfpersist.checkpoint.directory import Directory
from tfpersist.errors import (
    CheckpointNotFoundError,
    NameNotFoundError,
    RetentionError,
    StorageError,
)
from tfpersist.storage import open_storage
from tfpersist.storage.staged import StagedStorage
from tfpersist.store.pruning import prune
from tfpersist.store.retention import (
    Keep,
)


@pytest.fixture(params=["disk", "memory"])
def location(request, tmp_path):
    return tmp_path / "run [1] é" if request.param == "disk" else f"memory://keep/{tmp_path.name}"


def model(value=0):
    return {"w": np.full((20, 30), float(value)), "b": np.full(3, float(value))}


def steps(store):
    return [checkpoint.step for checkpoint in store.checkpoints()]


def file_names(path):
    return sorted(os.listdir(path))


def test_each_save_prunes_also_after_a_restart(location):
    for step in range(8):
        keep = tfp.Keep(last=2, best=("accuracy", "max")) | tfp.Keep(steps=3)
        store = tfp.ModelStore(location, keep=keep)
        checkpoint = store.save(model(step), step, {"accuracy": -abs(step - 2)})
        assert checkpoint.verify().ok
    assert steps(store) == [0, 2, 3, 6, 7]
    target = model()
    assert store.best("accuracy").restore(target).checkpoint.endswith("-2")
    assert target["b"][0] == 2
    assert store.restore(target).checkpoint.endswith("-7")


def test_no_file_of_what_went_is_left(tmp_path):
    store = tfp.ModelStore(tmp_path, keep=tfp.Keep(last=1))
    for step in (1, 2):
        store.save(model(step), step)
    names = ["checkpoint", *(f"model.ckpt-2{end}" for end in (".data-00000-of-00001", ".index"))]
    assert file_names(tmp_path) == [*names, "model.ckpt-2.tfpersist.json"]
    state = state_file.read(store.latest().storage).says
    assert (state.latest, state.all) == ("model.ckpt-2", ("model.ckpt-2",))


def test_names_with_a_common_prefix_and_the_longest_steps(location):
    store = tfp.ModelStore(location, keep=tfp.Keep(last=2))
    other = tfp.ModelStore(location, name="model.ckpt-best")
    long = 1_764_363_484_123_456_789
    for step in (1, long, long + 1, 2**63 - 1):
        other.save(model(7), step=step)
        store.save(model(step % 100), step=step)
    assert steps(store) == [long + 1, 2**63 - 1]
    assert steps(other) == [1, long, long + 1, 2**63 - 1]
    assert store.latest().name == f"model.ckpt-{2**63 - 1}"
    with pytest.raises(CheckpointNotFoundError):
        store.at(1).restore(model())
    other.prune(keep=tfp.Keep(last=1))
    assert (len(steps(other)), len(steps(store))) == (1, 2)


def test_a_dry_run_removes_nothing(location):
    store = tfp.ModelStore(location)
    for step in (1, 2, 3):
        store.save(model(step), step)
    with pytest.raises(RetentionError, match="no rules say which"):
        store.prune()
    table = store.prune(keep=tfp.Keep(last=2), dry_run=True)
    assert table.dropped == ("model.ckpt-1",)
    assert table.dry_run
    assert "1 would go" in str(table)
    assert steps(store) == [1, 2, 3]
    assert tfp.ModelStore(store.location, keep=tfp.Keep(last=2)).prune().dropped == (
        "model.ckpt-1",
    )
    assert steps(store) == [2, 3]


def test_checkpoints_of_other_names_are_left_alone(tmp_path):
    other = tfp.ModelStore(tmp_path, name="model.ckpt-best")
    other.save(model(1), 1)
    other.save(model(2))
    tfp.ModelStore(tmp_path, name="model").save(model(3), 3)
    (tmp_path / "model.ckpt-5.txt").write_text("mine")
    before = set(file_names(tmp_path))
    store = tfp.ModelStore(tmp_path, keep=tfp.Keep(last=1))
    for step in (1, 2, 3):
        store.save(model(step), step)
    assert before <= set(file_names(tmp_path))
    assert len([name for name in file_names(tmp_path) if name.endswith(".index")]) == 4


def test_clear_removes_all_of_one_name_and_what_is_pinned_stays(location):
    store, other = tfp.ModelStore(location), tfp.ModelStore(location, name="other")
    other.save(model(), 1)
    for step in range(3):
        store.save(model(step), step)
    with store.at(1).latest().pin():
        cleared = store.clear()
        assert cleared.dropped == ("model.ckpt-0", "model.ckpt-2")
        assert [verdict.reasons for verdict in cleared.verdicts if verdict.kept] == [
            ("pinned, or being read or written",)
        ]
        assert steps(store) == [1]
    assert store.clear().dropped == ("model.ckpt-1",)
    assert store.clear().verdicts == ()
    assert [checkpoint.name for checkpoint in other.checkpoints()] == ["other-1"]
    # The store goes on as a new one does.
    assert store.save(model(5), 1)["b"][0] == 5


def test_clear_leaves_no_file(tmp_path):
    store = tfp.ModelStore(tmp_path, incremental=True).background()
    for step in range(3):
        store.save(model(step), step)
    store.wait()
    (tmp_path / "model.ckpt-1.data-00000-of-00001").write_bytes(b"damaged")
    (tmp_path / "model.ckpt-3.index").write_bytes(b"without data")
    store.save(model(4), 4)
    store.clear()
    assert file_names(tmp_path) == []


def test_best(location):
    store = tfp.ModelStore(location)
    with pytest.raises(NameNotFoundError, match="no checkpoint has a metric 'loss'"):
        store.best("loss")
    for step, loss in enumerate([0.5, math.nan, 0.25, 0.75]):
        store.save(model(step), step, {"val_loss": loss})
    store.save(model(9), 9)
    with pytest.raises(NameNotFoundError, match="Did you mean 'val_loss'"):
        store.best("loss", mode="min")
    best = store.best("val_loss", mode="min")
    assert best.latest().step == 2
    assert steps(best) == [2]
    assert steps(best.at(9)) == [9]
    assert steps(store.best("val_loss")) == [3]
    with pytest.raises(RetentionError):
        store.best("val_loss", mode="most")
    unnumbered = tfp.ModelStore(location, name="other")
    unnumbered.save(model(4), metrics={"val_loss": 1})
    target = model()
    unnumbered.best("val_loss").restore(target)
    assert target["b"][0] == 4


@pytest.mark.parametrize("harm", ["cut", "index", "missing"])
def test_the_newest_sound_one_stays_when_newer_ones_are_damaged(tmp_path, harm):
    store = tfp.ModelStore(tmp_path)
    for step in (1, 2, 3):
        store.save(model(step), step)
    for step in (2, 3):
        data = tmp_path / f"model.ckpt-{step}.data-00000-of-00001"
        index = tmp_path / f"model.ckpt-{step}.index"
        if harm == "cut":
            data.write_bytes(data.read_bytes()[:-100])
        elif harm == "index":
            index.write_bytes(index.read_bytes()[:-1] + b"x")
        else:
            data.unlink()
    table = store.prune(keep=tfp.Keep(last=1))
    assert table.dropped == ()
    assert "damaged" in str(table)
    assert store.at(1).restore(model()).checkpoint.endswith("-1")
    tfp.ModelStore(store.location, keep=tfp.Keep(last=1)).save(model(4), 4)
    kept = [each.candidate.name for each in store.prune(keep=tfp.Keep(last=1)).verdicts]
    assert kept == [f"model.ckpt-{step}" for step in (2, 3, 4)]


def flip(path, at=40):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_kept_checkpoints_are_read_before_any_is_removed(tmp_path):
    store = tfp.ModelStore(tmp_path)
    for step in range(1, 7):
        store.save(model(step), step, {"accuracy": float(step)})
    for step in (5, 6):
        flip(tmp_path / f"model.ckpt-{step}.data-00000-of-00001", 3)
    for dry_run in (True, False):
        table = store.prune(keep=tfp.Keep(last=2) | tfp.Keep(best="accuracy"), dry_run=dry_run)
        assert table.dropped == ("model.ckpt-1", "model.ckpt-2")
        assert str(table).count("damaged") == 2
        assert "model.ckpt-4  the newest; among the last 2; best accuracy" in str(table)
    report = store.restore(model())
    assert report.checkpoint.endswith("-4")
    assert len(report.skipped) == 2


def test_where_all_are_damaged_none_goes(tmp_path):
    store = tfp.ModelStore(tmp_path)
    for step in (1, 2, 3):
        store.save(model(step), step)
        flip(tmp_path / f"model.ckpt-{step}.data-00000-of-00001", 3)
    assert store.prune(keep=tfp.Keep(last=1)).dropped == ()


def test_damage_among_the_last_is_made_up_for_at_each_save(tmp_path):
    store = tfp.ModelStore(tmp_path, keep=tfp.Keep(last=2))
    for step in (1, 2):
        store.save(model(step), step)
    flip(tmp_path / "model.ckpt-2.data-00000-of-00001", 3)
    store.save(model(3), 3)
    assert [(each.step, each.verify().ok) for each in store.checkpoints()] == [
        (1, True),
        (2, False),
        (3, True),
    ]


def test_each_is_read_once_in_a_process(tmp_path):
    """A checkpoint that this process wrote or read is not read again until it changes."""
    for step in (1, 2, 3, 4):
        tfp.ModelStore(tmp_path).save(model(step), step)
    store = tfp.ModelStore(tmp_path, keep=tfp.Keep(last=3))
    store.prune()
    data = tmp_path / "model.ckpt-4.data-00000-of-00001"
    times = data.stat().st_atime_ns, data.stat().st_mtime_ns
    flip(data, 3)
    os.utime(data, ns=times)
    store.save(model(5), 5)
    assert steps(store) == [3, 4, 5]
    os.utime(data)
    store.save(model(6), 6)
    assert steps(store) == [3, 4, 5, 6]


@pytest.mark.parametrize("at", [20, 60, -10])
def test_one_whose_metrics_are_damaged_stays(tmp_path, at):
    store = tfp.ModelStore(tmp_path, keep=tfp.Keep(last=1, best="accuracy"))
    for step, accuracy in ((1, 0.99), (2, 0.5)):
        store.save(model(step), step, {"accuracy": accuracy})
    flip(tmp_path / "model.ckpt-1.tfpersist.json", at)
    store.save(model(3), 3, {"accuracy": 0.6})
    assert steps(store) == [1, 3]
    assert not store.verify().ok
    (tmp_path / "model.ckpt-1.tfpersist.json").unlink()
    store.save(model(4), 4, {"accuracy": 0.7})
    assert steps(store) == [4]


def test_where_reading_means_fetching_one_that_is_sound_is_enough(tmp_path):
    store = tfp.ModelStore(f"local://{tmp_path}/run")
    for step in range(1, 6):
        store.save(model(step), step)
    for step in (3, 5):
        (data,) = (tmp_path / "run").glob(f"model.ckpt-{step}.data-00000-of-?????")
        flip(data, 3)
    assert store.prune(keep=tfp.Keep(last=2), dry_run=True).kept == tuple(
        f"model.ckpt-{step}" for step in (3, 4, 5)
    )


def test_the_error_of_a_failed_pruning_says_that_the_checkpoint_is_saved(location):
    keep = tfp.Keep(where=lambda facts: facts.metrics["loss"] < 1)
    store = tfp.ModelStore(location, keep=keep)
    with pytest.raises(RetentionError, match=r"'model.ckpt-1' is saved and complete, but .*'loss'"):
        store.save(model(1), 1)
    assert store.latest().verify().ok
    assert state_file.read(open_storage(location)).says.latest == "model.ckpt-1"


def test_a_checkpoint_saved_again_during_a_pruning_stays(location):
    store = tfp.ModelStore(location)
    for step in (1, 2):
        store.save(model(step), step)
        time.sleep(0.02)

    def decide_slowly(facts):
        if facts.step == 2:
            store.save(model(100), 1)
        return False

    table = store.prune(keep=tfp.Keep(where=decide_slowly))
    assert table.dropped == ()
    assert table.verdicts[0].reasons == ("saved again meanwhile",)
    target = model()
    store.restore(target)
    assert target["b"][0] == 100


def test_a_pinned_one_stays(location):
    store = tfp.ModelStore(location, keep=tfp.Keep(last=1))
    first = store.save(model(1), 1)
    pin = first.pin()
    with first.pin():
        store.save(model(2), 2)
    store.save(model(3), 3)
    assert steps(store) == [1, 3]
    assert "pinned" in str(store.prune(dry_run=True))
    assert store.prune(dry_run=True).dropped == ()
    pin.release()
    pin.release()
    assert store.prune().dropped == ("model.ckpt-1",)
    with pytest.raises(CheckpointNotFoundError, match="is gone"):
        first.pin()


# --- processes -----------------------------------------------------------------------------------


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_pin_of_another_process_ends_with_it(tmp_path):
    store = tfp.ModelStore(tmp_path, keep=tfp.Keep(last=1))
    store.save(model(1), 1)
    code = """
        import sys
        import tfpersist as tfp
        tfp.Checkpoint(sys.argv[1]).pin()
        print("pinned", flush=True)
        sys.stdin.read()
    """
    with start(code, tmp_path / "model.ckpt-1") as child:
        assert child.stdout.readline() == "pinned\n"
        store.save(model(2), 2)
        assert steps(store) == [1, 2]
        child.kill()
        child.wait()
        assert store.prune().dropped == ("model.ckpt-1",)
    assert not [name for name in file_names(tmp_path) if "ckpt-1" in name]


def test_a_restore_that_has_begun_ends_well_while_another_process_prunes(tmp_path):
    store = tfp.ModelStore(tmp_path, keep=tfp.Keep(last=1), durable=False)
    store.save(model(1), 1)
    code = """
        import sys
        import numpy as np
        import tfpersist as tfp
        store = tfp.ModelStore(sys.argv[1])
        seen = set()
        print("ready", flush=True)
        for _ in range(150):
            target = {"w": np.zeros((20, 30)), "b": np.zeros(3)}
            report = store.restore(target)
            assert not report.skipped, report
            (value,) = {*target["w"].flat, *target["b"].flat}
            assert report.checkpoint.endswith(f"-{value:.0f}"), (report, value)
            seen.add(value)
        print(len(seen))
    """
    with start(code, tmp_path) as reader:
        assert reader.stdout.readline() == "ready\n"
        step = 1
        while reader.poll() is None:
            step += 1
            store.save(model(step), step)
        seen = reader.stdout.read()
    assert reader.returncode == 0
    assert int(seen) > 1
    assert len(store.checkpoints()) <= 2


def test_processes_save_and_prune_in_one_directory(tmp_path):
    code = """
        import sys
        import numpy as np
        import tfpersist as tfp
        store = tfp.ModelStore(sys.argv[1], keep=tfp.Keep(last=2), durable=False)
        for step in range(int(sys.argv[2]), 120, 3):
            store.save({"w": np.full((20, 30), float(step)), "b": np.full(3, float(step))}, step)
    """
    writers = [start(code, tmp_path, number) for number in range(3)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    store = tfp.ModelStore(tmp_path, keep=tfp.Keep(last=2))
    store.prune()
    assert len(store.checkpoints()) == 2
    newest = store.latest()
    assert newest.step in (117, 118, 119)
    assert newest.verify().ok
    assert (newest["w"] == newest.step).all()
    assert not [name for name in file_names(tmp_path) if name.startswith(".tfpersist")]


KillingDirectory = killing_directory(
    "make", "stage", "rename", "unlink", "sync", "lock", "hold", "identity", "read"
)


def test_killed_at_each_step_of_a_prune(tmp_path):
    left = set()
    for at in itertools.count():
        path = tmp_path / str(at)
        store = tfp.ModelStore(path, durable=False)
        for step in (1, 2, 3):
            store.save(model(step), step)
        child = os.fork()
        if child == 0:
            try:
                storage = StagedStorage(KillingDirectory(str(path), at))
                prune(Directory.look(storage), "model.ckpt", Keep(last=1))
            finally:
                os._exit(0)
        died = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        # What TensorFlow would see: whatever has an index has its data, and the state file is true.
        on_disk = set(file_names(path))
        for name in on_disk:
            if name.endswith(".index"):
                assert name.replace(".index", ".data-00000-of-00001") in on_disk
        state = state_file.read(open_storage(path)).says
        assert state.latest == "model.ckpt-3"
        # What we see: each is there, whole, or not at all.
        assert set(steps(store)) in ({1, 2, 3}, {3})
        left.add(len(store.checkpoints()))
        for checkpoint in store.checkpoints():
            assert checkpoint.verify().ok
            assert checkpoint["b"][0] == checkpoint.step
        tfp.ModelStore(store.location, keep=Keep(last=1)).save(model(4), 4)
        assert steps(store) == [4]
        assert {name.partition(".ckpt-4")[0] for name in file_names(path)} == {
            "checkpoint",
            "model",
        }
        if not died:
            break
    assert left == {1, 3}
    assert at > 20


def test_nothing_is_remembered_of_what_was_removed(location):
    store = tfp.ModelStore(location, keep=tfp.Keep(last=2))
    for step in (1, 2, 3):
        store.save(model(step), step)
    known = verified._INTACT[open_storage(location).location]
    assert known.keys() == {"model.ckpt-2", "model.ckpt-3"}
    assert store.prune(keep=tfp.Keep(last=1)).dropped == ("model.ckpt-2",)
    assert known.keys() == {"model.ckpt-3"}


@pytest.mark.parametrize("failure", ["gone", "unreadable"])
def test_one_that_cannot_be_read_any_more_keeps_nothing_from_staying(tmp_path, failure):
    """Of the last two, the older is gone or cannot be read; then the one before it stays."""
    for step in (1, 2, 3):
        tfp.ModelStore(tmp_path).save(model(step), step)
    storage = open_storage(tmp_path)
    verified.forget(storage, "model.ckpt-2")

    class Failing(StagedStorage):
        def read(self, name):
            if name.startswith("model.ckpt-2."):
                if failure == "gone":
                    storage.remove([each for each in storage.names() if "ckpt-2." in each])
                else:
                    raise StorageError("cannot read this")
            return super().read(name)

    look = Directory.look(Failing(storage.directory))
    table = prune(look, "model.ckpt", Keep(last=2))
    assert table.dropped == ()
    assert steps(tfp.ModelStore(tmp_path)) == ([1, 3] if failure == "gone" else [1, 2, 3])


def test_a_lock_that_cannot_be_had_is_an_error_and_nothing_is_removed(tmp_path):
    for step in (1, 2):
        tfp.ModelStore(tmp_path).save(model(step), step)

    class Failing(StagedStorage):
        def hold(self, name, *, alone=False):
            if alone:
                raise StorageError("no locks left")
            return super().hold(name, alone=alone)

    look = Directory.look(Failing(open_storage(tmp_path).directory))
    with pytest.raises(StorageError, match="no locks left"):
        prune(look, "model.ckpt", Keep(last=1))
    assert steps(tfp.ModelStore(tmp_path)) == [1, 2]
