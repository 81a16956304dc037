"""Checkpoints in a bucket of Google Cloud Storage, by gcsfs and the emulator."""

import subprocess
import sys

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.errors import CheckpointNotFoundError, ConflictError, CorruptionError, StorageError

# Another process that saves step 7.
SAVE = """
import ast, os, sys
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
import numpy as np, tfpersist as tfp
store = tfp.ModelStore(sys.argv[1], storage_options=ast.literal_eval(sys.argv[2]))
store.save({"v": np.full(5000, 2.0), "w": np.full((), 7.0)}, 7)
"""


@pytest.fixture(scope="module")
def gcs_server():
    from gcs_server import running

    with running() as server:
        yield server


@pytest.fixture
def gcs(gcs_server):
    gcs_server.reset()
    yield gcs_server
    gcs_server.reset()


@pytest.fixture
def url(gcs):
    return f"{gcs.bucket()}/runs/mnist"


def store_at(gcs, url, **how):
    return tfp.ModelStore(url, storage_options=gcs.options, **how)


def values(number=1.0):
    return {"v": np.full(5000, float(number)), "w": np.full((), 7.0)}


def contents(gcs, url):
    return {c.step: set(c["v"].tolist()) for c in store_at(gcs, url).checkpoints()}


def writes(gcs):
    return [target for method, target in gcs.requests if method in ("POST", "PUT")]


def test_save_list_restore_verify_replace_and_prune(gcs, url):
    store = store_at(gcs, url)
    assert store.latest() is None
    for step in (1, 2, 3):
        saved = store.save(values(step), step, {"loss": 1 / step}, metadata={"by": "me"})
        assert saved.prefix == f"{url}/model.ckpt-{step}"
    assert contents(gcs, url) == {1: {1.0}, 2: {2.0}, 3: {3.0}}
    target = values(0)
    assert store_at(gcs, url).restore(target).checkpoint == f"{url}/model.ckpt-3"
    assert set(target["v"]) == {3.0}
    assert store_at(gcs, url).best("loss", "max").latest().step == 1
    assert store_at(gcs, url).latest().metadata == {"by": "me"}
    assert store_at(gcs, url).verify().ok
    store_at(gcs, url).save(values(4), 3)
    assert len(store_at(gcs, url).prune(keep=tfp.Keep(last=1)).dropped) == 2
    assert contents(gcs, url) == {3: {4.0}}
    names = sorted(store_at(gcs, url)._directory.names())
    assert [name.split("-of-")[0] for name in names] == [
        "checkpoint",
        "model.ckpt-3.data-00000",
        "model.ckpt-3.index",
    ]


def test_one_tensor_of_a_large_checkpoint(gcs, url):
    model = {f"w{number}": np.random.default_rng(number).random(1 << 20) for number in range(4)}
    store_at(gcs, url).save(model, 1)
    checkpoint = tfp.Checkpoint(url, storage_options=gcs.options)
    assert np.array_equal(checkpoint["w2"], model["w2"])
    assert checkpoint.verify().ok


def test_a_new_checkpoint_is_written_only_if_there_is_none(gcs, url):
    store_at(gcs, url).save(values(), 7)
    conditional = [target for target in writes(gcs) if "ifGenerationMatch=0" in target]
    assert len(conditional) == 2
    assert any(
        target.endswith("model.ckpt-7.index") or ".index" in target for target in conditional
    )


def test_of_two_writers_of_a_new_step_one_is_told(gcs, url):
    waiting = [True]

    def other_is_faster(method, target):
        if "ifGenerationMatch=0" in target and "index" in target and waiting:
            waiting.clear()
            options = repr(gcs.options)
            subprocess.run([sys.executable, "-c", SAVE, url, options], check=True, timeout=120)
            return 412
        return None

    gcs.before = other_is_faster
    store = store_at(gcs, url)
    with pytest.raises(ConflictError, match="another process has written this since"):
        store.save(values(1), 7)
    assert not waiting
    assert contents(gcs, url) == {7: {2.0}}
    store.save(values(3), 8)
    assert contents(gcs, url) == {7: {2.0}, 8: {3.0}}


@pytest.mark.parametrize("part", ["data-", ".index"])
def test_a_save_that_the_server_refuses_leaves_what_was_there(gcs, url, part):
    store = store_at(gcs, url)
    store.save(values(1), 1)
    gcs.before = lambda method, target: 403 if method == "POST" and part in target else None
    for step in (1, 2):
        with pytest.raises(StorageError, match="cannot write"):
            store.save(values(2), step)
    gcs.reset()
    assert contents(gcs, url) == {1: {1.0}}


def test_damage_is_noticed(gcs, url):
    store_at(gcs, url).save(values(1), 1)
    storage = store_at(gcs, url)._directory
    (data,) = (name for name in storage.names() if ".data-" in name)
    whole = bytes(storage.read(data))
    for damaged in (whole[:40_000], b"\1" + whole[1:]):
        storage.system.pipe_file(storage.path(data), damaged)
        with pytest.raises(CorruptionError, match=r"model\.ckpt-1\.data"):
            dict(tfp.Checkpoint(url, storage_options=gcs.options))
        assert not store_at(gcs, url).verify().ok


def test_a_misspelt_bucket_is_an_error_and_is_not_created(gcs, url):
    wrong = "gs://no-such-bucket/run"
    with pytest.raises(StorageError, match="cannot write"):
        store_at(gcs, wrong).save(values(), 1)
    with pytest.raises(CheckpointNotFoundError):
        store_at(gcs, wrong).restore(values())
    assert not store_at(gcs, url)._directory.system.exists("no-such-bucket")
