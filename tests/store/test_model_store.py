"""`ModelStore` restores what it saved, from the newest intact checkpoint."""

from __future__ import annotations

import copy
import os
import pathlib
import pickle
import shutil

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.errors import (
    CheckpointNotFoundError,
    CorruptionError,
    RestoreError,
    SelectionError,
    TargetError,
)


@pytest.fixture(params=["disk", "memory"])
def location(request, tmp_path):
    return tmp_path / "run [1] é" if request.param == "disk" else f"memory://store/{tmp_path.name}"


def model(value=0.0):
    return {"w": np.full((2, 2), value, np.float32), "b": np.full(2, value, np.float32)}


def spoil(path, kind):
    if kind == "missing":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        data = bytearray(path.read_bytes())
        data[3] ^= 1
        path.write_bytes(bytes(data))


def test_saved_values_are_restored(location):
    store = tfp.ModelStore(location)
    noted = {"commit": "3f2a", "layers": [1, 2]}
    checkpoint = store.save(model(3.0), step=5, metrics={"loss": 0.5}, metadata=noted)
    assert checkpoint.metadata == tfp.Checkpoint(checkpoint.prefix).metadata == noted
    assert checkpoint.step == 5
    assert checkpoint.metrics == {"loss": 0.5}
    target = model()
    report = store.restore(target)
    assert report.restored == ("w", "b")
    assert report.checkpoint == checkpoint.prefix
    assert (target["w"] == 3).all()
    assert (target["b"] == 3).all()


@pytest.mark.parametrize("kind", [str, pathlib.Path, os.fsencode])
def test_the_directory_stays_where_it_was(tmp_path, monkeypatch, kind):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = tfp.ModelStore(kind("runs"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert os.fsdecode(store.location) == str(tmp_path / "runs")
    store.save(model(), step=1)
    store.background().save(model(), step=2).wait()
    assert [each.step for each in store.at(2).checkpoints()] == [2]
    assert [each.step for each in tfp.ModelStore(tmp_path / "runs").checkpoints()] == [1, 2]
    assert store.at(1).location == store.location


def pickled(store):
    return pickle.loads(pickle.dumps(store))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_of_a_used_store_is_a_store_of_the_same_settings(tmp_path, again):
    store = tfp.ModelStore(tmp_path, keep=tfp.Keep(last=2), incremental=True).background()
    store = store.rename({"x": "w"})
    for step in range(3):
        store.save(model(step), step=step).wait()
    other = again(store)
    assert repr(other) == repr(store)
    assert [each.step for each in other.checkpoints()] == [1, 2]
    assert set(other.save(model(3), step=3)) == {"x", "b"}
    assert other._save_memory is not store._save_memory
    assert [each.step for each in store.checkpoints()] == [2, 3]


def test_every_kind_of_value_in_a_dict(location):
    store = tfp.ModelStore(location)
    saved = store.save(
        {
            "big-endian": np.array([1, 2], ">i4"),
            "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
            "number": 7,
            "truth": True,
            "text": "é",
            "bytes": b"\0\xff",
            "texts": np.array([["a", "b"]]),
            "scalar": np.float16(1.5),
            "empty": np.zeros((0, 2)),
        }
    )
    assert saved["big-endian"].tolist() == [1, 2]
    assert saved["fortran"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert saved["number"] == 7
    assert saved["truth"].dtype == bool
    assert saved["text"].item() == "é".encode()
    assert saved["bytes"].item() == b"\0\xff"
    assert saved["texts"].tolist() == [[b"a", b"b"]]
    assert saved["scalar"].dtype == np.float16
    assert saved["empty"].shape == (0, 2)


def test_the_newest_is_restored_and_at_takes_another(location):
    store = tfp.ModelStore(location)
    for step in (10, 2, 7):
        store.save(model(step), step=step)
    assert [one.step for one in store.checkpoints()] == [10, 2, 7]
    assert store.latest().step == 7
    target = model()
    store.restore(target)
    assert target["b"][0] == 7
    store.at(10).restore(target)
    assert target["b"][0] == 10
    with pytest.raises(CheckpointNotFoundError, match=r"of step 3 here.*2, 7, 10"):
        store.at(3).restore(target)


def test_a_step_that_is_not_in_the_name_is_known(location):
    store = tfp.ModelStore(location, name="best")
    store.save(model(1.0))
    assert store.latest().prefix.endswith("/best")
    assert store.latest().step is None
    with pytest.raises(CheckpointNotFoundError):
        store.at(0).restore(model())


def test_an_empty_store(location):
    store = tfp.ModelStore(location)
    assert store.latest() is None
    assert store.checkpoints() == []
    with pytest.raises(CheckpointNotFoundError, match="no checkpoint here"):
        store.restore(model())


@pytest.mark.parametrize("kind", ["missing", "cut", "flipped"])
@pytest.mark.parametrize("suffix", [".data-00000-of-00001", ".index"])
def test_a_damaged_newest_checkpoint_is_skipped(tmp_path, kind, suffix):
    store = tfp.ModelStore(tmp_path)
    for step in (1, 2):
        store.save(model(step), step=step)
    spoil(tmp_path / f"model.ckpt-2{suffix}", kind)
    target = model()
    with pytest.raises((CorruptionError, CheckpointNotFoundError)):
        store.at(2).restore(target)
    report = store.restore(target)
    assert target["w"][0, 0] == 1
    assert report.checkpoint.endswith("model.ckpt-1")
    assert [each.checkpoint.rsplit("/")[-1] for each in report.skipped] == ["model.ckpt-2"]
    assert "skipped" in str(report)
    assert report.skipped[0].quarantined
    spoil(tmp_path / f"model.ckpt-1{suffix}", kind)
    with pytest.raises((CorruptionError, CheckpointNotFoundError)):
        store.restore(target)
    assert target["w"][0, 0] == 1


def test_nothing_is_assigned_if_something_does_not_fit(location):
    store = tfp.ModelStore(location)
    store.save(model(5.0) | {"extra": np.zeros(1)})
    target = {**model(), "head": np.zeros(3), "w": np.zeros((2, 3), np.float32)}
    with pytest.raises(RestoreError) as caught:
        store.restore(target)
    report = caught.value.report
    assert (report.missing, report.mismatched) == (("head",), ("w",))
    assert report.unexpected == ("extra",)
    assert not target["b"].any()
    for part in ("float32[2,3]", "float32[2,2]", "head", "nothing was assigned", "extra"):
        assert part in str(caught.value)


def test_arrays_have_to_be_writable():
    store = tfp.ModelStore("memory://store/readonly")
    store.save(model(1.0))
    target = model()
    target["b"].flags.writeable = False
    with pytest.raises(TargetError, match="'b' is a ndarray that cannot be filled"):
        store.restore(target)
    assert not target["w"].any()
    with pytest.raises(TargetError, match="'w' is a float32 that"):
        tfp.ModelStore("memory://store/scalar").save({"w": np.float32(1)}) and tfp.ModelStore(
            "memory://store/scalar"
        ).restore({"w": np.float32(1)})


def test_only_and_rename_change_copies(location):
    store = tfp.ModelStore(location)
    part = store.only(["b"]).rename({"bias": "b"})
    assert set(part.save(model(4.0), step=1)) == {"bias"}
    assert set(store.save(model(5.0), step=2)) == {"w", "b"}
    target = model()
    part.at(1).restore(target)
    assert (target["b"][0], target["w"][0, 0]) == (4, 0)
    store.only({"w": target["w"]}).restore(target)
    assert (target["b"][0], target["w"][0, 0]) == (4, 5)
    store.only("b").restore(target)
    assert target["b"][0] == 5
    report = store.rename({"x": "b"}).rename({"y": "w"})
    assert report._asked.selection.renames == {"x": "b", "y": "w"}
    with pytest.raises(SelectionError, match="Did you mean 'w'"):
        store.only(["ww"]).restore(target)


def test_the_callers_choice_may_change_afterwards():
    choice = ["w"]
    store = tfp.ModelStore("memory://store/choice").only(choice)
    choice.append("b")
    assert set(store.save(model())) == {"w"}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (object(), "an object cannot be saved"),
        ("path", "'path' cannot be saved"),
        ({}, "an empty dict cannot be saved"),
        ([np.zeros(2)], "no names"),
        ({1: np.zeros(2)}, "must be names"),
        ({"": np.zeros(2)}, "must be names"),
    ],
)
def test_targets_that_cannot_be_saved_are_refused(target, message):
    with pytest.raises(TargetError, match=message):
        tfp.ModelStore("memory://store/targets").save(target)


@pytest.mark.parametrize("step", [-1, "7", 1.5, object()])
def test_a_step_is_a_whole_number(step):
    with pytest.raises(TargetError, match="step"):
        tfp.ModelStore("memory://store/steps").save(model(), step=step)


def test_a_moved_directory_and_files_of_other_names(tmp_path):
    store = tfp.ModelStore(tmp_path / "old", name="mine")
    store.save(model(1.0), step=1)
    shutil.move(tmp_path / "old", tmp_path / "new")
    target = model()
    tfp.ModelStore(tmp_path / "new").restore(target)
    assert target["b"][0] == 1
    tfp.ModelStore(tmp_path / "new").save(model(2.0), step=1)
    assert [one.step for one in tfp.ModelStore(tmp_path / "new", name="mine").checkpoints()] == [1]
    tfp.ModelStore(tmp_path / "new", name="mine").restore(target)
    assert target["b"][0] == 1


def test_arrays_need_no_tensorflow(fresh):
    fresh(
        """
        import sys
        import numpy as np
        import tfpersist as tfp

        store = tfp.ModelStore("run")
        store.save({"w": np.ones(3)}, step=1)
        target = {"w": np.zeros(3)}
        assert store.restore(target).restored == ("w",)
        assert target["w"].sum() == 3
        assert "tensorflow" not in sys.modules
        """
    )


def test_eager_variables_by_name(location):
    import tensorflow as tf

    store = tfp.ModelStore(location)
    v, w = tf.Variable([1.0, 2.0], name="v"), tf.Variable(np.int64(3), name="w")
    text = tf.Variable(["a", "b"], name="text")
    assert set(store.save([v, w, text], step=1)) == {"v", "w", "text"}
    assert set(store.save({"x": v, "array": np.zeros(2)}, step=2)) == {"x", "array"}
    for variable in (v, w):
        variable.assign(tf.zeros_like(variable))
    text.assign(["", ""])
    store.at(1).restore([v, w, text])
    assert v.numpy().tolist() == [1, 2]
    assert w.numpy() == 3
    assert text.numpy().tolist() == [b"a", b"b"]
    v.assign([0.0, 0.0])
    store.only({"x": v}).restore({"v": v})
    assert v.numpy().tolist() == [1, 2]


@pytest.mark.parametrize("whole", [True, False], ids=["trackable", "dict"])
def test_a_function_that_is_traced_neither_saves_nor_restores(location, whole):
    import tensorflow as tf

    store, v = tfp.ModelStore(location), tf.Variable([1.0, 2.0], name="v")
    target = tf.train.Checkpoint(v=v) if whole else {"v": v}
    store.save(target, step=1)
    for work in (lambda: store.save(target, step=2), lambda: store.restore(target)):
        with pytest.raises(TargetError, match="inside of a tf"):
            tf.function(work, autograph=False)()
    with pytest.raises(TargetError, match="inside of a tf"):
        tf.function(lambda: store.save({"a": np.zeros(2)}), autograph=False)()
    assert [each.step for each in store.checkpoints()] == [1]


def test_eager_variables_inside_of_a_graph_add_nothing_to_it():
    import tensorflow as tf

    store = tfp.ModelStore("memory://store/inside")
    v = tf.Variable([1.0, 2.0], name="v")
    with tf.Graph().as_default() as graph:
        assert store.save({"v": v}, step=1)["v"].tolist() == [1, 2]
        store.save({"v": np.float32([3, 4])}, step=2)
        store.restore({"v": v})
        assert not graph.get_operations()
    assert v.numpy().tolist() == [3, 4]


def test_variables_of_a_graph_need_a_session():
    import tensorflow as tf

    with tf.Graph().as_default():
        v = tf.compat.v1.get_variable("v", initializer=1.0)
    store = tfp.ModelStore("memory://store/graph")
    with pytest.raises(TargetError, match=r"only\(\{name: variable\}\)\.save\(session\)"):
        store.save({"v": v})


def test_tensorflow_finds_and_reads_the_newest(tmp_path):
    import tensorflow as tf

    store = tfp.ModelStore(tmp_path)
    for step in (1, 2):
        store.save(model(step), step=step)
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-2")
    state = tf.train.get_checkpoint_state(str(tmp_path))
    assert list(state.all_model_checkpoint_paths) == [
        str(tmp_path / f"model.ckpt-{step}") for step in (1, 2)
    ]
    assert tf.train.load_checkpoint(str(tmp_path)).get_tensor("b").tolist() == [2, 2]


def test_a_checkpoint_of_objects_is_restored_by_full_names(tmp_path):
    import tensorflow as tf

    v = tf.Variable([1.0, 2.0], name="named")
    tf.train.Checkpoint(layer=v).write(str(tmp_path / "model.ckpt"))
    target = {"named": np.zeros(2, np.float32)}
    tfp.ModelStore(tmp_path).restore(target)
    assert target["named"].tolist() == [1, 2]
