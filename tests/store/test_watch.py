"""Checkpoints of another process come once each, whatever the directory shows meanwhile."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import ArgumentError

SOON = {"timeout": 0.05, "poll": 0.01}


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return tfp.ModelStore(tmp_path if request.param == "local" else f"memory://{tmp_path.name}")


def save(store, *steps):
    for step in steps:
        store.save({"v": np.full(2, step)}, step)


def test_each_comes_once_in_its_order(store):
    save(store, 1, 2)
    watching = store.watch(timeout=20, poll=0.01)
    assert [next(watching).step, next(watching).step] == [1, 2]
    save(store, 3, 4)
    assert [next(watching).step, next(watching).step] == [3, 4]
    assert [one.step for one in store.watch(**SOON)] == [1, 2, 3, 4]


def test_the_newest_of_several(store):
    save(store, 1, 2)
    watching = store.watch(timeout=20, poll=0.01, newest=True)
    assert next(watching).step == 2
    save(store, 3, 4, 5)
    assert next(watching).step == 5


def test_a_loop_waits_for_another_thread(store):
    thread = threading.Timer(0.1, save, (store, 1))
    thread.start()
    assert next(store.watch(timeout=60, poll=0.01)).step == 1
    thread.join()


def test_it_ends_when_nothing_comes(store):
    assert list(store.watch(**SOON)) == []


def test_one_that_is_saved_again_comes_again(tmp_path):
    store = tfp.ModelStore(tmp_path)
    save(store, 1)
    watching = store.watch(timeout=20, poll=0.01)
    next(watching)
    store.save({"v": np.zeros(3)}, 1)
    assert next(watching)["v"].tolist() == [0, 0, 0]


def test_it_is_kept_until_the_next_is_asked_for(tmp_path):
    store = tfp.ModelStore(tmp_path, keep=tfp.Keep(last=1))
    save(store, 1)
    watching = store.watch(timeout=20, poll=0.01)
    first = next(watching)
    save(store, 2)
    assert first["v"].tolist() == [1, 1]
    assert [one.step for one in store.checkpoints()] == [1, 2]
    assert next(watching).step == 2
    store.prune()
    assert [one.step for one in store.checkpoints()] == [2]


def test_one_without_all_its_files_does_not_come_yet(tmp_path):
    made, seen = tmp_path / "made", tmp_path / "seen"
    save(tfp.ModelStore(made), 1, 2)
    seen.mkdir()
    store = tfp.ModelStore(seen)
    watching = store.watch(timeout=0.2, poll=0.01)
    for name in ("model.ckpt-1.index", "model.ckpt-2.index", "model.ckpt-2.data-00000-of-00001"):
        shutil.copy(made / name, seen)
    assert next(watching).step == 2
    shutil.copy(made / "model.ckpt-1.data-00000-of-00001", seen)
    assert [one.step for one in watching] == [1]


def test_one_that_was_removed_since_the_look_is_passed(tmp_path):
    store = tfp.ModelStore(tmp_path)
    save(store, 1, 2, 3)
    watching = store.watch(**SOON)
    assert next(watching).step == 1
    for path in tmp_path.glob("model.ckpt-2*"):
        path.unlink()
    assert [one.step for one in watching] == [3]


def test_what_tensorflow_saves(tmp_path):
    state = tf.train.Checkpoint(v=tf.Variable(1.0))
    manager = tf.train.CheckpointManager(state, str(tmp_path), 5)
    watching = tfp.ModelStore(tmp_path).watch(timeout=20, poll=0.01)
    for step in (1, 2):
        manager.save()
        assert next(watching).step == step


@pytest.mark.parametrize("options", [{"timeout": "soon"}, {"timeout": 0}, {"poll": None}])
def test_what_is_no_length_of_time(options, tmp_path):
    with pytest.raises(ArgumentError, match="must be a length of time"):
        tfp.ModelStore(tmp_path).watch(**options)
