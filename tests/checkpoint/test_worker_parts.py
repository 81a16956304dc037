import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from killing import killing_directory

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.worker_parts import JointSave, commit_parts, write_part
from tfpersist.errors import ConflictError, CorruptionError, SaveError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import Slice, payload_of
from tfpersist.storage import open_storage
from tfpersist.storage.staged import StagedStorage

KillingDirectory = killing_directory("make", "stage", "rename", "unlink", "sync", "lock", "names")
SAVE = JointSave("m-1", 2, "a")


@pytest.fixture(params=["local", "memory", "server"])
def storage(request, tmp_path):
    """Return a directory of each kind; the last one has no renames and no locks."""
    places = {"local": tmp_path, "memory": f"memory://{tmp_path}", "server": f"local://{tmp_path}"}
    return open_storage(places[request.param])


def items(**values):
    return [Item(key, payload_of(np.asarray(value))) for key, value in values.items()]


def write_both(storage, save=SAVE, number=1.0):
    write_part(storage, save, 0, items(a=np.full(300, number), t=np.array(b"text", object)))
    write_part(storage, save, 1, items(b=np.full((), number)))


def opened(storage, prefix="m-1"):
    look = Directory.look(storage)
    assert prefix in look.complete
    return Checkpoint(f"{storage.location}/{prefix}")


def test_parts_become_one_checkpoint(storage):
    write_both(storage)
    assert Directory.look(storage).complete == ()
    commit_parts(storage, SAVE, step=1, metrics={"loss": 0.5}, metadata='{"k": 1}')
    checkpoint = opened(storage)
    assert checkpoint["a"].tolist() == [1.0] * 300
    assert (checkpoint["b"], checkpoint["t"]) == (1.0, b"text")
    assert (checkpoint.step, checkpoint.metrics, checkpoint.metadata) == (
        1,
        {"loss": 0.5},
        {"k": 1},
    )
    assert checkpoint.verify().ok
    names = {f"m-1.data-0000{n}-of-{SAVE.number}" for n in range(2)}
    assert storage.names() == {*names, "m-1.index"}


def test_another_attempt_replaces_a_checkpoint(storage):
    write_both(storage)
    commit_parts(storage, SAVE)
    again = JointSave("m-1", 2, "b")
    write_both(storage, again, 2.0)
    assert opened(storage)["b"] == 1.0
    commit_parts(storage, again)
    checkpoint = opened(storage)
    assert (set(checkpoint["a"]), checkpoint["b"]) == ({2.0}, 2.0)
    assert checkpoint.verify().ok
    assert len(storage.names()) == 3


def test_parts_of_other_attempts_do_not_count(storage):
    write_part(storage, SAVE, 0, items(a=1.0))
    write_part(storage, JointSave("m-1", 2, "old"), 1, items(b=1.0))
    write_part(storage, JointSave("m-1", 3, "a"), 1, items(b=1.0))
    with pytest.raises(SaveError, match="missing: 1;") as caught:
        commit_parts(storage, SAVE)
    assert "worker 1 of 2: 'm-1' in attempt 'old'" in str(caught.value)
    assert "worker 1 of 3: 'm-1' in attempt 'a'" in str(caught.value)
    assert Directory.look(storage).complete == ()


def test_a_worker_saves_once(storage):
    write_both(storage)
    for _ in range(2):
        with pytest.raises(ConflictError, match="worker 1 has saved"):
            write_part(storage, SAVE, 1, items(b=9.0))
        commit_parts(storage, SAVE) if SAVE.part(1) in storage.names() else None
    assert opened(storage)["b"] == 1.0


def test_a_tensor_of_two_workers_is_an_error(storage):
    write_part(storage, SAVE, 0, items(a=1.0, v=1.0))
    write_part(storage, SAVE, 1, items(v=1.0))
    with pytest.raises(SaveError, match="workers 0 and 1 have both") as caught:
        commit_parts(storage, SAVE)
    assert "'v'" in str(caught.value)
    assert Directory.look(storage).complete == ()


def test_a_partitioned_variable_of_one_worker(storage):
    halves = [Slice("v", (4,), (start,), (2,)) for start in (0, 2)]
    write_part(storage, SAVE, 0, items(a=1.0))
    write_part(
        storage,
        SAVE,
        1,
        [Item("v", payload_of(np.arange(p.start[0], p.start[0] + 2)), p) for p in halves],
    )
    commit_parts(storage, SAVE)
    assert opened(storage)["v"].tolist() == [0, 1, 2, 3]


def test_a_worker_without_tensors(storage):
    write_part(storage, SAVE, 0, [])
    write_part(storage, SAVE, 1, items(b=1.0))
    commit_parts(storage, SAVE)
    checkpoint = opened(storage)
    assert list(checkpoint) == ["b"]
    assert checkpoint.verify().ok


@pytest.mark.parametrize("damage", ["part", "data", "no data"])
def test_a_damaged_part_is_an_error(tmp_path, damage):
    storage = open_storage(tmp_path)
    write_both(storage)
    path = tmp_path / (SAVE.part(0) if damage == "part" else SAVE.data(0))
    if damage == "no data":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptionError) as caught:
        commit_parts(storage, SAVE)
    assert path.name in str(caught.value)
    assert not (tmp_path / "m-1.index").exists()


def test_the_commit_waits_for_parts(tmp_path):
    storage = open_storage(tmp_path)
    write_part(storage, SAVE, 0, items(a=1.0))
    late = multiprocessing.get_context("spawn").Process(target=_write_late, args=(tmp_path,))
    late.start()
    commit_parts(storage, SAVE, timeout=300)
    late.join()
    assert sorted(opened(storage)) == ["a", "b"]


def _write_late(path):
    time.sleep(0.2)
    write_part(open_storage(path), SAVE, 1, items(b=1.0))


def test_old_parts_are_removed_by_a_commit(storage, tmp_path):
    if storage.location.startswith("memory"):
        pytest.skip("files in memory have no time that can be set")
    write_both(storage, JointSave("m-9", 2, "old"))
    write_part(storage, JointSave("m-9", 2, "new"), 0, items(a=1.0))
    for path in tmp_path.iterdir():
        if JointSave("m-9", 2, "old").digest in path.name or str(OLD) in path.name:
            os.utime(path, (1, 1))
    write_both(storage)
    commit_parts(storage, SAVE)
    left = storage.names()
    new = JointSave("m-9", 2, "new")
    assert {new.part(0), new.data(0)} <= left
    assert not any(str(OLD) in name for name in left)
    assert len(left) == 5


OLD = JointSave("m-9", 2, "old").number


def _until_killed(path, at, step):
    storage = StagedStorage(KillingDirectory(path, at))
    if step == "part":
        write_part(storage, SAVE, 1, items(b=np.full((), 2.0)))
    else:
        commit_parts(storage, SAVE)
    os._exit(0)


@pytest.mark.parametrize("step", ["part", "commit"])
def test_a_worker_that_is_killed_leaves_a_whole_checkpoint(tmp_path, step):
    """Whichever call of the system it is: the earlier checkpoint, or the new one, and no other."""
    found = set()
    for at in range(60):
        path = tmp_path / str(at)
        storage = open_storage(path)
        earlier = JointSave("m-1", 2, "earlier")
        write_both(storage, earlier)
        commit_parts(storage, earlier)
        write_part(storage, SAVE, 0, items(a=np.full(300, 2.0), t=np.array(b"text", object)))
        if step == "commit":
            write_part(storage, SAVE, 1, items(b=np.full((), 2.0)))
        pid = os.fork()
        if not pid:
            _until_killed(path, at, step)
        _, status = os.waitpid(pid, 0)
        checkpoint = opened(storage)
        number = float(checkpoint["b"])
        assert set(checkpoint["a"]) == {number}
        assert checkpoint.verify().ok
        found.add(number)
        # What is left over is in nobody's way.
        again = JointSave("m-1", 2, "again")
        write_both(storage, again, 3.0)
        commit_parts(storage, again)
        assert opened(storage)["b"] == 3.0
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    assert status == 0, "not all calls were killed"
    assert found == ({1.0} if step == "part" else {1.0, 2.0})
