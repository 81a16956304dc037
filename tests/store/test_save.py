"""A save: the order of the tensors, and the entries that an object graph needs."""

from __future__ import annotations

import gc
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.formats import bundle
from tfpersist.matching.sides.object_graph import OBJECT_GRAPH_KEY, VALUE
from tfpersist.store.model_store import ModelStore


def in_order_of_bytes(path):
    index = bundle.read_index(memoryview(path.read_bytes()), str(path))
    filled = [entry for entry in index.entries.values() if entry.size]
    return [entry.key for entry in sorted(filled, key=lambda entry: (entry.shard, entry.offset))]


def test_tensors_with_names_are_written_in_the_order_of_their_names(tmp_path):
    """As `Saver` does, so that the same tensors are the same bytes."""
    values = {name: np.full(3, at) for at, name in enumerate(["w/b", "v", "w/a", "a"])}
    store = ModelStore(tmp_path)
    store.save(values, step=1)
    assert in_order_of_bytes(tmp_path / "model.ckpt-1.index") == ["a", "v", "w/a", "w/b"]
    store.rename({"z": "a"}).only(["w/b", "a"]).save(values, step=2)
    assert in_order_of_bytes(tmp_path / "model.ckpt-2.index") == ["w/b", "z"]


def test_objects_are_written_breadth_first_and_their_graph_last(tmp_path):
    import tensorflow as tf

    root = tf.Module()
    root.z, root.inner = tf.Variable(1.0), tf.Module()
    root.inner.a, root.b = tf.Variable(2.0), tf.Variable(3.0)
    path = ModelStore(tmp_path).save(root, step=1).prefix
    ours = in_order_of_bytes(tmp_path / "model.ckpt-1.index")
    assert set(ours) == {f"z{VALUE}", f"b{VALUE}", f"inner/a{VALUE}", OBJECT_GRAPH_KEY}
    assert ours.index(f"b{VALUE}") < ours.index(f"inner/a{VALUE}")
    assert ours[-1] == OBJECT_GRAPH_KEY
    theirs = tf.train.Checkpoint(root).write(str(tmp_path / "theirs"))
    assert in_order_of_bytes(tmp_path / "theirs.index") == ours
    assert Checkpoint(path)[f"z{VALUE}"] == tf.train.load_checkpoint(theirs).get_tensor(f"z{VALUE}")


@pytest.mark.parametrize("in_flight", [0, 1])
def test_the_graph_of_a_session_is_written_on_request(tmp_path, in_flight):
    v1 = tf.compat.v1
    for wanted in (True, False):
        store = ModelStore(tmp_path / str(wanted), write_meta_graph=wanted)
        store = store.background() if in_flight else store
        with tf.Graph().as_default(), v1.Session() as session, store:
            v = v1.get_variable("v", initializer=1.0)
            session.run(v.initializer)
            saved = store.save(session, 1)
            session.run(v.assign(2.0))
            store.wait()
            assert store.restore(session).fits
            assert session.run(v) == 1.0
        assert (tmp_path / str(wanted) / "model.ckpt-1.meta").exists() is wanted
        assert (saved.meta is not None) is wanted


def test_no_garbage_is_collected_while_values_are_captured(tmp_path, request):
    """It would visit all objects of TensorFlow, several times for thousands of arrays."""
    running = set()

    def collected(phase, info):
        frame = sys._getframe(1)
        while frame is not None:
            running.add(frame.f_code.co_name)
            frame = frame.f_back

    values = {f"v{number}": np.full(3, number) for number in range(500)}
    thresholds = gc.get_threshold()
    request.addfinalizer(lambda: gc.set_threshold(*thresholds))
    gc.callbacks.append(collected)
    request.addfinalizer(lambda: gc.callbacks.remove(collected))
    gc.set_threshold(20)
    ModelStore(tmp_path).save(values, step=1)
    assert gc.isenabled()
    assert "publish_checkpoint" in running
    assert running.isdisjoint({"adapt", "capture"})
