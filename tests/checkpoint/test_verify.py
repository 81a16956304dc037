import shutil

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.checkpoint import sidecar, writer
from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.files import Listing
from tfpersist.checkpoint.locate import Located
from tfpersist.checkpoint.verify import Flaw, Verification, refuse_misfits, verify
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import CheckpointNotFoundError, CorruptionError, StorageError
from tfpersist.formats import schema
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.storage import open_storage


@pytest.fixture
def prefix(tmp_path):
    items = [Item(f"v{number}", payload_of(np.full(5, number, np.int8))) for number in range(30)]
    write_checkpoint(open_storage(tmp_path), "m", items)
    return tmp_path / "m"


def change(prefix, at, value):
    path = prefix.with_name("m.data-00000-of-00001")
    data = bytearray(path.read_bytes())
    data[at] = value
    path.write_bytes(data)


def test_an_intact_checkpoint(prefix):
    report = Checkpoint(prefix).verify()
    assert report
    assert report.tensors == 30
    assert report.size == sum(prefix.with_name(name).stat().st_size for name in (
        "m.index", "m.data-00000-of-00001"
    ))  # fmt: skip
    assert str(report).startswith(f"{prefix}: ok; 30 tensors are intact (")


def test_bytes_between_tensors(prefix):
    change(prefix, 64 + 7, 1)
    report = Checkpoint(prefix).verify()
    assert report.tensors == 30
    assert [flaw.problem for flaw in report.flaws] == ["the 59 bytes at 69 belong to no tensor"]


def test_every_damaged_tensor_is_listed_and_long_lists_are_cut(prefix):
    for number in range(25):
        change(prefix, 64 * number, 99)
    report = Checkpoint(prefix).verify()
    assert len(report.flaws) == 25
    assert report.tensors == 5
    lines = str(report).splitlines()
    assert "m: DAMAGED, 25 flaws; 5 tensors are intact (" in lines[0]
    assert lines[1].startswith("  v0   ")
    assert lines[-1] == "  … and 5 more"


def test_a_v1_checkpoint(golden, tmp_path):
    intact = (golden / "1.15.5" / "plain_v1.ckpt").read_bytes()
    path = tmp_path / "v1"
    path.write_bytes(intact)
    assert Checkpoint(path).verify().ok
    for at in range(0, len(intact) - 8, 37):
        path.write_bytes(intact[:at] + bytes([intact[at] ^ 4]) + intact[at + 1 :])
        assert not Checkpoint(path).verify().ok, at


def test_every_damage_of_a_position_in_a_data_set(golden, tmp_path):
    shutil.copytree(golden / "1.15.5" / "iterator", tmp_path, dirs_exist_ok=True)
    path = tmp_path / "model.data-00000-of-00001"
    intact = path.read_bytes()
    result = Checkpoint(tmp_path / "model").verify()
    assert (result.ok, result.tensors, result.unchecked) == (True, 2, ())
    for at in range(0, len(intact), 7):
        path.write_bytes(intact[:at] + bytes([intact[at] ^ 4]) + intact[at + 1 :])
        flaws = Checkpoint(tmp_path / "model").verify().flaws
        assert [flaw.where for flaw in flaws] == ["IteratorV2:0-state" if at < 1058 else "v"]


def test_tensors_that_cannot_be_checked_are_listed():
    report = Verification("m", 1, 8, (), ("iterator",))
    assert report.ok
    assert str(report).splitlines()[1] == "  not checked: iterator"
    assert str(Verification("m", 0, 0, (Flaw("f", "cut"),))).splitlines()[1] == "  f  cut"


def test_a_meta_graph_that_was_changed_or_is_invalid(tmp_path):
    storage = open_storage(tmp_path)
    meta = schema.MetaGraphDef(saver_def={"filename_tensor_name": "x"}).SerializeToString()
    write_checkpoint(storage, "m", [Item("v", payload_of(np.zeros(2)))], meta=meta)
    checkpoint = Checkpoint(tmp_path / "m")
    assert checkpoint.verify().ok
    path = tmp_path / "m.meta"
    path.write_bytes(meta.replace(b"x", b"y"))
    assert "not the one that was saved" in checkpoint.verify().flaws[0].problem
    with pytest.raises(CorruptionError, match=r"m\.meta.*not the one that was saved"):
        Checkpoint(tmp_path / "m").meta  # noqa: B018
    (tmp_path / "m.tfpersist.json").unlink()
    assert Checkpoint(tmp_path / "m").verify().ok
    path.write_bytes(b"\xff")
    assert "MetaGraphDef" in Checkpoint(tmp_path / "m").verify().flaws[0].problem


def test_data_files_of_another_size(prefix):
    files = Listing(frozenset(path.name for path in prefix.parent.iterdir())).v2_files("m")
    storage = open_storage(prefix.parent)
    refuse_misfits(storage, files)
    data = prefix.with_name("m.data-00000-of-00001")
    size = data.stat().st_size
    data.write_bytes(data.read_bytes() + b"x")
    with pytest.raises(CorruptionError, match=f"expected {size} bytes, as saved, got {size + 1}"):
        refuse_misfits(storage, files)
    prefix.with_name("m.tfpersist.json").unlink()
    refuse_misfits(
        storage, Listing(frozenset(path.name for path in prefix.parent.iterdir())).v2_files("m")
    )


def test_every_flipped_bit_of_index_and_sidecar(tmp_path):
    store = tfp.ModelStore(tmp_path, durable=False)
    facts = store.save({"v": np.ones(4)}, 1, {"accuracy": 0.5})._sidecar
    for suffix in (".index", ".tfpersist.json"):
        path = tmp_path / f"model.ckpt-1{suffix}"
        intact = path.read_bytes()
        for bit in range(8 * len(intact)):
            spoilt = bytearray(intact)
            spoilt[bit // 8] ^= 1 << bit % 8
            path.write_bytes(spoilt)
            # The last digits of a time may make no difference to the number.
            same = suffix != ".index" and sidecar.decode(bytes(spoilt)) == facts
            report = Checkpoint(tmp_path / "model.ckpt-1").verify()
            assert report.ok == same, bit
            if suffix != ".index":
                assert report.restorable
                assert Checkpoint(tmp_path / "model.ckpt-1")["v"].all()
        path.write_bytes(intact)
    (tmp_path / "model.ckpt-1.tfpersist.json").unlink()
    assert store.verify().ok


def test_a_save_by_another_program_is_a_note_and_not_a_flaw(tmp_path):
    import tensorflow as tf

    store = tfp.ModelStore(tmp_path)
    for step in (1, 2):
        store.save({"v": np.full(4, step, np.float32)}, step, {"accuracy": 0.5})
    tf.raw_ops.SaveV2(
        prefix=f"{tmp_path}/model.ckpt-2",
        tensor_names=["v"],
        shape_and_slices=[""],
        tensors=[tf.fill([4], 9.0)],
    )
    report = store.at(2).latest().verify()
    assert report.ok
    assert "another program, such as TensorFlow, has saved under this name" in str(report)
    v = np.zeros(4, np.float32)
    restored = store.restore({"v": v})
    assert not restored.skipped
    for text in (str(restored), restored._repr_html_()):
        assert "another program, such as TensorFlow, has saved under this name" in text
    assert "note" not in str(store.at(1).restore({"v": np.zeros(4, np.float32)}))
    assert v[0] == 9
    assert store.prune(keep=tfp.Keep(best="accuracy"), dry_run=True).kept == (
        "model.ckpt-1",
        "model.ckpt-2",
    )


class SavedMeanwhile:
    """A directory in which a checkpoint is saved again while it is read."""

    def __init__(self, storage, act):
        self.storage, self.act = storage, act

    def __getattr__(self, name):
        return getattr(self.storage, name)

    def size(self, name):
        if self.act is not None and ".data" in name:
            act, self.act = self.act, None
            act()
        return self.storage.size(name)


def test_a_checkpoint_saved_again_while_it_is_read(prefix):
    """The facts of one save do not fit the files of the other, which is nobody's damage."""
    storage = open_storage(prefix.parent)
    longer = [Item("v", payload_of(np.ones(9_999)))]
    restless = SavedMeanwhile(storage, lambda: write_checkpoint(storage, "m", longer))
    report = Checkpoint("m", storage=restless).verify()
    assert restless.act is None
    assert report.ok, str(report)
    assert report.tensors == 1


def test_one_that_is_gone(prefix):
    checkpoint, opened = Checkpoint(prefix), Checkpoint(prefix)
    values = dict(opened)
    storage = open_storage(prefix.parent)
    storage.remove(storage.names())
    for act in (checkpoint.verify, lambda: checkpoint.specs, checkpoint.pin):
        with pytest.raises(CheckpointNotFoundError, match="this checkpoint is gone"):
            act()
    assert all((opened[key] == value).all() for key, value in values.items())


def test_a_checkpoint_saved_again_without_its_graph_is_intact(tmp_path):
    storage = open_storage(tmp_path)
    items = [Item("v", payload_of(np.ones(3)))]
    meta = schema.MetaGraphDef().SerializeToString()
    write_checkpoint(storage, "m", items, meta=meta)
    files = Listing(storage.names()).v2_files("m")

    def save_and_damage():
        write_checkpoint(storage, "m", [*items, Item("w", payload_of(np.ones(3)))])

    (tmp_path / "m.meta").write_bytes(b"damaged")
    restless = SavedMeanwhile(storage, save_and_damage)
    report = verify(Located(restless, files))
    assert report.ok, str(report)
    assert report.tensors == 2


def test_one_that_is_damaged_while_it_is_read_is_read_once_more_and_no_more(tmp_path):
    storage = open_storage(tmp_path)
    write_checkpoint(storage, "m", [Item("v", payload_of(np.ones(3)))])
    data, opened = tmp_path / "m.data-00000-of-00001", []

    class Counting(SavedMeanwhile):
        def read(self, name):
            opened.extend([name] if name == data.name else [])
            assert len(opened) < 20, "read without end"
            return self.storage.read(name)

    def save_and_damage():
        write_checkpoint(storage, "m", [Item("v", payload_of(np.zeros(3)))])
        data.write_bytes(b"x" * data.stat().st_size)

    damaged = bytearray(data.read_bytes())
    damaged[0] ^= 1
    data.write_bytes(damaged)
    report = Checkpoint("m", storage=Counting(storage, save_and_damage)).verify()
    assert not report.ok
    assert len(opened) == 2


def test_an_unreadable_file_is_an_error_and_not_a_flaw(prefix):
    class Failing(SavedMeanwhile):
        def stamps(self, names):
            raise StorageError("cannot look at this")

    with pytest.raises(StorageError, match="cannot look at this"):
        Checkpoint("m", storage=Failing(open_storage(prefix.parent), None)).verify()


def test_verification_releases_the_memory_of_tensors(prefix):
    released = []

    class Forgetting(SavedMeanwhile):
        def forget(self, data):
            released.append(len(data))

    assert Checkpoint("m", storage=Forgetting(open_storage(prefix.parent), None)).verify().ok
    assert released == [5] * 30


def test_all_tensors_are_intact_only_if_no_flaw_concerns_one():
    beside = Flaw("m.tfpersist.json", "it is damaged", tensors_intact=True)
    flaws = [(), (beside,), (beside, Flaw("v", "damaged")), (Flaw("v", "damaged"),)]
    reports = [Verification("m", 1, 8, each) for each in flaws]
    assert [report.restorable for report in reports] == [True, True, False, False]
    assert [report.ok for report in reports] == [True, False, False, False]


def test_files_of_two_that_have_no_steps_were_mixed_up(tmp_path):
    storage = open_storage(tmp_path)
    for number, prefix in enumerate("ab"):
        write_checkpoint(storage, prefix, [Item("v", payload_of(np.full(3, number)))])
    for suffix in (".index", ".data-00000-of-00001"):
        (tmp_path / f"a{suffix}").write_bytes((tmp_path / f"b{suffix}").read_bytes())
    report = Checkpoint(tmp_path / "a").verify()
    assert "it was saved as b; files of the two" in report.flaws[0].problem
    assert not report.restorable


@pytest.mark.parametrize(
    ("name", "step", "renamed"), [("m-7", 8, True), ("m-7", 7, False), ("m-7", None, False)]
)
def test_a_step_that_differs_from_the_name_is_noted_if_both_are_known(
    tmp_path, name, step, renamed
):
    storage = open_storage(tmp_path)
    write_checkpoint(storage, name, [Item("v", payload_of(np.ones(3)))], step=step)
    write_checkpoint(storage, "best", [Item("v", payload_of(np.zeros(3)))], step=step)
    report = Checkpoint(tmp_path / name).verify()
    assert report.notes == (("it was saved at step 8 and renamed later",) if renamed else ())
    assert Checkpoint(tmp_path / "best").verify().notes == ()


def test_a_size_that_cannot_be_found_out_is_an_error_and_no_misfit(prefix):
    class Failing(SavedMeanwhile):
        def size(self, name):
            raise StorageError("cannot look at this")

    storage = open_storage(prefix.parent)
    files = Listing(storage.names()).v2_files("m")
    with pytest.raises(StorageError, match="cannot look at this"):
        refuse_misfits(Failing(storage, None), files)
    prefix.with_name("m.data-00000-of-00001").unlink()
    with pytest.raises(CorruptionError, match="No such file"):
        refuse_misfits(storage, files)


def test_bytes_between_tensors_are_found_in_each_data_file_that_a_save_wrote(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_SHARD_SIZE", 1000)
    storage = open_storage(tmp_path)
    for step in (1, 2):
        changing = {f"b{number}": np.full(37, step + number, np.int64) for number in range(20)}
        values = {"a": np.arange(9_000), **changing}
        items = [Item(key, payload_of(value)) for key, value in values.items()]
        write_checkpoint(storage, f"m-{step}", items, incremental=True)
    checkpoint = Checkpoint(tmp_path / "m-2")
    shared = checkpoint.increment.shared
    assert shared == 9_000 * 8
    own = [path for path in sorted(tmp_path.glob("m-2.data-*")) if path.stat().st_nlink == 1]
    assert len(own) > 1
    for path in own:
        intact = path.read_bytes()
        path.write_bytes(intact[:297] + b"x" + intact[298:])
        flaws = Checkpoint(tmp_path / "m-2").verify().flaws
        assert any("belong to no tensor" in flaw.problem for flaw in flaws), path
        path.write_bytes(intact)
    assert Checkpoint(tmp_path / "m-2").verify().ok


@pytest.mark.parametrize(
    ("sizes", "excess", "is_padding"),
    [
        ((64, 64, 10), 54, True),
        ((64, 64, 10), 6, True),
        ((64, 64, 10), 7, False),
        ((64, 64, 10), 54 + 64, False),
        ((64, 64, 64), 64, False),
        ((64, 64, 64), 63, False),
    ],
)
def test_zeros_at_the_end_are_padding_up_to_the_alignment(tmp_path, sizes, excess, is_padding):
    items = [Item(f"v{n}", payload_of(np.ones(size, np.int8))) for n, size in enumerate(sizes)]
    write_checkpoint(open_storage(tmp_path), "m", items, alignment=64)
    (tmp_path / "m.tfpersist.json").unlink()
    data = tmp_path / "m.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[: sum(sizes)] + b"\0" * excess)
    problems = [flaw.problem for flaw in Checkpoint(tmp_path / "m").verify().flaws]
    expected = f"the {excess} bytes at its end are neither tensors nor padding"
    assert problems == ([] if is_padding else [expected])


def test_an_intact_index_of_any_length_has_a_clean_footer(tmp_path):
    """The footer says where blocks begin, in groups of 7 bits; some of these are all zeros."""
    storage = open_storage(tmp_path)
    for length in range(1, 130):
        items = [Item("v" * length, payload_of(np.int8([1])))]
        write_checkpoint(storage, "m", items, state=False, durable=False)
        assert Checkpoint("m", storage=storage).verify().ok, length
