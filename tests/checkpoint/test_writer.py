import itertools
import math
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from killing import killing_directory

from tfpersist.checkpoint import state_file
from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import CheckpointNotFoundError, SaveError, StorageError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import Payload, TensorSpec, payload_of
from tfpersist.storage import open_storage
from tfpersist.storage.staged import StagedStorage
from tfpersist.store.model_store import ModelStore


def items(value):
    return [Item(key, payload_of(np.full((9, 9), float(value)))) for key in ("a", "b")]


def state_of(storage):
    return state_file.read(storage).says


def test_files(tmp_path):
    storage = open_storage(tmp_path / "new")
    write_checkpoint(storage, "m-1", items(1), meta=b"meta", step=1)
    names = {"m-1.data-00000-of-00001", "m-1.index", "m-1.meta", "m-1.tfpersist.json"}
    assert storage.names() == {*names, "checkpoint"}
    assert bytes(storage.read("m-1.meta")) == b"meta"
    write_checkpoint(storage, "m-2", items(2), state=False)
    assert state_of(storage).latest == "m-1"


def test_state_file(tmp_path):
    storage = open_storage(tmp_path)
    for step in (5, 1, 3):
        write_checkpoint(storage, f"m-{step}", items(step))
    assert state_of(storage).latest == "m-3"
    assert state_of(storage).all == ("m-5", "m-1", "m-3")
    assert list(state_of(storage).timestamps) == sorted(state_of(storage).timestamps)
    storage.remove(Directory.look(storage).files("m-1").all)
    write_checkpoint(storage, "m-5", items(5))
    assert state_of(storage).all == ("m-3", "m-5")
    storage.remove(["checkpoint"])
    assert state_of(storage) is None
    Directory.look(storage).note()
    assert state_of(storage).latest == "m-5"


def test_state_file_keeps_what_a_checkpoint_manager_noted(tmp_path):
    (tmp_path / "checkpoint").write_text(
        'model_checkpoint_path: "gone"\nlast_preserved_timestamp: 1234.5\n'
    )
    storage = open_storage(tmp_path)
    for step in (1, 2):
        write_checkpoint(storage, f"m-{step}", items(step))
        assert state_of(storage).last_preserved == 1234.5
    (tmp_path / "checkpoint").write_bytes(b"last_preserved_timestamp \xff")
    write_checkpoint(storage, "m-3", items(3))
    assert state_of(storage).all == ("m-1", "m-2", "m-3")


def test_state_file_sees_what_others_saved(tmp_path):
    storage = open_storage(tmp_path)
    write_checkpoint(storage, "m-1", items(1))
    write_checkpoint(storage, "m-2", items(2), state=False)
    write_checkpoint(storage, "m-3", items(3))
    assert state_of(storage).all == ("m-1", "m-2", "m-3")


def test_a_replacement_leaves_no_old_file(tmp_path):
    storage = open_storage(tmp_path)
    write_checkpoint(storage, "m", items(1), meta=b"meta")
    (tmp_path / "m.data-00001-of-00002").write_bytes(b"an old shard")
    (tmp_path / "m2.data-00001-of-00002").write_bytes(b"of another")
    write_checkpoint(storage, "m", items(2))
    assert storage.names() == {
        "m.data-00000-of-00001", "m.index", "m.tfpersist.json", "checkpoint",
        "m2.data-00001-of-00002",
    }  # fmt: skip
    assert Checkpoint(tmp_path)["a"][0, 0] == 2


@pytest.mark.parametrize("prefix", ["", ".", "..", "a/b", "checkpoint", ".tfpersist-x", "a\0"])
def test_refused_names(tmp_path, prefix):
    with pytest.raises(SaveError, match="cannot have this name"):
        write_checkpoint(open_storage(tmp_path), prefix, items(1))
    assert not os.listdir(tmp_path)


def test_a_target_that_fails_leaves_the_old(tmp_path):
    def fail():
        raise ZeroDivisionError

    storage = open_storage(tmp_path)
    write_checkpoint(storage, "m", items(1))
    before = {name: bytes(storage.read(name)) for name in storage.names()}
    bad = [*items(2), Item("c", Payload(TensorSpec("float32", (2,)), fail))]
    with pytest.raises(ZeroDivisionError):
        write_checkpoint(storage, "m", bad)
    with pytest.raises(SaveError, match="metric 'loss' is not a number"):
        write_checkpoint(storage, "m", items(2), metrics={"loss": "high"})
    assert {name: bytes(storage.read(name)) for name in os.listdir(tmp_path)} == before


def test_a_metric_may_be_no_number_in_the_sense_of_floats(tmp_path):
    write_checkpoint(
        open_storage(tmp_path), "m", items(1), metrics={"loss": math.nan, "x": math.inf}
    )
    metrics = Checkpoint(tmp_path).metrics
    assert math.isnan(metrics["loss"])
    assert metrics["x"] == math.inf


def test_a_checkpoint_is_kept_if_the_state_file_cannot_be_written(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(StorageError, match="'m-1' is saved and complete, but the state file"):
        write_checkpoint(open_storage(tmp_path), "m-1", items(1))
    assert Checkpoint(tmp_path / "m-1").verify().ok
    assert Checkpoint(tmp_path).name == "m-1"


KillingDirectory = killing_directory("make", "stage", "rename", "unlink", "sync", "lock", "names")


def killed(path, prefix, at):
    child = os.fork()
    if child == 0:
        try:
            storage = StagedStorage(KillingDirectory(str(path), at))
            write_checkpoint(storage, prefix, items(2), step=2)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("prefix", ["m-1", "m-2"])
def test_killed_at_each_step_of_a_save(tmp_path, prefix):
    """The newest checkpoint is complete and one of the two that were saved; m-1 is replaced."""
    newest = []
    for at in itertools.count():
        path = tmp_path / str(at)
        write_checkpoint(open_storage(path), "m-1", items(1), meta=b"meta", step=1)
        died = killed(path, prefix, at)
        checkpoint = Checkpoint(path)
        assert checkpoint.verify().ok
        values = {float(value) for key in checkpoint for value in checkpoint[key].flat}
        assert values in ({1.0}, {2.0})
        assert checkpoint.name == (prefix if values == {2.0} else "m-1")
        assert checkpoint.step == int(checkpoint.name[-1])
        if prefix == "m-2":
            assert Checkpoint(path / "m-1")["a"][0, 0] == 1
        newest.append(values.pop())
        write_checkpoint(open_storage(path), "m-3", items(3))
        assert Checkpoint(path)["a"][0, 0] == 3
        assert not [name for name in os.listdir(path) if name.startswith(".tfpersist")]
        if not died:
            break
    assert newest == sorted(newest)
    assert newest.count(1.0) > 5
    assert newest.count(2.0) > 5


def test_killed_at_any_time_while_saving_in_a_loop(tmp_path):
    code = """
        import sys
        import numpy as np
        from tfpersist.checkpoint.writer import write_checkpoint
        from tfpersist.formats.bundle_writer import Item
        from tfpersist.formats.tensors import payload_of
        from tfpersist.storage import open_storage
        storage = open_storage(sys.argv[1])
        for value in range(int(sys.argv[2]), 1_000_000):
            items = [Item(key, payload_of(np.full(30_000, value))) for key in "ab"]
            write_checkpoint(storage, f"m-{value % 3}", items, durable=False)
            print(value, flush=True)
    """
    done = 0
    for round_ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path), str(done)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(1 + round_):
            done = int(child.stdout.readline())
        child.kill()
        rest = child.stdout.read().split()
        child.wait()
        done = int(rest[-1]) if rest else done
        checkpoint = Checkpoint(tmp_path)
        assert checkpoint.verify().ok
        values = {int(value) for key in "ab" for value in checkpoint[key]}
        assert values in ({done}, {done + 1})
        done = max(values)


def test_tensorflow_accepts_what_is_written(tmp_path):
    import tensorflow as tf

    arrays = {"a": np.arange(5, dtype=np.int8), "b/c": np.float32([[1.5]]), "s": np.bool_([True])}
    for step in (1, 2):
        write_checkpoint(
            open_storage(tmp_path / "runs"),
            f"model.ckpt-{step}",
            [Item(key, payload_of(array * step)) for key, array in arrays.items()],
        )
    moved = str(tmp_path / "moved")
    os.rename(tmp_path / "runs", moved)
    paths = [f"{moved}/model.ckpt-{step}" for step in (1, 2)]
    assert tf.train.latest_checkpoint(moved) == paths[1] == Checkpoint(moved).prefix
    state = tf.train.get_checkpoint_state(moved)
    assert list(state.all_model_checkpoint_paths) == paths
    assert len(state.all_model_checkpoint_timestamps) == 2
    for path in paths:
        reader, ours = tf.train.load_checkpoint(path), Checkpoint(path)
        assert set(reader.get_variable_to_shape_map()) == set(ours) == arrays.keys()
        for key in ours:
            assert np.array_equal(reader.get_tensor(key), ours[key])
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(), moved, max_to_keep=5, checkpoint_name="model.ckpt"
    )
    assert manager.checkpoints == paths


def test_a_failed_save_leaves_no_file(tmp_path):
    twice = [*items(1), *items(1)]
    misfit = Item("c", Payload(TensorSpec("float32", (2,)), lambda: np.zeros(3)))
    for name, bad in (("twice", twice), ("misfit", [*items(1), misfit])):
        place = tmp_path / name
        with pytest.raises(SaveError, match=r"two tensors|do not fit"):
            write_checkpoint(open_storage(place), "m", bad)
        assert not place.exists() or os.listdir(place) == []
        with pytest.raises(CheckpointNotFoundError):
            Checkpoint(place)


def test_a_large_save_has_several_shards_until_a_small_one_replaces_it(tmp_path):
    import tensorflow as tf

    random = np.random.default_rng(1)
    large = {f"v{n}": random.random((3 << 20) + n, np.float32) for n in range(6)}
    store = ModelStore(tmp_path, durable=False)
    store.save(large, step=1)
    data = {f"model.ckpt-1.data-0000{n}-of-00002" for n in range(2)}
    assert data < set(os.listdir(tmp_path))
    reader = tf.train.load_checkpoint(f"{tmp_path}/model.ckpt-1")
    assert all(np.array_equal(reader.get_tensor(name), value) for name, value in large.items())
    found = {name: np.zeros_like(value) for name, value in large.items()}
    store.restore(found)
    assert all(np.array_equal(found[name], value) for name, value in large.items())
    assert Checkpoint(f"{tmp_path}/model.ckpt-1").verify().ok
    store.save({"v0": large["v0"]}, step=1)
    assert data.isdisjoint(os.listdir(tmp_path))


def test_an_incremental_save_takes_over_one_shard_of_several(tmp_path):
    values = {f"v{n}": np.full(3 << 20, n, np.float32) for n in range(6)}
    store = ModelStore(tmp_path, durable=False, incremental=True)
    store.save(values, step=1)
    first = [os.stat(f"{tmp_path}/model.ckpt-1.data-0000{n}-of-00002").st_ino for n in range(2)]
    changed = {**values, **{f"v{n}": np.full(3 << 20, -1, np.float32) for n in range(3)}}
    store.save(changed, step=2)
    names = sorted(name for name in os.listdir(tmp_path) if name.startswith("model.ckpt-2.data"))
    assert [os.stat(f"{tmp_path}/{name}").st_ino in first for name in names] == [True, False]
    found = Checkpoint(f"{tmp_path}/model.ckpt-2")
    assert all(np.array_equal(found[name], value) for name, value in changed.items())
