"""Save by several workers; `tests/whole/test_workers.py` does it in several processes."""

import numpy as np
import pytest

import tfpersist as tfp


@pytest.fixture
def store(tmp_path):
    return tfp.ModelStore(tmp_path, keep=tfp.Keep(last=2))


def save(store, step, of=3, attempt="job 7"):
    for worker in range(of):
        target = {f"rows/{worker}": np.full(4, float(step)), f"n/{worker}": np.int64(worker)}
        store.part(worker, of, attempt).save(target, step)
    return store.commit(step, of, attempt, {"loss": 1 / step}, metadata={"of": of})


def test_workers_save_restore_and_prune(store):
    for step in (1, 2, 3):
        checkpoint = save(store, step)
    assert [c.step for c in store.checkpoints()] == [2, 3]
    assert (checkpoint.metrics, checkpoint.metadata) == ({"loss": 1 / 3}, {"of": 3})
    assert store.best("loss").latest().step == 2
    assert store.verify().ok
    # Any number of workers restores what it needs.
    for names in (["rows/0"], ["rows/1", "n/2"]):
        target = {name: np.zeros(4 if "rows" in name else (), np.float64) for name in names}
        target = {k: v.astype(np.int64) if k[0] == "n" else v for k, v in target.items()}
        assert not store.restore(target).kept
        assert target[names[0]].tolist() == [3.0] * 4
    assert store.prune(keep=tfp.Keep(last=1)).dropped
    assert save(store, 3, of=2, attempt="job 8")["n/1"] == 1


def test_keys_are_chosen_by_the_steps_of_the_store(store):
    both = {"a": np.zeros(2), "b": np.ones(2)}
    store.only(["a"]).part(0, of=2, attempt="x").save(both)
    store.rename({"c": "b"}).only(["b"]).part(1, of=2, attempt="x").save(both)
    assert sorted(store.commit(None, of=2, attempt="x")) == ["a", "c"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((2, 2, "x"), "from 0 to 1"),
        ((-1, 2, "x"), "from 0 to 1"),
        ((True, 2, "x"), "from 0 to 1"),
        ((0, 0, "x"), "from 1 to 9999"),
        ((0, "2", "x"), "from 1 to 9999"),
        ((0, 10_000, "x"), "from 1 to 9999"),
        ((0, 2, ""), "attempt"),
        ((0, 2, 7), "attempt"),
    ],
)
def test_arguments_that_make_no_sense(store, arguments, words):
    with pytest.raises(tfp.ArgumentError, match=words):
        store.part(*arguments)
    if arguments[0] == 0:
        with pytest.raises(tfp.ArgumentError, match=words):
            store.commit(1, *arguments[1:])


def test_an_object_graph_is_of_one_worker(store):
    import tensorflow as tf

    module = tf.Module()
    module.v = tf.Variable([1.0, 2.0])
    store.part(0, 2, "x").save(module)
    store.part(1, 2, "x").save({"mine": np.zeros(2)})
    checkpoint = store.commit(None, 2, "x")
    module.v.assign([0.0, 0.0])
    store.restore(module)
    assert module.v.numpy().tolist() == [1.0, 2.0]
    reader = tf.train.load_checkpoint(checkpoint.prefix)
    assert reader.get_tensor("mine").tolist() == [0.0, 0.0]
    other = tf.Module()
    other.v = tf.Variable([0.0, 0.0])
    tf.train.Checkpoint(other).read(checkpoint.prefix).expect_partial()
    assert other.v.numpy().tolist() == [1.0, 2.0]
    for worker in range(2):
        store.part(worker, 2, "y").save(module)
    with pytest.raises(tfp.SaveError, match="workers 0 and 1"):
        store.commit(None, 2, "y")
