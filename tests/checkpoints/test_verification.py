import numpy as np
import pytest

from tfpersist.checkpoint import Checkpoint
from tfpersist.checkpoints import listing
from tfpersist.checkpoints.verification import Flaw, Verification, refuse_resized
from tfpersist.checkpoints.writer import write_checkpoint
from tfpersist.errors import CorruptionError
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


def test_a_sound_one(prefix):
    report = Checkpoint(prefix).verify()
    assert report
    assert report.tensors == 30
    assert report.size == sum(prefix.with_name(name).stat().st_size for name in (
        "m.index", "m.data-00000-of-00001"
    ))  # fmt: skip
    assert str(report).startswith(f"{prefix}: ok; 30 tensors are sound (")


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
    assert "m: DAMAGED, 25 flaws; 5 tensors are sound (" in lines[0]
    assert lines[1].startswith("  v0   ")
    assert lines[-1] == "  … and 5 more"


def test_a_v1_checkpoint(corpus, tmp_path):
    sound = (corpus / "made-by-tf" / "1.15.5" / "plain_v1.ckpt").read_bytes()
    path = tmp_path / "v1"
    path.write_bytes(sound)
    assert Checkpoint(path).verify().ok
    for at in range(0, len(sound) - 8, 37):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 4]) + sound[at + 1 :])
        assert not Checkpoint(path).verify().ok, at


def test_what_cannot_be_checked_is_said():
    report = Verification("m", 1, 8, (), ("iterator",))
    assert report.ok
    assert str(report).splitlines()[1] == "  not checked: iterator"
    assert str(Verification("m", 0, 0, (Flaw("f", "cut"),))).splitlines()[1] == "  f  cut"


def test_a_meta_graph_that_was_changed_or_is_none(tmp_path):
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
    files = listing.v2_files(path.name for path in prefix.parent.iterdir())["m"]
    storage = open_storage(prefix.parent)
    refuse_resized(storage, files)
    data = prefix.with_name("m.data-00000-of-00001")
    size = data.stat().st_size
    data.write_bytes(data.read_bytes() + b"x")
    with pytest.raises(CorruptionError, match=f"of {size + 1} bytes, and was of {size}"):
        refuse_resized(storage, files)
    prefix.with_name("m.tfpersist.json").unlink()
    refuse_resized(storage, listing.v2_files(path.name for path in prefix.parent.iterdir())["m"])
