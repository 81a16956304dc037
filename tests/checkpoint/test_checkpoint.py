import copy
import os
import pathlib
import pickle
import shutil
import threading

import ml_dtypes
import numpy as np
import pytest

import tfpersist
from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import CorruptionError, NameNotFoundError, TFPersistError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import Slice, TensorSpec, payload_of
from tfpersist.storage import open_storage

ARRAYS = {
    "bool": np.array([True, False]),
    "complex": np.complex64([[1 + 2j]]),
    "deep/er/name": np.arange(12, dtype=np.float32).reshape(3, 4),
    "empty": np.zeros((0, 3), np.float64),
    "half": np.float16([1.5]),
    "int": np.int64(-7),
    "strings": np.array([b"", b"a\0b", b"\xff" * 300], object),
    "tiny": np.array([1, 2], ml_dtypes.bfloat16),
}


def save(location, prefix="model.ckpt-7", arrays=ARRAYS, **options):
    items = [Item(key, payload_of(np.asarray(array))) for key, array in sorted(arrays.items())]
    write_checkpoint(open_storage(location), prefix, items, **options)
    return Checkpoint(prefix, storage=open_storage(location))


def test_variants_are_copied_renamed_and_compared(golden, tmp_path):
    old = Checkpoint(golden / "1.15.5" / "iterator" / "model")
    state = old["IteratorV2:0-state"]
    assert (str(old.specs["IteratorV2:0-state"]), state.shape) == ("variant[]", ())
    new = tfpersist.ModelStore(tmp_path).rename({"data": "IteratorV2:0-state"}).save({**old})
    assert (str(new.specs["data"]), new["data"].item()) == ("variant[]", state.item())
    change = type(state.item())(state.item().replace(b"Shuffle", b"shuffle"))
    other = {"v": old["v"], "IteratorV2:0-state": np.array(change, object).reshape(())}
    assert old.diff(dict(old)).changed == {}
    assert old.diff(other).changed == {"IteratorV2:0-state": None}
    assert old.diff({**old, "IteratorV2:0-state": np.array(b"text", object)}).mismatched


@pytest.fixture(params=["local", "memory", "remote"])
def location(request, tmp_path):
    if request.param == "memory":
        place = f"memory://checkpoint/{request.node.name}"
        yield place
        open_storage(place).remove(open_storage(place).names())
    elif request.param == "remote":
        yield f"local://{tmp_path}/runs"
    else:
        yield str(tmp_path / "runs")


def test_it_is_a_mapping_of_read_only_arrays(location):
    checkpoint = save(location)
    assert list(checkpoint) == sorted(ARRAYS) == list(checkpoint.specs)
    assert len(checkpoint) == 8
    assert "int" in checkpoint
    assert "nothing" not in checkpoint
    assert 7 not in checkpoint
    for key, array in ARRAYS.items():
        read = checkpoint[key]
        assert read.dtype == np.asarray(array).dtype
        assert read.shape == np.shape(array)
        assert read.tobytes() == np.asarray(array).tobytes() or (read == array).all()
        assert not read.flags.writeable
        assert checkpoint.payload(key).spec == checkpoint.specs[key]
        assert (checkpoint.payload(key).load() == array).all()
    assert checkpoint.specs["tiny"] == TensorSpec("bfloat16", (2,))
    assert checkpoint.get("nothing") is None
    assert checkpoint in [checkpoint]
    assert checkpoint != Checkpoint(location)
    assert checkpoint.prefix == f"{location}/model.ckpt-7"
    assert checkpoint.name == "model.ckpt-7"
    assert checkpoint.meta is None
    assert checkpoint.object_graph is None


def test_facts_beside_the_tensors(location):
    checkpoint = save(location, step=7, metrics={"accuracy": np.float32(0.5), "loss": 2})
    assert checkpoint.step == 7
    assert checkpoint.metrics == {"accuracy": 0.5, "loss": 2.0}
    assert checkpoint.created > 1.7e9
    best = save(location, "best", step=3)
    assert best.step == 3
    open_storage(location).remove(["best.tfpersist.json"])
    bare = Checkpoint(f"{location}/best")
    if location.startswith("local://"):
        # In an object store, the index has the facts.
        assert (bare.step, bare.created) == (3, best.created)
    else:
        assert (bare.step, bare.metrics, bare.created) == (None, {}, None)
    assert bare["int"] == -7


def test_names_that_are_not_there(location):
    checkpoint = save(location)
    for ask in (checkpoint.__getitem__, checkpoint.payload):
        with pytest.raises(NameNotFoundError, match="Did you mean 'deep/er/name'") as caught:
            ask("other/name")
        assert isinstance(caught.value, KeyError)
        assert checkpoint.prefix in str(caught.value)


def test_repr(location):
    assert repr(save(location)) == (f"<Checkpoint '{location}/model.ckpt-7': 8 tensors, 72 bytes>")
    one = save(location, "one", {"a": np.zeros(500_000, np.float32)})
    assert repr(one) == f"<Checkpoint '{location}/one': 1 tensor, 2.0 MB>"


def test_repr_of_a_damaged_one(tmp_path):
    save(tmp_path)
    (tmp_path / "model.ckpt-7.index").write_bytes(b"junk")
    assert "model.ckpt-7.index, byte" in repr(Checkpoint(tmp_path))


def test_arrays_are_views_that_outlive_the_checkpoint(tmp_path):
    checkpoint = save(tmp_path, arrays={"a": np.arange(1000), "b": np.zeros(3)})
    one, two = checkpoint["a"], checkpoint["a"]
    assert np.shares_memory(one, two)
    assert one.ctypes.data % 64 == 0
    save(tmp_path, arrays={"a": np.zeros(1000), "b": np.ones(3)})
    assert (checkpoint["b"] == 0).all()
    shutil.rmtree(tmp_path)
    del checkpoint
    assert (one == np.arange(1000)).all()


def test_partitioned_variables(location):
    whole = np.arange(12, dtype=np.int32).reshape(4, 3)
    items = [
        Item("p", payload_of(whole[at : at + 2]), Slice("p", (4, 3), (at, 0), (2, 3)))
        for at in (0, 2)
    ]
    write_checkpoint(open_storage(location), "m", items)
    checkpoint = Checkpoint(location)
    assert list(checkpoint) == ["p"]
    assert (checkpoint["p"] == whole).all()
    assert checkpoint.verify().ok


def test_a_flipped_bit_is_found_where_it_is(tmp_path):
    save(tmp_path)
    path = tmp_path / "model.ckpt-7.data-00000-of-00001"
    intact = path.read_bytes()
    at = intact.index(ARRAYS["deep/er/name"].tobytes()) + 5
    path.write_bytes(intact[:at] + bytes([intact[at] ^ 1]) + intact[at + 1 :])
    checkpoint = Checkpoint(tmp_path)
    with pytest.raises(CorruptionError, match="deep/er/name") as caught:
        checkpoint["deep/er/name"]
    assert caught.value.file == str(path)
    assert checkpoint["int"] == -7
    report = checkpoint.verify()
    assert not report.ok
    assert not report
    assert [flaw.where for flaw in report.flaws] == ["deep/er/name"]
    assert "DAMAGED, 1 flaw; 7 tensors are intact" in str(report)
    assert "deep/er/name  " in str(report)


def test_verify_reads_every_byte(tmp_path):
    arrays = {"a": np.arange(5, dtype=np.int8), "b": np.arange(3.0), "s": ARRAYS["strings"]}
    assert save(tmp_path, "m", arrays).verify().ok
    for name in ("m.index", "m.data-00000-of-00001"):
        path = tmp_path / name
        intact = path.read_bytes()
        for at in range(len(intact)):
            path.write_bytes(intact[:at] + bytes([intact[at] ^ 0x10]) + intact[at + 1 :])
            assert not Checkpoint(tmp_path / "m").verify().ok, f"{name}, byte {at}"
        for cut in (0, 1, len(intact) // 2, len(intact) - 65, len(intact) - 1):
            path.write_bytes(intact[:cut])
            assert not Checkpoint(tmp_path / "m").verify().ok, f"{name} of {cut} bytes"
        for longer in (b"\0", b"x", b"\0" * 64):
            path.write_bytes(intact + longer)
            assert not Checkpoint(tmp_path / "m").verify().ok, f"{name} and {longer!r}"
        path.write_bytes(intact)
    report = Checkpoint(tmp_path / "m").verify()
    assert report.ok
    assert str(report) == f"{tmp_path}/m: ok; 3 tensors are intact ({report.size} bytes read)"


def test_verify_tells_a_shard_that_vanishes(tmp_path):
    checkpoint = save(tmp_path)
    (tmp_path / "model.ckpt-7.data-00000-of-00001").unlink()
    report = checkpoint.verify()
    assert not report.ok
    assert "data file of the checkpoint is missing" in str(report)


def test_diff(location):
    one = save(
        location, "one", {**ARRAYS, "nan": np.float32([np.nan, np.inf]), "gone": ARRAYS["int"]}
    )
    other = save(
        location,
        "two",
        {
            **ARRAYS,
            "bool": np.array([True, True]),
            "complex": np.complex64([[1 + 5j]]),
            "half": np.float32([1.5]),
            "int": np.int64(3),
            "nan": np.float32([np.nan, np.inf]),
            "new": np.zeros(2),
            "strings": np.array([b"", b"a", b"b"], object),
            "tiny": np.array([1, 4], ml_dtypes.bfloat16),
        },
    )
    difference = one.diff(other)
    assert difference.added == ("new",)
    assert difference.removed == ("gone",)
    assert dict(difference.mismatched) == {
        "half": (TensorSpec("float16", (1,)), TensorSpec("float32", (1,)))
    }
    assert dict(difference.changed) == {
        "bool": None, "complex": 3.0, "int": 10.0, "strings": None, "tiny": 2.0
    }  # fmt: skip
    assert difference.same == 3
    text = str(difference)
    assert text.startswith("3 tensors are equal, 1 added, 1 removed, 1 of another type or shape, 5")
    for line in (
        "  + new",
        "  - gone",
        "  ≠ half  float16[1] → float32[1]",
        "  ~ int  by up to 10",
    ):
        assert line in text.splitlines()
    assert not one.diff(one)
    assert str(one.diff(one)) == "10 tensors are equal"
    assert np.isnan(one.diff({**one, "nan": np.zeros(2, np.float32)}).changed["nan"])


def test_replaced_while_it_is_read(tmp_path):
    """Each opening sees one of the checkpoints that were saved under the name, never a mixture."""
    storage = open_storage(tmp_path)
    problems = []

    def replace():
        for value in range(40):
            shape = (1 + value % 7, 50)
            items = [Item(key, payload_of(np.full(shape, float(value)))) for key in "abc"]
            write_checkpoint(storage, "m", items, durable=False)

    save(tmp_path, "m", {key: np.zeros((1, 50)) for key in "abc"})
    writer = threading.Thread(target=replace)
    writer.start()
    seen = set()
    while writer.is_alive():
        try:
            checkpoint = Checkpoint(tmp_path / "m")
            values = {float(value) for key in "abc" for value in checkpoint[key].flat}
        except TFPersistError as error:
            problems.append(error)
            break
        assert len(values) == 1
        seen |= values
    writer.join()
    assert not problems
    assert Checkpoint(tmp_path / "m")["a"].flat[0] == 39


@pytest.mark.parametrize(
    ("checkpoint", "values"),
    [
        ("model_v1.ckpt-5", "golden.npz"),
        ("model_v2.ckpt-5", "golden.npz"),
        ("model_v2_sharded.ckpt-5", "golden.npz"),
        ("plain_v1.ckpt", "plain_golden.npz"),
        ("plain_v2.ckpt", "plain_golden.npz"),
        ("bntrain_v1.ckpt", "bntrain_golden.npz"),
        ("bntrain_v2.ckpt", "bntrain_golden.npz"),
        ("shard2_v1.ckpt", "shard2_golden.npz"),
        ("shard2_v2.ckpt", "shard2_golden.npz"),
    ],
)
def test_values_of_old_releases(tensorflow_1, golden_values, checkpoint, values):
    read = Checkpoint(tensorflow_1 / checkpoint)
    expected = golden_values(tensorflow_1 / values)
    assert set(expected) == set(read) - ({"misc/str"} - set(expected))
    assert len(expected) >= 5
    for key, array in expected.items():
        assert read[key].dtype == array.dtype
        assert read[key].shape == array.shape
        assert read[key].tolist() == array.tolist(), key
    assert read.verify().ok
    assert (read.meta is not None) == (tensorflow_1 / f"{checkpoint}.meta").exists()
    assert read.meta is None or len(read.meta.graph_def.node) > 20


def test_every_v2_checkpoint_of_old_releases_is_sound(old_files):
    indexes = sorted(old_files.rglob("*.index"))
    assert len(indexes) > 30
    for index in indexes:
        checkpoint = Checkpoint(index)
        report = checkpoint.verify()
        assert report.ok, str(report)
        assert not report.unchecked
        assert report.tensors == len(checkpoint) > 0
        assert not checkpoint.diff(checkpoint)
        has_graph = "_CHECKPOINTABLE_OBJECT_GRAPH" in checkpoint
        assert (checkpoint.object_graph is not None) == has_graph
        assert not has_graph or len(checkpoint.object_graph.nodes) > 1


def test_reading_leaves_tensorflow_alone(fresh, golden, tmp_path):
    printed = fresh(
        """
        import sys
        import tfpersist.checkpoint.checkpoint as module
        one = module.Checkpoint(sys.argv[1])
        other = module.Checkpoint(sys.argv[2])
        assert all(one[key] is not None for key in one)
        assert one.verify().ok and not one.diff(one) and one.diff(other)
        assert one.meta is not None and one.object_graph is None and repr(one)
        assert other.object_graph is not None
        print({"tensorflow", "keras", "rich"} & sys.modules.keys())
        """,
        golden / "1.15.5" / "model_v2.ckpt-5",
        golden / "2.4.4" / "mgr",
    )
    assert printed == "set()\n"


def test_a_shard_in_place_of_the_whole(tmp_path):
    """An index that speaks of more shards than there are names the first that is missing."""
    save(tmp_path, "m")
    data = tmp_path / "m.data-00000-of-00001"
    pathlib.Path(tmp_path, "n.data-00000-of-00001").write_bytes(data.read_bytes())
    os.rename(tmp_path / "m.index", tmp_path / "n.index")
    assert Checkpoint(tmp_path / "n")["int"] == -7
    os.rename(tmp_path / "n.data-00000-of-00001", tmp_path / "n.data-00000-of-00002")
    with pytest.raises(CorruptionError) as caught:
        Checkpoint(tmp_path / "n")
    assert caught.value.file.endswith("n.data-00001-of-00002")
    data.rename(tmp_path / "n.data-00001-of-00002")
    with pytest.raises(CorruptionError) as caught:
        Checkpoint(tmp_path / "n")["int"]
    assert caught.value.file.endswith("n.data-00000-of-00001")


def test_diff_with_what_names_the_other(location):
    one = save(location, "model.ckpt-7")
    save(location, "model.ckpt-8", {**ARRAYS, "more": np.zeros(2)})
    path = f"{one.storage.location}/model.ckpt-8"
    assert one.diff(path).added == ("more",)
    assert one.diff(Checkpoint(path)).added == ("more",)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))]
)
def test_copies_of_one_that_was_read(tmp_path, copied):
    one = save(tmp_path, metrics={"loss": 0.5})
    values = dict(one)
    assert one.metrics == {"loss": 0.5}
    assert one.object_graph is None
    other = copied(one)
    assert (other.prefix, other.metrics) == (one.prefix, {"loss": 0.5})
    assert other.keys() == values.keys()
    with tfpersist.ModelStore(tmp_path / "pending").background() as store:
        pending = store.save({"v": np.ones(2)}, step=1)
        assert copied(pending)["v"].tolist() == [1, 1]
