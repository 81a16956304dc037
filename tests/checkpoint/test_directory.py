import json
import os
import pickle
import threading
import time

import attrs
import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.checkpoint import sidecar, state_file
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.files import Listing
from tfpersist.checkpoint.state_file import Record
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import StorageError
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
    """Return the complete checkpoints, as this process knows them and as another would see them."""
    another = Directory(storage, Listing(storage.names()), state_file.read(storage))
    assert Directory.look(storage).complete == another.complete
    return list(another.complete)


def forget(tmp_path):
    for path in tmp_path.glob("*.tfpersist.json"):
        path.unlink()


def test_an_empty_directory():
    assert complete(open_storage("memory://listing/none")) == []


def test_an_unreadable_state_file_is_corrected(storage):
    look = attrs.evolve(Directory.look(storage), record=Record(None))
    look.correct(unnamed=["m-5"])
    assert list(Directory.look(storage).record.dates) == ["m-3", "m-1", "m-20", "m-4"]


def test_a_missing_state_file_is_not_created(tmp_path):
    storage = open_storage(tmp_path)
    save(storage, "m-1")
    (tmp_path / "checkpoint").unlink()
    Directory.look(storage).correct(unnamed=["m-1"])
    assert not (tmp_path / "checkpoint").exists()


def test_order_by_sidecar(storage, tmp_path):
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
def test_an_invalid_sidecar(storage, tmp_path, content):
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


def test_incomplete_checkpoints_are_not_listed(storage, tmp_path):
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


COUNTING = """
import collections, os, sys
import numpy as np
import tfpersist as tfp

path = os.path.abspath("run")
listings, opened = 0, collections.Counter()


def count(event, arguments):
    global listings
    if event in ("os.listdir", "os.scandir") and str(arguments[0]) == path:
        listings += 1
    if event == "open" and str(arguments[0]).startswith(path + "/"):
        opened[str(arguments[0])[len(path) + 1 :]] += 1


sys.addaudithook(count)


def counted(work, own=""):
    '''Return how often the directory was listed, and which files of others were opened.'''
    global listings
    listings = 0
    opened.clear()
    work()
    others = {n for n in opened if "ckpt" in n and not n.startswith(own or "none")}
    return listings, sorted(others)


for step in range(50):
    tfp.ModelStore(path).save({"v": np.ones(3)}, step, {"loss": step})
store = tfp.ModelStore(path)
v = np.zeros(3)
print(counted(lambda: store.save({"v": v}, 50), "model.ckpt-50."))
print(counted(lambda: store.restore({"v": v}), "model.ckpt-50."))
print(counted(lambda: store.checkpoints()))
os.utime(path)  # As if others had been here: what is known of the names is not used.
print(counted(lambda: store.save({"v": v}, 51), "model.ckpt-51."))
open(os.path.join(path, "theirs"), "w").close()
print(counted(lambda: store.restore({"v": v}), "model.ckpt-51."))
keeping = tfp.ModelStore(path, keep=tfp.Keep(last=60))
print(counted(lambda: keeping.save({"v": v}, 52), "model.ckpt-52."))
best = tfp.ModelStore(path, keep=tfp.Keep(best=("loss", "min"), last=60))
print(len(counted(lambda: best.save({"v": v}, 53), "model.ckpt-53.")[1]))
print(counted(lambda: best.save({"v": v}, 54), "model.ckpt-54.")[1])
"""


def test_a_verb_lists_once_at_most_and_opens_no_file_of_another_checkpoint(fresh):
    lines = fresh(COUNTING).splitlines()
    assert lines[:6] == ["(0, [])", "(0, [])", "(0, [])", "(1, [])", "(1, [])", "(1, [])"]
    # A rule that asks for metrics reads each sidecar once, with the index that it belongs to.
    assert int(lines[6]) >= 50
    assert lines[7] == "[]" or lines[7].count("model.ckpt") <= 4


def test_the_directory_is_listed_again_after_any_change(tmp_path, storage):
    save(storage, "m-6")
    assert Directory.look(storage).complete[-1] == "m-6"
    for path in tmp_path.glob("m-6.*"):
        path.rename(path.with_name(path.name.replace("m-6", "m-7")))
    assert Directory.look(storage).complete[-1] == "m-7"
    (tmp_path / "m-7.index").unlink()
    assert Directory.look(storage).complete[-1] == "m-5"
    # A state file that is written in place does not change the names.
    save(storage, "m-8")
    content = (tmp_path / "checkpoint").read_text()
    (tmp_path / "checkpoint").write_text(content.replace('path: "m-8"', 'path: "m-3"'))
    assert not Directory.look(storage).record.is_ordered


def test_a_look_uses_the_storage_that_it_was_made_with(tmp_path, storage):
    save(storage, "m-6")
    other = open_storage(tmp_path)
    assert Directory.look(other).storage is other
    assert Directory.look(storage).storage is storage


def test_two_that_save_at_once_are_both_named(tmp_path, storage):
    """Each writes the state file for what it saw; who finds another's looks again."""
    first, second = Directory.look(storage), Directory.look(open_storage(tmp_path))
    payload = payload_of(np.zeros(1))
    from tfpersist.checkpoint.writer import note_latest, publish_checkpoint

    first = publish_checkpoint(first, "m-6", [Item("v", payload)])
    second = publish_checkpoint(second, "m-7", [Item("v", payload)])
    note_latest(first, "m-6")
    note_latest(second, "m-7")
    record = Directory.look(storage).record
    assert {"m-6", "m-7"} < set(record.dates)
    assert record.says.latest == "m-7"


class Contended:
    """A storage where another thread saves a checkpoint before each publication if it can."""

    def __init__(self, tmp_path):
        self.path, self.storage, self.others = tmp_path, open_storage(tmp_path), []

    def __getattr__(self, name):
        return getattr(self.storage, name)

    def publish(self, **options):
        number = len(self.others)
        other = threading.Thread(target=lambda: self.save(f"other-{number}"))
        self.others.append(other)
        other.start()
        other.join(0.2)
        return self.storage.publish(**options)

    def save(self, name):
        save(open_storage(self.path), name)


def test_a_save_ends_beside_others_that_are_always_faster(tmp_path, storage):
    contended = Contended(tmp_path)
    noted = Directory.look(contended).note()
    for other in contended.others:
        other.join()
    assert {"m-3", "m-5", "other-0"} <= set(noted.record.dates)
    names = {"m-3", "m-1", "m-20", "m-4", "m-5"} | {
        f"other-{n}" for n in range(len(contended.others))
    }
    assert set(Directory.look(storage).record.dates) == names


def test_a_state_file_replaced_right_after_a_save_is_noticed(tmp_path, storage):
    from tfpersist.checkpoint.writer import note_latest, publish_checkpoint

    items = [Item("v", payload_of(np.zeros(1)))]
    others = []

    class Between(type(storage)):
        def mark(self, name):
            if not others and b'"m-6"' in (tmp_path / "checkpoint").read_bytes():
                others.append(write_checkpoint(open_storage(tmp_path), "m-7", items))
            return super().mark(name)

    look = Directory.look(Between(storage.directory), to_write=True)
    look = note_latest(publish_checkpoint(look, "m-6", items), "m-6")
    assert others
    note_latest(publish_checkpoint(look, "m-8", items), "m-8")
    assert {"m-6", "m-7", "m-8"} < set(Directory.look(storage).record.dates)


def test_the_state_file_is_not_read_again_while_it_has_its_mark(tmp_path, storage):
    reads = []

    class Counting(type(storage)):
        def read(self, name):
            reads.append(name)
            return super().read(name)

    counting = Counting(storage.directory)
    items = [Item("v", payload_of(np.zeros(1)))]
    write_checkpoint(counting, "m-6", items)
    reads.clear()
    assert Directory.look(counting).complete[-1] == "m-6"
    assert "checkpoint" not in reads
    path = tmp_path / "checkpoint"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'path: "m-6"', b'path: "m-3"'))
    assert Directory.look(counting).record.says.latest == "m-3"
    assert "checkpoint" in reads


def test_the_reused_look_equals_a_new_look_after_each_step(tmp_path):
    """The names, their groups, the ages and the record, after saves, prunes and quarantines."""
    storage = open_storage(tmp_path)
    store = tfp.ModelStore(tmp_path, keep=tfp.Keep(last=3), durable=False)
    plain = tfp.ModelStore(tmp_path, name="other")

    def compared():
        known = Directory.look(storage)
        fresh_look = Directory(storage, Listing(storage.names()), state_file.read(storage))
        assert known.names == fresh_look.names
        assert known.listing.v2 == Listing(known.names).v2
        assert (known.known, known.complete) == (fresh_look.known, fresh_look.complete)
        assert dict(known.record.dates) == dict(fresh_look.record.dates)
        for prefix in ("model.ckpt-1", "model.ckpt-9", "other", *known.known):
            assert known.listing.belonging(prefix) == fresh_look.listing.belonging(prefix)
        for prefix in known.known:
            assert known.created(prefix) == fresh_look.created(prefix)
            assert known.files(prefix) == fresh_look.files(prefix)
        return known

    for number, step in enumerate((1, 2, 3, 2, 7, 7, 5)):
        store.save({"v": np.float32(number)}, step)
        compared()
        plain.save({"v": np.float32(number)}, None if number % 2 else step)
        compared()
    store.prune(keep=tfp.Keep(last=1))
    assert [p for p in compared().complete if p.startswith("model")] == ["model.ckpt-5"]
    store.save({"v": np.float32(9)}, 9)
    with open(tmp_path / "model.ckpt-9.data-00000-of-00001", "r+b") as file:
        file.write(b"\xff")
    assert store.restore({"v": np.zeros((), np.float32)}).skipped
    assert "model.ckpt-9" not in compared().known


def test_a_sidecar_that_could_not_be_read_once_is_read_again(storage):
    class Failing:
        """A storage of which the first read of a sidecar fails."""

        failed = False

        def __getattr__(self, name):
            return getattr(storage, name)

        def read(self, name):
            if name.endswith(".tfpersist.json") and not self.failed:
                self.failed = True
                raise StorageError("cannot read this now")
            return storage.read(name)

    look = Directory(Failing(), Listing(storage.names()), state_file.read(storage))
    assert look.facts("m-3") is None
    assert look.facts("m-3") is not None


def test_metrics_are_read_when_they_are_asked_for_and_are_a_mapping(tmp_path):
    storage = open_storage(tmp_path)
    save(storage, "m-1", metrics={"loss": 0.5, "accuracy": 1.0})
    metrics = Directory.look(storage).metrics("m-1")
    assert (metrics["loss"], len(metrics), [*metrics]) == (0.5, 2, ["loss", "accuracy"])
    assert repr(metrics) == "{'loss': 0.5, 'accuracy': 1.0}"
    (tmp_path / "m-1.tfpersist.json").unlink()
    copy = pickle.loads(pickle.dumps(metrics))
    assert (type(copy), copy) == (dict, {"loss": 0.5, "accuracy": 1.0})


@pytest.mark.parametrize(("name", "has_state_file"), [("model.ckpt-7", False), ("trained", True)])
def test_a_v1_file_is_found_without_a_meta(tmp_path, name, has_state_file):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable("v", initializer=[1.0, 2.0])
        session.run(variable.initializer)
        saver = tf.compat.v1.train.Saver(write_version=tf.compat.v1.train.SaverDef.V1)
        saver.save(session, str(tmp_path / name), write_meta_graph=False)
        if not has_state_file:
            (tmp_path / "checkpoint").unlink()
        (tmp_path / "other.ckpt").write_bytes(b"no table")
        session.run(variable.assign([0.0, 0.0]))
        store = tfp.ModelStore(tmp_path)
        assert [each.name for each in store.checkpoints()] == [name]
        store.restore(session)
        assert list(session.run(variable)) == [1.0, 2.0]
