"""Several processes save one checkpoint, and restore it."""

import signal
import subprocess
import sys

import numpy as np
import pytest

import tfpersist as tfp

WORKER = """
import sys
import numpy as np
import tfpersist as tfp

worker, of, step, attempt, location = *map(int, sys.argv[1:4]), *sys.argv[4:]
store = tfp.ModelStore(location)
values = np.full(400_000, float(step))
print("begins", flush=True)
sys.stdin.readline()
store.part(worker, of, attempt).save({f"rows/{worker}": values}, step)
"""


def started(location, of, step, attempt):
    """Start the workers of a save; each waits for a line."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, *map(str, (worker, of, step, attempt, location))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for worker in range(of)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "begins\n"
    return workers


def ended(workers):
    for worker in workers:
        worker.communicate("\n")
    return [worker.returncode for worker in workers]


def test_workers_of_any_launcher_save_together_and_a_killed_one_changes_nothing(tmp_path):
    store = tfp.ModelStore(tmp_path)
    assert ended(started(tmp_path, 3, 1, "first")) == [0, 0, 0]
    first = store.commit(1, 3, "first")
    workers = started(tmp_path, 3, 2, "second")
    workers[1].kill()
    assert ended(workers) == [0, -signal.SIGKILL, 0]
    with pytest.raises(tfp.SaveError, match="missing: 1; nothing was saved"):
        store.commit(2, 3, "second", timeout=0.1)
    assert store.latest().prefix == first.prefix
    # The save is tried again by two workers.
    assert ended(started(tmp_path, 2, 2, "third")) == [0, 0]
    checkpoint = store.commit(2, 2, "third")
    assert sorted(checkpoint) == ["rows/0", "rows/1"]
    assert store.verify().ok
    rows = np.zeros(400_000)
    store.restore({"rows/1": rows})
    assert set(rows) == {2.0}
