"""Stores on real disks that are full, and in the hands of several processes at once."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.checkpoint import state_file
from tfpersist.errors import StorageError
from tfpersist.storage import open_storage


def values(step, size=50_000):
    return {"w": np.full(size, float(step)), "frozen": np.arange(float(size)), "b": np.zeros(3)}


def assert_complete(store, *steps):
    found = store.checkpoints()
    assert [checkpoint.step for checkpoint in found] == list(steps)
    for checkpoint in found:
        assert checkpoint.verify().ok
        assert (checkpoint["w"] == checkpoint.step).all()


def leftovers(path):
    return [name for name in os.listdir(path) if name.startswith(".tfpersist-")]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("kind", ["whole", "incremental", "background"])
def test_a_disk_that_fills_up(small_disk, kind):
    store = tfp.ModelStore(small_disk, incremental=kind == "incremental")
    saving = store.background() if kind == "background" else store
    saved = []
    with pytest.raises(StorageError) as caught:  # noqa: PT012
        for step in range(1, 20):
            checkpoint = saving.save(values(step), step)
            if kind == "background":
                checkpoint.wait()
            saved.append(step)
    assert caught.value.errno == errno.ENOSPC
    assert "Free some space" in str(caught.value)
    assert len(saved) >= 4
    assert leftovers(small_disk) == []
    assert_complete(store, *saved)
    # What there is of space is used to the last: removing needs next to none.
    with open(small_disk / "rest", "wb") as file:
        for size in (1 << 16, 1 << 12):
            while True:
                try:
                    os.write(file.fileno(), bytes(size))
                except OSError:
                    break
    target = values(0)
    store.restore(target)
    assert (target["w"] == saved[-1]).all()
    with pytest.raises(StorageError):
        store.save(values(30), 30)
    assert leftovers(small_disk) == []
    assert_complete(store, *saved)
    (small_disk / "rest").unlink()
    store.prune(keep=tfp.Keep(last=2))
    assert_complete(store, *saved[-2:])
    assert store.save(values(40), 40).verify().ok


def test_a_limit_of_the_file_size(tmp_path):
    store = tfp.ModelStore(tmp_path)
    store.save(values(1, 2_000), 1)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
            told = []
            for saving in (
                store,
                store.background(),
                tfp.ModelStore(store.location, incremental=True),
            ):
                try:
                    saving.save(values(2), 2)
                    saving.wait()
                except StorageError as error:
                    told.append((error.errno, "ulimit" in str(error)))
            same = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
            good = told == [(errno.EFBIG, True)] * 3 and same == before
            store.save(values(3, 2_000), 3)
            status = 0 if good else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert_complete(store, 1, 3)


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


SAVE = """
    import sys
    import numpy as np
    import tfpersist as tfp
    path, first, last, stride = sys.argv[1], *map(int, sys.argv[2:5])
    options = {"incremental": len(sys.argv) > 5, "durable": False}
    store = tfp.ModelStore(path, **options)
    for step in range(first, last, stride):
        w = np.full(50_000, float(step))
        store.save({"w": w, "frozen": np.arange(50_000.0), "b": np.zeros(3)}, step)
        print(step, flush=True)
"""


@pytest.mark.parametrize("options", [(), ("incremental",)])
def test_two_processes_save_and_the_state_file_names_the_newest(tmp_path, options):
    writers = [start(SAVE, tmp_path, first, 40, 2, *options) for first in (0, 1)]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    store = tfp.ModelStore(tmp_path)
    found = store.checkpoints()
    assert {checkpoint.step for checkpoint in found} == set(range(40))
    for checkpoint in found:
        assert checkpoint.verify().ok
        assert (checkpoint["w"] == checkpoint.step).all()
    state = state_file.read(open_storage(tmp_path)).says
    assert len(state.all) == 40
    assert int(state.latest.rpartition("-")[2]) in (38, 39)
    assert leftovers(tmp_path) == []


def test_two_processes_save_one_step(tmp_path):
    code = """
        import sys
        import numpy as np
        import tfpersist as tfp
        store = tfp.ModelStore(sys.argv[1], durable=False)
        for number in range(40):
            mark = float(sys.argv[2]) + number
            store.save({name: np.full(3_000, mark) for name in "abc"}, 7)
            found = store.latest()
            marks = {value for name in "abc" for value in set(found[name].tolist())}
            assert len(marks) == 1, marks
    """
    writers = [start(code, tmp_path, mark) for mark in (0, 1000)]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    newest = tfp.ModelStore(tmp_path).latest()
    assert newest.verify().ok
    assert {newest[name][0] for name in "abc"} in ({39.0}, {1039.0})
    assert leftovers(tmp_path) == []


def test_one_prunes_while_another_reads(tmp_path):
    store = tfp.ModelStore(tmp_path, durable=False)
    for step in range(3):
        store.save(values(step), step)
    code = """
        import sys
        import numpy as np
        import tfpersist as tfp
        store = tfp.ModelStore(sys.argv[1])
        seen = []
        while not seen or seen[-1] < 30:
            target = {"w": np.zeros(50_000), "frozen": np.zeros(50_000)}
            report = store.restore(target)
            assert not report.skipped, str(report)
            assert (target["w"] == target["w"][0]).all()
            assert (target["frozen"] == np.arange(50_000.0)).all()
            assert not seen or target["w"][0] >= seen[-1]
            seen.append(target["w"][0])
            for checkpoint in store.checkpoints()[-1:]:
                try:
                    assert checkpoint.verify().ok
                    assert tfp.Checkpoint(checkpoint.prefix)["w"][0] >= seen[-1]
                except tfp.CheckpointNotFoundError as error:
                    assert "is gone" in str(error) or "no checkpoint at this path" in str(error)
        print(len(seen))
    """
    readers = [start(code, tmp_path) for _ in range(2)]
    keeping = tfp.ModelStore(store.location, keep=tfp.Keep(last=1), incremental=True)
    for step in range(3, 31):
        keeping.save(values(step), step)
        time.sleep(0.02)
    assert [reader.wait(120) for reader in readers] == [0, 0]
    # What was being read when the last save was pruned is still there.
    assert store.latest().step == 30
    keeping.prune()
    assert_complete(store, 30)


def test_the_locks_of_a_dead_process_are_free(tmp_path):
    """One that is stopped holds the directory's lock; when it is killed, others go on."""
    store = tfp.ModelStore(tmp_path, durable=False)
    store.save(values(1), 1)
    code = """
        import os, sys
        from tfpersist.storage import open_storage
        storage = open_storage(sys.argv[1])
        hold = storage.hold("model.ckpt-1.index", alone=True)
        with storage.directory.lock():
            print("locked", flush=True)
            sys.stdin.read()
    """
    holder = start(code, tmp_path)
    assert holder.stdout.readline() == "locked\n"
    waiter = start(SAVE, tmp_path, 2, 3, 1)
    time.sleep(1.5)
    assert waiter.poll() is None
    assert not (tmp_path / "model.ckpt-2.index").exists()
    holder.send_signal(signal.SIGKILL)
    assert waiter.wait(60) == 0
    holder.wait()
    store.prune(keep=tfp.Keep(last=1))
    assert_complete(store, 2)
    assert leftovers(tmp_path) == []


def test_one_is_killed_again_and_again_while_another_saves(tmp_path):
    chance = np.random.default_rng(5)
    steady = start(SAVE, tmp_path, 1000, 1060, 1, "incremental")
    told = 0
    for round_ in range(6):
        victim = start(SAVE, tmp_path, 10 * round_, 10 * round_ + 10, 1)
        victim.stdout.readline()
        time.sleep(chance.uniform(0, 0.05))
        victim.kill()
        victim.wait()
        told += len(victim.stdout.read().split())
    assert steady.wait(120) == 0
    store = tfp.ModelStore(tmp_path)
    found = store.checkpoints()
    assert {checkpoint.step for checkpoint in found} >= set(range(1000, 1060))
    for checkpoint in found:
        assert checkpoint.verify().ok
        assert (checkpoint["w"] == checkpoint.step).all()
    store.save(values(5000), 5000)
    assert leftovers(tmp_path) == []
    assert state_file.read(open_storage(tmp_path)).says.latest == "model.ckpt-5000"
