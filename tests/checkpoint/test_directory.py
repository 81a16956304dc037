import json
import os
import time

import attrs
import numpy as np
import pytest

from tfpersist.checkpoint import sidecar
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.state_file import Record
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.storage import open_storage


def save(storage, prefix, **options):
    write_checkpoint(storage, prefix, [Item("v", payload_of(np.zeros(1)))], **options)


@pytest.fixture
def storage(tmp_path):
    """Five checkpoints, saved in another order than that of their steps."""
    storage = open_storage(tmp_path)
    for step in (3, 1, 20, 4, 5):
        save(storage, f"m-{step}")
    return storage


def complete(storage):
    return list(Directory.look(storage).complete)


def forget(tmp_path):
    for path in tmp_path.glob("*.tfpersist.json"):
        path.unlink()


def test_nothing():
    assert complete(open_storage("memory://listing/none")) == []


def test_a_state_file_that_could_not_be_read_is_corrected_all_the_same(storage):
    look = attrs.evolve(Directory.look(storage), record=Record(None))
    look.correct(gone=["m-5"])
    assert list(Directory.look(storage).record.dates) == ["m-3", "m-1", "m-20", "m-4"]


def test_a_state_file_that_nobody_wrote_is_not_written(tmp_path):
    storage = open_storage(tmp_path)
    save(storage, "m-1")
    (tmp_path / "checkpoint").unlink()
    Directory.look(storage).correct(gone=["m-1"])
    assert not (tmp_path / "checkpoint").exists()


def test_by_sidecar(storage, tmp_path):
    (tmp_path / "checkpoint").unlink()
    for path in tmp_path.iterdir():
        os.utime(path, (1e9, 1e9))
    assert complete(storage) == ["m-3", "m-1", "m-20", "m-4", "m-5"]


def test_by_the_timestamps_of_the_state_file(storage, tmp_path):
    forget(tmp_path)
    for path in tmp_path.glob("m-3.*"):
        os.utime(path)
    assert complete(storage) == ["m-3", "m-1", "m-20", "m-4", "m-5"]


def test_by_the_order_of_the_state_file(storage, tmp_path):
    forget(tmp_path)
    names = ["m-20", "m-1", "m-5", "m-gone", "m-4"]
    lines = [f'all_model_checkpoint_paths: "/gone/{name}"\n' for name in names]
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "m-1"\n' + "".join(lines))
    for age, path in enumerate(sorted(tmp_path.glob("*.index"))):
        os.utime(path, (1e9 + age, 1e9 + age))
    for path in tmp_path.glob("m-3.*"):
        os.utime(path, (2e9, 2e9))
    assert complete(storage) == ["m-20", "m-5", "m-4", "m-1", "m-3"]


def test_by_age_then_step(storage, tmp_path):
    forget(tmp_path)
    (tmp_path / "checkpoint").write_bytes(b"\xff no state file")
    for path in tmp_path.iterdir():
        os.utime(path, (1e9, 1e9))
    assert complete(storage) == ["m-1", "m-3", "m-4", "m-5", "m-20"]
    os.utime(tmp_path / "m-1.index", (1e9 + 1, 1e9 + 1))
    assert complete(storage) == ["m-3", "m-4", "m-5", "m-20", "m-1"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"created": "soon"}', '{"created": NaN}', "[" * 9999]
)
def test_a_sidecar_that_is_none(storage, tmp_path, content):
    (tmp_path / "m-1.tfpersist.json").write_text(content)
    assert sorted(complete(storage)) == ["m-1", "m-20", "m-3", "m-4", "m-5"]
    look = Directory.look(storage)
    assert look.facts("m-1") is None
    assert look.facts("m-3").created > 1.7e9


def test_a_sidecar_of_what_another_program_has_replaced(storage, tmp_path):
    save(open_storage(tmp_path / "other"), "m-1", metrics={"loss": 1.0})
    write_checkpoint(
        open_storage(tmp_path / "other"), "m-1", [Item("w", payload_of(np.zeros(2)))], state=False
    )
    for name in ("m-1.index", "m-1.data-00000-of-00001"):
        (tmp_path / "other" / name).replace(tmp_path / name)
    assert Directory.look(storage).facts("m-1") is None
    (tmp_path / "checkpoint").unlink()
    os.utime(tmp_path / "m-1.index", (3e9, 3e9))
    assert complete(storage)[-1] == "m-1"


def test_the_clock_may_go_back(storage, tmp_path):
    path = tmp_path / "m-4.tfpersist.json"
    ahead = attrs.evolve(sidecar.decode(path.read_bytes()), created=4e9, order=4e9)
    path.write_bytes(ahead.encode())
    (tmp_path / "checkpoint").unlink()
    before = time.time()
    save(storage, "m-6")
    save(storage, "m-7")
    assert complete(storage)[-3:] == ["m-4", "m-6", "m-7"]
    created = Directory.look(storage).created
    assert created("m-4") == 4e9
    assert before <= created("m-6") <= created("m-7") <= time.time()


def test_sidecars_from_before_there_was_an_order(storage, tmp_path):
    path = tmp_path / "m-4.tfpersist.json"
    facts = json.loads(attrs.evolve(sidecar.decode(path.read_bytes()), created=4e9).encode())
    del facts["order"], facts["crc32c"]
    path.write_text(json.dumps(facts))
    (tmp_path / "checkpoint").unlink()
    save(storage, "m-6")
    assert complete(storage)[-2:] == ["m-4", "m-6"]


def test_what_is_cut_is_not_listed(storage, tmp_path):
    (tmp_path / "m-1.data-00000-of-00001").unlink()
    (tmp_path / "m-3.index").unlink()
    (tmp_path / "t.index").write_text("")
    (tmp_path / "tf.records-00000-of-00001").write_text("these are no tensors")
    assert complete(storage) == ["m-20", "m-4", "m-5"]


def test_files_of_a_checkpoint(storage):
    files = Directory.look(storage).files("m-20")
    assert files.all == ("m-20.index", "m-20.data-00000-of-00001", "m-20.tfpersist.json")
    assert files.step == 20
    assert files.spelling == "m-20"
    storage.remove(files.all)
    assert complete(storage) == ["m-3", "m-1", "m-4", "m-5"]
