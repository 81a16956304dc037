"""Checkpoints in an S3 bucket: whole or absent, in few requests, and what TensorFlow reads."""

import math
import pathlib
import threading

import numpy as np
import pytest
from s3_server import clients_of

import tfpersist as tfp
from tfpersist.errors import (
    CheckpointNotFoundError,
    ConflictError,
    CorruptionError,
    StorageError,
)
from tfpersist.storage import remote


@pytest.fixture(scope="module")
def clients(s3_server):
    with clients_of(s3_server) as clients:
        yield clients


@pytest.fixture
def url(s3):
    return f"{s3.bucket()}/runs/mnist"


def store_at(s3, url, **how):
    return tfp.ModelStore(url, storage_options=s3.options, **how)


def checkpoint_at(s3, url):
    return tfp.Checkpoint(url, storage_options=s3.options)


def system_of(s3, url):
    return store_at(s3, url)._directory.system


def values(number=1.0):
    return {"v": np.full(5000, float(number)), "w": np.full((), 7.0)}


def value_in(checkpoint):
    """Return the number in a checkpoint of `values`, all of which must be the same."""
    read = dict(checkpoint)
    (number,) = set(read["v"].tolist())
    assert read["w"] == 7
    return number


def contents(s3, url):
    return {c.step: value_in(c) for c in store_at(s3, url).checkpoints()}


def download(s3, url, folder):
    folder.mkdir()
    system = system_of(s3, url)
    for path in system.find(url):
        (folder / path.rpartition("/")[2]).write_bytes(system.cat_file(path))
    return folder


def test_save_list_restore_verify_and_prune(s3, url):
    store = store_at(s3, url)
    assert store.latest() is None
    for step in (1, 2, 3):
        saved = store.save(values(step), step, {"loss": 1 / step}, metadata={"by": "me"})
        assert saved.prefix == f"{url}/model.ckpt-{step}"
    assert contents(s3, url) == {1: 1.0, 2: 2.0, 3: 3.0}
    target = values(0)
    report = store_at(s3, url).restore(target)
    assert (report.checkpoint, set(target["v"])) == (f"{url}/model.ckpt-3", {3.0})
    store_at(s3, url).at(1).restore(target)
    assert set(target["v"]) == {1.0}
    assert store_at(s3, url).best("loss").latest().step == 1
    assert store_at(s3, url).verify().ok
    other = store_at(s3, url)
    assert other.latest().metadata == {"by": "me"}
    assert len(other.prune(keep=tfp.Keep(last=1)).dropped) == 2
    assert contents(s3, url) == {3: 3.0}
    store_at(s3, url, keep=tfp.Keep(last=2)).save(values(4), 4)
    assert contents(s3, url) == {3: 3.0, 4: 4.0}
    names = sorted(store.latest().storage.names())
    assert [name.split("-of-")[0] for name in names] == [
        "checkpoint",
        "model.ckpt-3.data-00000",
        "model.ckpt-3.index",
        "model.ckpt-4.data-00000",
        "model.ckpt-4.index",
    ]


def test_a_step_that_is_saved_again_is_replaced(s3, url):
    for number in (1, 2):
        store_at(s3, url).save(values(number), 7)
    store = store_at(s3, url)
    store.save(values(3), 7)
    store.save(values(4), 7)
    assert contents(s3, url) == {7: 4.0}
    assert sum(".data-" in name for name in store.latest().storage.names()) == 1


@pytest.mark.parametrize("saved_before", [False, True])
def test_of_two_writers_of_a_step_one_is_told(s3, url, clients, saved_before):
    if saved_before:
        store_at(s3, url).save(values(0), 7)
    waiting = [True]

    def other_is_faster(method, key):
        if method == "PUT" and key.endswith(".index") and waiting:
            waiting.clear()
            assert clients.outcome_of(url, 2, 7) == "saved"

    s3.before = other_is_faster
    store = store_at(s3, url)
    with pytest.raises(ConflictError, match="another process has written this since") as caught:
        store.save(values(1), 7)
    assert "model.ckpt-7.index" in str(caught.value)
    assert not waiting
    assert contents(s3, url) == {7: 2.0}
    store.save(values(3), 8)
    assert contents(s3, url) == {7: 2.0, 8: 3.0}


def test_an_answer_that_is_lost_is_no_conflict(s3, url):
    """The client library asks again, and finds what it has written itself."""
    system = system_of(s3, url)
    storage = store_at(s3, url)._directory
    system.pipe_file(f"{storage.root}/a", b"mine")
    storage.create(f"{storage.root}/a", b"mine")
    with pytest.raises(FileExistsError):
        storage.create(f"{storage.root}/a", b"other")
    etag = dict(storage.info("a"))
    system.pipe_file(f"{storage.root}/a", b"new")
    storage.replace(f"{storage.root}/a", b"new", etag)
    with pytest.raises(FileExistsError):
        storage.replace(f"{storage.root}/a", b"other", etag)


@pytest.mark.parametrize(
    ("how", "after"),
    [
        ({"step": 2}, {1: 1.0, 2: 2.0}),
        ({"step": 1}, {1: 2.0}),
        ({"step": 2, "keep": True}, {2: 2.0}),
    ],
    ids=["new", "replaced", "pruned"],
)
def test_a_process_that_is_killed_after_any_request_tears_nothing(s3, clients, how, after):
    before, outcome = {1: 1.0}, None
    found = []
    while outcome is None:
        url = f"{s3.bucket()}/run"
        store_at(s3, url).save(values(1), 1)
        clients.kill_after(len(found) + 1)
        outcome = clients.outcome_of(url, 2, **how)
        s3.reset()
        found.append(contents(s3, url))
    assert outcome == "saved"
    # The last run was not killed.
    assert len(found) > 3
    assert all(one in (before, {**before, **after}, after) for one in found)
    assert (found[0], found[-1]) == (before, after)
    url = f"{s3.bucket()}/run"
    for count in (1, 2, 99):
        clients.kill_after(count)
        outcome = clients.outcome_of(url, count, 5)
        s3.reset()
    assert outcome == "saved"
    assert contents(s3, url) == {5: 99.0}


def test_a_store_where_nothing_may_be_removed(s3, url):
    s3.before = lambda method, key: 403 if method == "DELETE" else None
    store = store_at(s3, url)
    for number in (1, 2):
        store.save(values(number), 7)
    store.save(values(3), 8)
    assert contents(s3, url) == {7: 2.0, 8: 3.0}
    with pytest.raises(StorageError, match="cannot remove"):
        store.prune(keep=tfp.Keep(last=1))
    assert contents(s3, url) == {7: 2.0, 8: 3.0}


def test_a_save_that_the_server_refuses_leaves_what_was_there(s3, url):
    store = store_at(s3, url)
    store.save(values(1), 1)
    for ending in (".index", "-of-"):
        s3.before = lambda method, key, end=ending: 403 if method == "PUT" and end in key else None
        for step in (1, 2):
            with pytest.raises(StorageError, match="cannot write"):
                store.save(values(2), step)
        s3.reset()
        assert contents(s3, url) == {1: 1.0}
    s3.before = lambda method, key: 403 if key.endswith("/checkpoint") else None
    with pytest.raises(StorageError, match=r"'model.ckpt-2' is saved and complete"):
        store.save(values(2), 2)
    s3.reset()
    assert contents(s3, url) == {1: 1.0, 2: 2.0}


def test_a_misspelt_bucket_is_an_error_and_is_not_created(s3, url):
    wrong = "s3://no-such-bucket/run"
    with pytest.raises(StorageError, match="bucket does not exist"):
        store_at(s3, wrong).save(values(), 1)
    with pytest.raises(CheckpointNotFoundError):
        store_at(s3, wrong).restore(values())
    with pytest.raises(CheckpointNotFoundError):
        checkpoint_at(s3, wrong)
    assert not system_of(s3, url).exists("no-such-bucket")


# --- what it costs -------------------------------------------------------------------------------


def large(size=1 << 20):
    """Return 8 tensors of 8 bytes times `size`."""
    rng = np.random.default_rng(0)
    return {f"w{number}": rng.random(size) for number in range(8)}


def test_a_save_takes_three_requests_and_one_for_each_32_mb(s3, url):
    store = store_at(s3, url)
    for model, step in ((values(), 1), (values(), 2), (large(), 3)):
        size = sum(np.asarray(value).nbytes for value in model.values())
        with s3.counted() as requests:
            store.save(model, step)
        assert len(requests) <= 3 + math.ceil(size / (32 << 20))
        assert {request.method for request in requests} == {"GET", "PUT"}


def test_a_tensor_costs_its_bytes_and_the_index(s3, url):
    model = large(1 << 17)
    store_at(s3, url).save(model, 1)
    index = store_at(s3, url)._directory.size("model.ckpt-1.index")
    with s3.counted() as requests:
        array = checkpoint_at(s3, f"{url}/model.ckpt-1")["w3"]
    assert np.array_equal(array, model["w3"])
    assert len(requests) <= 4
    fetched = sum(r.size for r in requests if "model.ckpt-1." in r.key)
    assert fetched <= 1.05 * array.nbytes + index
    chosen = {"w1": np.zeros(1 << 17), "w3": np.zeros(1 << 17)}
    with s3.counted() as requests:
        store_at(s3, url).only(["w3"]).restore(chosen)
    assert np.array_equal(chosen["w3"], model["w3"])
    assert not chosen["w1"].any()
    assert sum(r.size for r in requests if ".data-" in r.key) <= 1.05 * array.nbytes
    with s3.counted() as requests:
        loaded = list(checkpoint_at(s3, url).load(["w0", "w7"]))
    assert np.array_equal(loaded, [model["w0"], model["w7"]])
    assert sum(r.size for r in requests if ".data-" in r.key) <= 2.1 * array.nbytes


def test_parts_are_fetched_at_once(s3, url, monkeypatch):
    monkeypatch.setattr(remote, "_PIECE", 1 << 20)
    store_at(s3, url).save(large(1 << 17), 1)
    under_way, most, lock = [0], [0], threading.Lock()
    together = threading.Barrier(4)

    def enter(method, key):
        if ".data-" in key and method == "GET":
            with lock:
                under_way[0] += 1
                most[0] = max(most[0], under_way[0])
            # Four requests wait for each other: they come only if they are sent at once.
            together.wait(10)

    def leave(method, key):
        if ".data-" in key and method == "GET":
            with lock:
                under_way[0] -= 1

    s3.before, s3.after = enter, leave
    target = {name: np.zeros(1 << 17) for name in large(0)}
    store_at(s3, url).restore(target)
    assert all(np.array_equal(target[name], value) for name, value in large(1 << 17).items())
    assert store_at(s3, url).latest().verify().ok
    assert 4 <= most[0] <= 8


# --- damage and others ---------------------------------------------------------------------------


def test_damage_is_noticed(s3, url):
    store = store_at(s3, url)
    for step in (1, 2):
        store.save(values(step), step)
    storage = store._directory
    (data,) = (name for name in storage.names() if name.startswith("model.ckpt-2.data"))
    whole = bytes(storage.read(data))
    system, path = storage.system, storage.path(data)
    for damaged in (b"", whole[:9], whole[:40_000], b"\1" + whole[1:], None):
        if damaged is None:
            system.rm_file(path)
        else:
            system.pipe_file(path, damaged)
        with pytest.raises(CorruptionError, match=r"model\.ckpt-2\.data"):
            dict(checkpoint_at(s3, f"{url}/model.ckpt-2"))
        assert not store_at(s3, url).at(2).verify().ok
    target = values(0)
    report = store_at(s3, url).restore(target)
    assert set(target["v"]) == {1.0}
    assert report.skipped[0].quarantined
    assert contents(s3, url) == {1: 1.0}


def test_tensorflow_reads_a_copy_and_so_does_a_directory(s3, url, tmp_path):
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v = v1.get_variable("v", initializer=np.arange(4.0))
        tf.add(v, v, name="twice")
        session.run(v.initializer)
        store_at(s3, url).save(session, 5, {"loss": 0.5}, metadata=["noted"])
    folder = download(s3, url, tmp_path / "copy")
    assert tf.train.latest_checkpoint(folder) == f"{folder}/model.ckpt-5"
    reader = tf.train.load_checkpoint(f"{folder}/model.ckpt-5")
    assert reader.get_variable_to_shape_map() == {"v": [4]}
    assert reader.get_tensor("v").tolist() == [0, 1, 2, 3]
    with tf.Graph().as_default(), v1.Session() as session:
        v1.train.import_meta_graph(f"{folder}/model.ckpt-5.meta").restore(
            session, f"{folder}/model.ckpt-5"
        )
        assert session.run("twice:0").tolist() == [0, 2, 4, 6]
    for where, how in ((url, {"storage_options": s3.options}), (folder, {})):
        store = tfp.ModelStore(where, **how)
        assert store.verify().ok
        latest = store.latest()
        assert (latest.step, latest.metrics, latest.metadata) == (5, {"loss": 0.5}, ["noted"])
        with store.open_graph() as model:
            assert model.run("twice").tolist() == [0, 2, 4, 6]
    local = tfp.ModelStore(folder)
    local.save({"v": np.ones(4)}, 5)
    assert local.verify().ok
    assert sorted(path.name for path in pathlib.Path(folder).iterdir()) == [
        "checkpoint",
        "model.ckpt-5.data-00000-of-00001",
        "model.ckpt-5.index",
        "model.ckpt-5.tfpersist.json",
    ]


def test_a_checkpoint_that_was_copied_into_a_bucket(s3, url, tmp_path):
    tfp.ModelStore(tmp_path).save(values(1), 3, {"loss": 0.5})
    system = system_of(s3, url)
    for path in tmp_path.iterdir():
        system.pipe_file(f"{url}/{path.name}", path.read_bytes())
    latest = store_at(s3, url).latest()
    assert (value_in(latest), latest.metrics) == (1.0, {"loss": 0.5})
    store_at(s3, url).save(values(2), 3)
    assert contents(s3, url) == {3: 2.0}
    assert store_at(s3, url).latest().metrics == {}


def test_workers_save_their_parts_into_a_bucket(s3, url):
    store = store_at(s3, url)
    saved = values(1.0)
    for number in (1.0, 2.0):
        for worker, name in enumerate(saved):
            part = {name: values(number)[name]}
            store.part(worker, 2, f"job {number}").save(part, step=1)
            with pytest.raises(ConflictError, match=f"worker {worker} has saved"):
                store.part(worker, 2, f"job {number}").save(part, step=1)
        store.commit(1, 2, f"job {number}")
        assert contents(s3, url) == {1: number}
    assert store.verify().ok
    store.part(0, 2, "job 3").save({"v": np.zeros(5000)}, step=1)
    with pytest.raises(tfp.SaveError, match="missing: 1"):
        store.commit(1, 2, "job 3", timeout=0.1)
    assert contents(s3, url) == {1: 2.0}
