import os
import pathlib
import shutil
import zipfile

import numpy as np
import pytest

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.locate import directory, locate
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import CheckpointNotFoundError, CorruptionError, StorageError, TFPersistError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.storage import open_storage
from tfpersist.store.model_store import ModelStore


def save(location, prefix, value=1.0, **options):
    items = [Item("v", payload_of(np.float32([value])))]
    write_checkpoint(open_storage(location), prefix, items, **options)


def found(path, storage=None):
    return locate(path, storage).path


def spellings(prefix):
    """Every file and form that names the V2 checkpoint of this prefix."""
    yield prefix
    yield pathlib.Path(prefix)
    for name in os.listdir(os.path.dirname(prefix)):
        if name.startswith(os.path.basename(prefix) + "."):
            yield os.path.join(os.path.dirname(prefix), name)


def test_every_v2_checkpoint_by_each_of_its_spellings(old_files):
    count = 0
    for index in sorted(old_files.rglob("*.index")):
        prefix = str(index).removesuffix(".index")
        for path in spellings(prefix):
            assert found(path) == prefix
            count += 1
    assert count > 100


def test_every_v1_checkpoint_by_each_of_its_spellings(tensorflow_1):
    for name in ("bntrain_v1.ckpt", "model_v1.ckpt-5", "plain_v1.ckpt"):
        base = str(tensorflow_1 / name)
        metas = [base + ".meta"] if os.path.exists(base + ".meta") else []
        assert {found(path) for path in (base, *metas)} == {base}
    base = str(tensorflow_1 / "shard2_v1.ckpt")
    metas = [base + ".meta"] if os.path.exists(base + ".meta") else []
    pattern = base + "-?????-of-00003"
    shards = [f"{base}-{shard:05d}-of-00003" for shard in range(3)]
    assert {found(path) for path in (base, *metas, pattern, *shards)} == {pattern}


def test_a_v1_checkpoint_of_a_session_bundle(old_files):
    (meta,) = [
        path
        for path in old_files.rglob("export.meta")
        if path.with_name("export-00000-of-00001").exists()
    ]
    folder = meta.parent
    assert {found(folder), found(f"{folder}/"), found(meta)} == {
        str(folder / "export-?????-of-00001")
    }


def test_directories_and_state_files(tensorflow_1):
    for path in (tensorflow_1, f"{tensorflow_1}/", tensorflow_1 / "checkpoint"):
        assert os.path.basename(found(path)) == "shard2_v2.ckpt"


def test_directories_of_tensorflow_2_and_saved_models(keras_2, golden):
    assert found(keras_2 / "mgr") == str(keras_2 / "mgr" / "ckpt-7")
    for saved in (golden / "1.4.1" / "saved_model", keras_2 / "keras_savedmodel"):
        assert found(saved) == found(f"{saved}/variables/") == f"{saved}/variables/variables"


@pytest.mark.parametrize("folder", ["with space", "a[1]*?{x}", "zażółć-模型", "%41~", "a:b"])
@pytest.mark.parametrize("prefix", ["m [0-9].ckpt-5", "模型-5", "model"])
def test_names_are_never_patterns(tmp_path, folder, prefix):
    place = tmp_path / folder
    save(place, prefix)
    save(tmp_path / "a1x", prefix, 2)
    whole = str(place / prefix)
    for path in (*spellings(whole), place, f"{place}/", f"{whole}/", place / "checkpoint"):
        assert found(path) == whole
        assert Checkpoint(path)["v"] == 1


def test_relative_paths(tmp_path, monkeypatch):
    save(tmp_path / "runs", "m-1")
    monkeypatch.chdir(tmp_path / "runs")
    for path in (".", "./", "m-1", "./m-1.index", "../runs", "../runs/m-1", "checkpoint"):
        assert found(path) == str(tmp_path / "runs" / "m-1")
    monkeypatch.chdir(tmp_path)
    assert found("runs") == str(tmp_path / "runs" / "m-1")
    assert found(b"runs/m-1") == found(f"file://{tmp_path}/runs")


def test_urls(tmp_path):
    save("memory://locate/runs", "m-1")
    for path in ("", "/", "/m-1", "/m-1.index", "/checkpoint", "/m-1.data-00000-of-00001"):
        assert found("memory://locate/runs" + path) == "memory://locate/runs/m-1"
    save(tmp_path, "m-2")
    for path in ("", "/", "/m-2", "/m-2.index"):
        assert found(f"local://{tmp_path}{path}") == f"local://{tmp_path}/m-2"


def test_names_in_a_storage(tmp_path):
    save(tmp_path, "m-1")
    save(tmp_path, "m-2")
    storage = open_storage(tmp_path)
    assert found("m-1", storage) == found("m-1.index", storage) == str(tmp_path / "m-1")
    assert found("", storage) == found("checkpoint", storage) == str(tmp_path / "m-2")
    with pytest.raises(CheckpointNotFoundError, match="Did you mean 'm-"):
        locate("m-3", storage)
    save("memory://locate/empty", "m")
    open_storage("memory://locate/empty").remove(["m.index", "checkpoint"])
    with pytest.raises(
        CheckpointNotFoundError, match="got no checkpoints in memory://locate/empty"
    ):
        locate("", open_storage("memory://locate/empty"))


def test_a_prefix_wins_over_a_directory_of_the_same_name(tmp_path):
    save(tmp_path, "m")
    save(tmp_path / "m", "inside")
    assert found(tmp_path / "m") == str(tmp_path / "m")
    assert found(f"{tmp_path}/m/") == str(tmp_path / "m" / "inside")


def test_a_moved_directory(tmp_path):
    save(tmp_path / "old", "m-1")
    save(tmp_path / "old", "m-2")
    (tmp_path / "old" / "checkpoint").write_text(
        f'model_checkpoint_path: "{tmp_path}/old/m-1"\n'
        f'all_model_checkpoint_paths: "{tmp_path}/old/m-1"\n'
    )
    shutil.move(tmp_path / "old", tmp_path / "new")
    assert found(tmp_path / "new") == str(tmp_path / "new" / "m-2")
    assert found(tmp_path / "new" / "checkpoint") == str(tmp_path / "new" / "m-1")


def test_a_state_file_that_names_a_checkpoint_elsewhere(tmp_path):
    save(tmp_path / "data", "m-1")
    (tmp_path / "state").mkdir()
    for named in (f"{tmp_path}/data/m-1", "../data/m-1"):
        (tmp_path / "state" / "checkpoint").write_text(f'model_checkpoint_path: "{named}"')
        assert os.path.samefile(found(tmp_path / "state") + ".index", tmp_path / "data/m-1.index")
        assert found(tmp_path / "state") == found(tmp_path / "state" / "checkpoint")
    impossible = (r"/a\000/b", r"a\000b", r"/\355\240\200/b")
    for named in (f"{tmp_path}/state/checkpoint", "./checkpoint", "gone", "", "\\n", *impossible):
        (tmp_path / "state" / "checkpoint").write_text(f'model_checkpoint_path: "{named}"')
        for path in (tmp_path / "state", tmp_path / "state" / "checkpoint"):
            with pytest.raises(CheckpointNotFoundError):
                locate(path)


def test_another_name_of_the_state_file(tmp_path):
    save(tmp_path, "m-1")
    save(tmp_path, "m-2")
    (tmp_path / "best_state").write_text('model_checkpoint_path: "m-1"')
    assert found(tmp_path / "best_state") == str(tmp_path / "m-1")


def test_a_missing_shard_is_named_and_never_newest(tmp_path):
    save(tmp_path, "m-1")
    save(tmp_path, "m-2")
    (tmp_path / "m-2.data-00000-of-00001").unlink()
    assert found(tmp_path) == found(tmp_path / "checkpoint") == str(tmp_path / "m-1")
    for path in (tmp_path / "m-2", tmp_path / "m-2.index"):
        with pytest.raises(CorruptionError, match="missing") as caught:
            Checkpoint(path)
        assert caught.value.file == str(tmp_path / "m-2.data-00000-of-00001")
    (tmp_path / "m-1.index").unlink()
    with pytest.raises(CheckpointNotFoundError, match=r"'m-2.data-00000-of-00001' is missing"):
        locate(tmp_path)


def test_data_without_an_index(tmp_path):
    save(tmp_path, "m-1")
    (tmp_path / "m-1.index").unlink()
    for path in ("m-1", "m-1.data-00000-of-00001", "m-1.index"):
        with pytest.raises(CheckpointNotFoundError, match="index of this checkpoint is missing"):
            locate(tmp_path / path)


def test_a_missing_checkpoint_lists_similar_names(tmp_path):
    save(tmp_path, "model.ckpt-100")
    save(tmp_path, "model.ckpt-200")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(FileNotFoundError, match=r"ckpt-10: .*Did you mean 'model.ckpt-100'"):
        locate(tmp_path / "model.ckpt-10")
    with pytest.raises(CheckpointNotFoundError, match="no directory"):
        locate(tmp_path / "nowhere" / "model")
    with pytest.raises(
        CheckpointNotFoundError, match=r"does not belong to a checkpoint.*unknown format"
    ):
        locate(tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointNotFoundError, match="got no checkpoints in"):
        locate(tmp_path / "empty")
    for nothing in (None, ""):
        with pytest.raises(CheckpointNotFoundError):
            locate(nothing)
    with pytest.raises(TFPersistError):
        locate("nosuchscheme://x/y")


@pytest.mark.parametrize("content", [b"", b"\xff no state file", b'model_checkpoint_path: ""'])
def test_a_state_file_without_a_checkpoint(tmp_path, content):
    for step in (1, 2):
        save(tmp_path, f"m-{step}")
    (tmp_path / "checkpoint").write_bytes(content)
    assert found(tmp_path / "checkpoint") == found(tmp_path) == f"{tmp_path}/m-2"


@pytest.mark.parametrize("name", ["m", "/m", "m/", "m.index"])
def test_a_name_in_a_storage_may_have_slashes_around_it(tmp_path, name):
    save(tmp_path, "m")
    save(tmp_path, "m-2")
    assert found(name, open_storage(tmp_path)) == f"{tmp_path}/m"


def test_a_state_file_that_names_another_state_file_leads_nowhere(tmp_path):
    save(tmp_path / "there", "m")
    state = tmp_path / "there" / "state"
    state.write_text('model_checkpoint_path: "m"')
    assert found(state) == f"{tmp_path}/there/m"
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "checkpoint").write_text('model_checkpoint_path: "../there/state"')
    with pytest.raises(CheckpointNotFoundError):
        locate(tmp_path / "here")
    (tmp_path / "here" / "checkpoint").write_text('model_checkpoint_path: "../there/m"')
    assert found(tmp_path / "here").endswith("there/m")


@pytest.mark.parametrize("other", ["m.index", "m.meta", "m.data-00000-of-00002"])
def test_a_prefix_that_looks_like_a_file_of_another_is_a_prefix(tmp_path, other):
    save(tmp_path, "m")
    save(tmp_path, other)
    assert found(tmp_path / other) == f"{tmp_path}/{other}"
    assert found(other, open_storage(tmp_path)) == f"{tmp_path}/{other}"


def test_the_directory_that_a_path_names(tmp_path, monkeypatch):
    save(tmp_path / "runs", "m")
    assert directory(tmp_path / "runs").location == str(tmp_path / "runs")
    assert directory(f"{tmp_path}/runs/m") is None
    assert directory(tmp_path / "absent") is None
    assert directory("") is None
    (tmp_path / "runs" / "saved_model.pb").touch()
    assert directory(tmp_path / "runs") is None


@pytest.mark.parametrize("inside", ["run", ""])
def test_a_checkpoint_in_an_archive(tmp_path, monkeypatch, inside):
    monkeypatch.chdir(tmp_path)
    for step in (1, 2):
        ModelStore("saved").save({"v": np.full(3, float(step))}, step, {"loss": 0.5})
    with zipfile.ZipFile("a.zip", "w") as archive:
        for path in pathlib.Path("saved").iterdir():
            archive.write(path, os.path.join(inside, path.name))
    store = ModelStore(f"zip://{inside}::a.zip")
    assert [checkpoint.step for checkpoint in store.checkpoints()] == [1, 2]
    assert store.verify().ok
    target = {"v": np.zeros(3)}
    store.restore(target)
    assert target["v"].tolist() == [2, 2, 2]
    newest = Checkpoint(f"zip://{inside}::a.zip")
    assert newest.prefix == store.latest().prefix
    joint = "/" if inside else ""
    assert newest.prefix == f"zip://{inside}{joint}model.ckpt-2::a.zip"
    first = Checkpoint(f"zip://{inside}{joint}model.ckpt-1::a.zip")
    assert (first["v"].tolist(), first.metrics) == ([1, 1, 1], {"loss": 0.5})
    assert first.verify().ok
    with pytest.raises(CheckpointNotFoundError):
        Checkpoint(f"zip://{inside}{joint}absent::a.zip")
    with pytest.raises(StorageError, match="cannot open this file system"):
        Checkpoint("zip://run::absent.zip")


@pytest.mark.parametrize("scheme", ["", "local://"])
def test_a_store_and_a_checkpoint_open_the_directory_of_a_saved_model(keras_2, scheme):
    location = f"{scheme}{keras_2 / 'keras_savedmodel'}"
    checkpoint = Checkpoint(location)
    store = ModelStore(location)
    assert [found.prefix for found in store.checkpoints()] == [checkpoint.prefix]
    assert store.latest().keys() == checkpoint.keys()
    assert store.verify().ok
    key = next(key for key, spec in checkpoint.specs.items() if spec.dtype == "float32")
    target = {key: np.zeros_like(checkpoint[key])}
    store.restore(target)
    assert np.array_equal(target[key], checkpoint[key])


def test_a_state_file_of_another_name_names_its_checkpoint(tmp_path):
    """As `Saver.save(latest_filename=)` of TensorFlow writes it beside the usual one."""
    for step in (1, 2):
        ModelStore(tmp_path, name="m").save({"v": np.float32(step)}, step)
    (tmp_path / "checkpoint_best").write_text('model_checkpoint_path: "m-1"\n')
    assert Checkpoint(tmp_path / "checkpoint_best")["v"] == 1
    assert Checkpoint(tmp_path)["v"] == 2
    ModelStore(tmp_path, name="m").save({"v": np.float32(3)}, 3)
    assert Checkpoint(tmp_path / "checkpoint_best")["v"] == 1
