"""Power losses, simulated: whatever no sync has covered vanishes in any combination."""

import contextlib
import itertools
import random

import pytest
from contract import contents, write
from disk import Disk, File, PowerLoss

from tfpersist.errors import StorageError
from tfpersist.storage import journal
from tfpersist.storage.staged import StagedStorage

OLD = {"p.data": b"old" * 100, "p.meta": b"old", "p.index": b"old"}
NEW = {"p.data": b"new" * 200, "p.facts": b"new", "p.index": b"new"}


def cut(before, fail_at, **options):
    disk = Disk()
    write(StagedStorage(disk), {**before, "other": b"1"})
    disk.steps, disk.fail_at = 0, fail_at
    try:
        write(StagedStorage(disk), NEW, discards=["p.meta"], **options)
    except PowerLoss:
        return disk, True
    return disk, False


def test_a_power_loss_while_something_is_replaced():
    chance = random.Random(1)
    crashes, seen = 0, []
    for at in itertools.count():
        disk, failed = cut(OLD, at)
        for _ in range(80):
            storage = StagedStorage(disk.after_power_loss(chance))
            found = contents(storage)
            assert found in ({**OLD, "other": b"1"}, {**NEW, "other": b"1"}), f"step {at}"
            # What has returned is safe.
            assert failed or found == {**NEW, "other": b"1"}
            storage.recover()
            assert contents(storage) == found
            assert storage.directory.names() == set(found)
            seen.append(found["p.index"])
            crashes += 1
        if not failed:
            break
    assert crashes > 1000
    assert {b"old", b"new"} == set(seen)


class Watched(Disk):
    """A disk on which a reader acts between two steps of a writer."""

    watcher = None

    def step(self, *changes):
        super().step(*changes)
        if self.watcher is not None:
            self.watcher(self.steps)


@pytest.mark.parametrize("dies_at", [None, 9, 10, 11])
def test_what_is_read_through_a_hold_belongs_together(dies_at):
    """Whenever a reader holds, reads and asks, while another writer replaces all, or dies."""

    def read(moments):
        disk = Watched()
        write(StagedStorage(disk), {**OLD, "other": b"1"})
        disk.steps, disk.fail_at = 0, -1 if dies_at is None else dies_at
        reader, seen = StagedStorage(disk), {}
        actions = [
            lambda: seen.update(hold=reader.hold("p.index")),
            lambda: seen.update({"p.data": bytes(seen["hold"].read("p.data"))}),
            lambda: seen.update({"p.index": bytes(seen["hold"].read("p.index"))}),
            lambda: seen.update(belongs=seen["hold"].current()),
        ]

        def act(step):
            while actions and moments[4 - len(actions)] <= step:
                actions.pop(0)()

        disk.watcher = act
        with contextlib.suppress(PowerLoss):
            write(StagedStorage(disk), NEW)
        last, disk.watcher = disk.steps, None
        act(1 << 30)
        return last, seen

    last, _ = read((1, 1, 1, 1))
    seen = []
    for moments in itertools.combinations_with_replacement(range(1, last + 2), 4):
        _, found = read(moments)
        both = {name: found[name] for name in ("p.data", "p.index")}
        if found["belongs"]:
            assert both in [{name: files[name] for name in both} for files in (OLD, NEW)], moments
        seen.append((found["belongs"], both["p.index"]))
    assert {(True, b"old"), (True, b"new"), (False, b"old")} >= set(seen) > {(True, b"old")}


def test_a_power_loss_while_something_is_removed():
    """As a prune does it: the state file is replaced, and a set of files goes, the marker first."""
    chance = random.Random(4)
    old = {**OLD, "state": b"old", "other": b"1"}
    new = {"state": b"new", "other": b"1"}
    seen = []
    for at in itertools.count():
        disk = Disk()
        storage = StagedStorage(disk)
        write(storage, old)
        disk.fail_at = disk.steps + at
        failed = False
        try:
            hold = storage.hold("p.index", alone=True)
            with storage.publish() as publication:
                for name in ("p.index", "p.data", "p.meta"):
                    publication.discard(name, held=hold)
                publication.create("state").write(b"new")
        except PowerLoss:
            failed = True
        for _ in range(60):
            again = StagedStorage(disk.after_power_loss(chance))
            found = contents(again)
            assert found in (old, new), f"step {at}"
            assert failed or found == new
            again.recover()
            assert contents(again) == found
            assert again.directory.names() == set(found)
            seen.append(found["state"])
        if not failed:
            break
    assert {b"old", b"new"} == set(seen)


@pytest.mark.parametrize("replaced", [True, False])
def test_a_power_loss_while_a_file_is_linked(replaced):
    """As an incremental save does it; what is linked was not safe until then."""
    chance = random.Random(5)
    old = {"p.data": b"base" * 50, "p.index": b"old"}
    prefix = "p" if replaced else "q"
    new = {f"{prefix}.data0": b"base" * 50, f"{prefix}.data1": b"own", f"{prefix}.index": b"new"}
    after = new if replaced else {**old, **new}
    for at in itertools.count():
        disk = Disk()
        storage = StagedStorage(disk)
        write(storage, old)
        disk.file("p.data").durable = False
        disk.fail_at = disk.steps + at
        failed = False
        try:
            hold = storage.hold("p.data")
            with storage.publish() as publication:
                publication.link(hold, f"{prefix}.data0")
                publication.create(f"{prefix}.data1").write(b"own")
                publication.create(f"{prefix}.index").write(b"new")
                if replaced:
                    publication.discard("p.data")
        except PowerLoss:
            failed = True
        for _ in range(40):
            again = StagedStorage(disk.after_power_loss(chance))
            found = contents(again)
            if not failed:
                assert found == after
            if replaced:
                assert found.keys() in (old.keys(), new.keys()), f"step {at}"
            assert found.keys() >= old.keys() or replaced
            if not replaced:
                # A linked file is right only beside all that is new.
                assert found.keys() & new.keys() in (set(), new.keys()), f"step {at}"
            if f"{prefix}.index" in found and found.keys() >= new.keys():
                assert {name: found[name] for name in new} == new
        if not failed:
            break
    assert at > 6


def test_a_power_loss_while_something_is_added():
    chance = random.Random(2)
    for at in itertools.count():
        disk, failed = cut({}, at)
        for _ in range(40):
            storage = StagedStorage(disk.after_power_loss(chance))
            found = contents(storage)
            assert found.pop("other") == b"1"
            # Files may be missing, which is noticed; those that are there are whole.
            assert found.items() <= NEW.items()
            assert failed or found == NEW
            write(storage, NEW)
            assert contents(storage) == {**NEW, "other": b"1"}
            assert storage.directory.names() == {*NEW, "other"}
        if not failed:
            break


def test_a_power_loss_after_a_second_replacement():
    """A journal that comes back does not undo what was published after it."""
    chance = random.Random(3)
    for at in range(12):
        disk, failed = cut(OLD, at)
        del failed
        disk.fail_at = -1
        storage = StagedStorage(disk)
        storage.recover()
        later = {"p.data": b"later", "p.meta": b"later", "p.index": b"later"}
        write(storage, later, discards=["p.facts"])
        for _ in range(20):
            again = StagedStorage(disk.after_power_loss(chance))
            assert contents(again) == {**later, "other": b"1"}
            again.recover()
            assert contents(again) == {**later, "other": b"1"}


def test_a_kill_without_durability_leaves_complete_files():
    for at in itertools.count():
        disk, failed = cut(OLD, at, durable=False)
        disk.fail_at = -1
        storage = StagedStorage(disk)
        assert contents(storage) in ({**OLD, "other": b"1"}, {**NEW, "other": b"1"})
        if not failed:
            break
    assert at > 8


def test_a_file_that_cannot_be_listed_fails_only_once():
    class Refusing(Disk):
        def unlink(self, name):
            raise PermissionError(13, "permission denied")

    disk = Refusing(entries={journal.staged_name("0" * 16, 0): File(open=False)})
    write(StagedStorage(disk), {"a": b"1"})
    assert contents(StagedStorage(disk)) == {"a": b"1"}
    with pytest.raises(StorageError, match="permission denied"):
        StagedStorage(disk).remove(["a"])


@pytest.mark.parametrize("refused", ["unlink", "read"])
def test_the_next_publication_deletes_leftovers_that_could_not_be_deleted(refused):
    class Refusing(Disk):
        def unlink(self, name):
            if refused == "unlink" and journal.is_staged(name) and name not in tried:
                tried.append(name)
                raise OSError(24, "too many open files")
            super().unlink(name)

        def read(self, name):
            if refused == "read" and name == journal.NAME and not tried:
                tried.append(name)
                raise OSError(24, "too many open files")
            return super().read(name)

    tried = []
    disk = Refusing()
    storage = StagedStorage(disk)
    write(storage, {"a": b"1"})
    tried.clear()
    with pytest.raises(ZeroDivisionError), storage.publish() as publication:  # noqa: PT012
        publication.create("b").write(b"2")
        raise ZeroDivisionError
    assert tried
    assert len(disk.entries) == 2
    write(storage, {"a": b"3"})
    assert disk.entries.keys() == {"a"}
