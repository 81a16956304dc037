import os
import time

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.leftovers import leftovers
from tfpersist.storage import open_storage


@pytest.fixture
def store(tmp_path):
    """Return a store whose files are named for their attempts, in `tmp_path`."""
    store = tfp.ModelStore(f"local://{tmp_path}")
    store.save({"v": np.zeros(3)}, 1)
    store.save({"v": np.ones(3)}, 2)
    return store


def leave(folder, name, hours):
    (folder / name).write_bytes(b"left")
    long_ago = time.time() - hours * 3600
    os.utime(folder / name, (long_ago, long_ago))


def test_files_that_no_index_names_are_left_after_a_day(store, tmp_path):
    for path in tmp_path.iterdir():
        leave(tmp_path, path.name, 99) if path.name == "checkpoint" else os.utime(path, (1, 1))
    look = Directory.look(open_storage(f"local://{tmp_path}"))
    assert list(leftovers(look)) == []
    names = {
        "model.ckpt-1.data-00000-of-99999": 25,
        "model.ckpt-1.meta-of-99999": 25,
        "model.ckpt-3.data-00001-of-99999": 25,
        "model.ckpt-2.data-00000-of-99999": 23,
        "model.ckpt-4.data-00000-of-99999": 23,
        "model.ckpt-4.data-00000-of-00001": 25,
    }
    for name, hours in names.items():
        leave(tmp_path, name, hours)
    look = Directory.look(open_storage(f"local://{tmp_path}"))
    assert set(leftovers(look)) == set(list(names)[:3])
    assert store.verify().ok


def test_a_pruning_removes_them(store, tmp_path):
    leave(tmp_path, "model.ckpt-1.data-00000-of-99999", 25)
    leave(tmp_path, "model.ckpt-9.data-00000-of-99999", 25)
    leave(tmp_path, ".tfpersist-0123456789abcdef.0.tmp", 25)
    leave(tmp_path, ".tfpersist-0123456789abcdef.1.tmp", 23)
    store.prune(keep=tfp.Keep(last=9), dry_run=True)
    assert len(list(tmp_path.iterdir())) == 9
    assert store.prune(keep=tfp.Keep(last=9)).dropped == ()
    left = {path.name for path in tmp_path.iterdir()}
    assert ".tfpersist-0123456789abcdef.1.tmp" in left
    assert not any("99999" in name or ".0.tmp" in name for name in left)
    assert store.verify().ok


def test_parts_of_workers_are_left_after_a_day(tmp_path):
    part = ".tfpersist-part-0123456789abcdef-0-of-2"
    leave(tmp_path, "model.ckpt-9.data-00000-of-99999", 25)
    leave(tmp_path, part, 25)
    leave(tmp_path, part.replace("-0-", "-1-"), 23)
    left = set(leftovers(Directory.look(open_storage(tmp_path))))
    assert left == {"model.ckpt-9.data-00000-of-99999", part}
