import errno
import gc
import itertools
import mmap
import os
import pathlib
import resource
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from contract import StorageContract, contents, put, write

import tfpersist as tfp
from tfpersist.errors import StorageError
from tfpersist.storage import journal, local, open_storage
from tfpersist.storage.local import LocalDirectory
from tfpersist.storage.staged import StagedStorage

STEPS = ("make", "stage", "rename", "unlink", "sync", "lock", "names", "read")


class TestLocalStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path):
        return open_storage(tmp_path / "runs [1]" / "zażółć")

    def reopen(self, storage):
        return open_storage(storage.location + "/")

    def test_no_other_file_is_left(self, storage):
        write(storage, {"a": b"1", "b": b"2"})
        write(storage, {"a": b"3", "b": b"4"})
        with pytest.raises(KeyError), storage.publish() as publication:  # noqa: PT012
            publication.create("a").write(b"x")
            raise KeyError
        assert set(os.listdir(storage.location)) == {"a", "b"}


def open_descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's /proc")
def test_no_descriptor_stays_open(tmp_path):
    storage = open_storage(tmp_path)
    before = open_descriptors()
    write(storage, {"a": b"1" * 5000, "b": b""})
    write(storage, {"a": b"1" * 5000, "b": b""})
    views = [storage.read("a"), storage.read("b")]
    # Before Python 3.13 a map keeps a descriptor of its own for as long as it lives.
    assert open_descriptors() - before <= (0 if sys.version_info >= (3, 13) else 1)
    del views
    assert open_descriptors() == before
    with pytest.raises(StorageError):
        storage.read("absent")
    with pytest.raises(StorageError), storage.publish() as publication:  # noqa: PT012
        publication.create("a")
        publication.create("a")
    assert open_descriptors() == before


def test_a_relative_path_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = open_storage("here")
    put(storage, a=b"1")
    monkeypatch.chdir("/")
    assert contents(storage) == {"a": b"1"}
    assert storage.location == str(tmp_path / "here")
    assert open_storage(f"file://{tmp_path}/here").names() == {"a"}


def test_a_directory_where_a_file_should_be(tmp_path):
    (tmp_path / "b").mkdir()
    storage = open_storage(tmp_path)
    with pytest.raises(StorageError, match="cannot read 'b'") as caught:
        storage.read("b")
    assert caught.value.errno == errno.EISDIR
    with pytest.raises(StorageError, match="cannot create 'b'"):
        write(storage, {"a": b"1", "b": b"2"})
    assert os.listdir(tmp_path) == ["b"]


def test_a_file_without_permission_does_not_count_as_absent(tmp_path):
    (tmp_path / "here").write_bytes(b"1")
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    directory = open_storage(tmp_path).directory
    assert directory.present(["here", "gone", "directory", "here/gone"]) == {"here"}
    with pytest.raises(OSError, match="symbolic links"):
        directory.present(["loop"])


def test_a_file_where_a_directory_should_be(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        storage = open_storage(path)
        with pytest.raises(StorageError):
            put(storage, a=b"1")
        assert not storage.exists()


def test_a_pipe_does_not_count_as_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    storage = open_storage(tmp_path)
    assert storage.names() == frozenset()
    with pytest.raises(StorageError, match="not a plain file"):
        storage.read("pipe")


def test_a_name_that_is_too_long(tmp_path):
    storage = open_storage(tmp_path)
    with pytest.raises(StorageError, match="Choose a shorter name") as caught:
        write(storage, {"a": b"1", "x" * 300: b"2"})
    assert caught.value.errno == errno.ENAMETOOLONG
    assert os.listdir(tmp_path) == []
    write(storage, {"a": b"old"})
    with pytest.raises(StorageError, match="Choose a shorter name"):
        write(storage, {"a": b"new", "x" * 300: b"2"})
    assert contents(storage) == {"a": b"old"}


def run(code, *arguments, check=True):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def test_a_directory_without_permission(tmp_path):
    put(open_storage(tmp_path / "d"), a=b"old", b=b"old")
    for path in (*tmp_path.parents[:3], tmp_path):
        path.chmod(0o755)
    (tmp_path / "d").chmod(0o555)
    code = """
        import errno, os, sys
        from tfpersist.errors import StorageError
        from tfpersist.storage import open_storage
        storage = open_storage(sys.argv[1])
        if os.geteuid() == 0:
            os.setuid(65534)
        try:
            with storage.publish() as publication:
                publication.create("a").write(b"new")
        except StorageError as error:
            assert error.errno == errno.EACCES, error
            assert "permissions" in str(error), error
            print(bytes(storage.read("a")).decode(), sorted(os.listdir(sys.argv[1])))
    """
    assert run(code, tmp_path / "d").stdout == "old ['a', 'b']\n"


def test_a_limit_of_the_file_size(tmp_path):
    code = """
        import errno, resource, sys
        from tfpersist.errors import StorageError
        from tfpersist.storage import open_storage
        storage = open_storage(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        for reserve in (0, 500_000):
            try:
                with storage.publish() as publication:
                    publication.create("b").write(b"new")
                    sink = publication.create("a")
                    sink.reserve(reserve)
                    sink.write(bytes(500_000))
            except StorageError as error:
                print(error.errno == errno.EFBIG, "ulimit" in str(error))
    """
    storage = open_storage(tmp_path)
    put(storage, a=b"old", b=b"old")
    assert run(code, tmp_path).stdout == "True True\nTrue True\n"
    assert contents(storage) == {"a": b"old", "b": b"old"}
    assert set(os.listdir(tmp_path)) == {"a", "b"}


@pytest.fixture
def full_disk(tmp_path):
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("reserve", [0, 2 << 20])
def test_a_full_disk(full_disk, reserve):
    storage = open_storage(full_disk)
    put(storage, a=b"old" * 1000, b=b"old")
    with (  # noqa: PT012
        pytest.raises(StorageError, match="Free some space") as caught,
        storage.publish() as publication,
    ):
        publication.create("b").write(b"new")
        sink = publication.create("a")
        sink.reserve(reserve)
        for _ in range(32):
            sink.write(bytes(1 << 16))
    assert caught.value.errno == errno.ENOSPC
    assert contents(storage) == {"a": b"old" * 1000, "b": b"old"}
    assert set(os.listdir(full_disk)) == {"a", "b"}
    put(storage, a=bytes(900_000), b=b"new")
    assert storage.size("a") == 900_000


def test_too_many_open_files(tmp_path):
    storage = open_storage(tmp_path)
    put(storage, a=b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_descriptors() + 8, hard))
    try:
        with pytest.raises(StorageError) as caught, storage.publish() as publication:  # noqa: PT012
            for number in range(50):
                publication.create(f"f{number}")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == errno.EMFILE
    assert os.listdir(tmp_path) == ["a"]


class CountingDirectory(LocalDirectory):
    """Counts its steps and lets something happen before, or in place of, one of them."""

    def __init__(self, location, at, happen):
        super().__init__(location)
        object.__setattr__(self, "count", itertools.count())
        object.__setattr__(self, "at", at)
        object.__setattr__(self, "happen", happen)


def _counted(step):
    def do(self, *arguments, **options):
        if next(self.count) == self.at:
            self.happen(step)
        return getattr(LocalDirectory, step)(self, *arguments, **options)

    return do


for _step in STEPS:
    setattr(CountingDirectory, _step, _counted(_step))

OLD = {"p.data": b"old" * 100, "p.stale": b"old", "p.index": b"old"}
NEW = {"p.data": b"new" * 200, "p.index": b"new", "p.meta": b"new"}


def publish_new(path, at, happen, durable):
    storage = StagedStorage(CountingDirectory(str(path), at, happen))
    with storage.publish(durable=durable) as publication:
        for name, data in NEW.items():
            publication.create(name).write(data)
        publication.discard("p.stale")


def killed(path, at, durable):
    """Run the publication in a child that is killed before its step number `at`."""
    child = os.fork()
    if child == 0:
        try:
            publish_new(path, at, lambda step: os.kill(os.getpid(), signal.SIGKILL), durable)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("durable", [True, False])
def test_killed_before_each_step_of_replacing(tmp_path, durable):
    seen = []
    for at in itertools.count():
        path = tmp_path / str(at)
        write(open_storage(path), OLD)
        died = killed(path, at, durable)
        found = contents(open_storage(path))
        assert found in (OLD, NEW), f"step {at}"
        seen.append(found)
        # Nothing more was needed for reading; the next writer clears away the rest.
        put(open_storage(path), other=b"1")
        assert contents(open_storage(path)) == {**found, "other": b"1"}
        assert set(os.listdir(path)) == {*found, "other"}
        if not died:
            break
    assert seen == [OLD] * seen.count(OLD) + [NEW] * seen.count(NEW)
    assert seen.count(OLD) > 5
    assert seen.count(NEW) > 5


@pytest.mark.parametrize("durable", [True, False])
def test_killed_before_each_step_of_adding(tmp_path, durable):
    outcomes = set()
    for at in itertools.count():
        path = tmp_path / str(at)
        write(open_storage(path), {"other": b"1"})
        died = killed(path, at, durable)
        found = contents(open_storage(path))
        outcomes.add("p.meta" in found)
        assert found in ({"other": b"1"}, {**NEW, "other": b"1"})
        # The last name is the commit marker: TensorFlow, which knows no journals, looks for it.
        on_disk = {name: (path / name).read_bytes() for name in os.listdir(path)}
        assert "p.meta" not in on_disk or on_disk.items() >= NEW.items()
        write(open_storage(path), NEW)
        assert set(os.listdir(path)) == {*NEW, "other"}
        if not died:
            break
    assert outcomes == {True, False}


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [OLD, {}])
def test_a_failure_of_each_step(tmp_path, before, error):
    def fail(step):
        raise error

    for at in itertools.count():
        path = tmp_path / str(at)
        write(open_storage(path), {**before, "other": b"1"})
        try:
            publish_new(path, at, fail, durable=True)
            failed = False
        except (StorageError, KeyboardInterrupt):
            failed = True
        found = contents(open_storage(path))
        del found["other"]
        assert found in (before, NEW), f"step {at}"
        storage = open_storage(path)
        storage.recover()
        assert contents(storage) == {**found, "other": b"1"}
        assert set(os.listdir(path)) == {*found, "other"}
        # An interrupt may come when all is done.
        assert before or not failed or found == {} or isinstance(error, KeyboardInterrupt)
        if not failed:
            assert found == NEW
            break


def test_the_rubbish_of_the_living_is_left_alone(tmp_path):
    storage = open_storage(tmp_path)
    with storage.publish() as publication:
        publication.create("a").write(b"1")
        storage.recover()
        put(open_storage(tmp_path), b=b"2")
        assert len(os.listdir(tmp_path)) == 2
        publication.create("c").write(b"3")
    assert contents(storage) == {"a": b"1", "b": b"2", "c": b"3"}


def test_a_file_that_is_swept_before_it_is_locked_is_created_again(tmp_path, monkeypatch):
    """Another process takes it for a leftover: it exists, and nobody has locked it yet."""
    directory, name = LocalDirectory(str(tmp_path)), journal.staged_name("0" * 16, 0)
    lock = local.flock

    def swept_first(descriptor, operation):
        monkeypatch.setattr(local, "flock", lock)
        directory.sweep(name)
        assert os.listdir(tmp_path) == []
        return lock(descriptor, operation)

    monkeypatch.setattr(local, "flock", swept_first)
    before = open_descriptors()
    file = directory.stage(name)
    file.write(memoryview(b"new"))
    directory.sweep(name)
    assert (tmp_path / name).read_bytes() == b"new"
    file.close()
    assert open_descriptors() == before
    directory.sweep(name)
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_replaced_before_it_is_locked_is_opened_again(tmp_path, monkeypatch):
    storage = open_storage(tmp_path)
    write(storage, {"a": b"old", "other": b"new"})
    lock = local.fcntl.flock

    def replaced_first(descriptor, operation):
        monkeypatch.setattr(local.fcntl, "flock", lock)
        os.replace(tmp_path / "other", tmp_path / "a")
        return lock(descriptor, operation)

    before = open_descriptors()
    monkeypatch.setattr(local.fcntl, "flock", replaced_first)
    hold = storage.hold("a", alone=True)
    assert bytes(storage.read("a")) == b"new"
    assert hold.current()
    hold.release()
    assert open_descriptors() == before


def test_a_file_that_may_only_be_read_is_held_alone(tmp_path):
    put(open_storage(tmp_path / "d"), a=b"1")
    for path in (*tmp_path.parents[:3], tmp_path, tmp_path / "d"):
        path.chmod(0o755)
    (tmp_path / "d" / "a").chmod(0o444)
    code = """
        import os, sys
        from tfpersist.storage import open_storage
        storage = open_storage(sys.argv[1])
        if os.geteuid() == 0:
            os.setuid(65534)
        hold = storage.hold("a", alone=True)
        print(hold.effective, hold.current(), storage.hold("a"))
    """
    assert run(code, tmp_path / "d").stdout == "True True None\n"


@pytest.mark.parametrize("durable", [True, False])
def test_a_directory_that_is_made_is_safe_in_those_above_it(tmp_path, monkeypatch, durable):
    synced, sync = [], local._sync_directory
    monkeypatch.setattr(local, "_sync_directory", lambda path: synced.append(path) or sync(path))
    write(open_storage(tmp_path / "a" / "b"), {"f": b"1"}, durable=durable)
    made = [str(tmp_path / "a"), str(tmp_path), str(tmp_path / "a" / "b")]
    assert synced == (made if durable else [])
    synced.clear()
    write(open_storage(tmp_path / "a" / "b"), {"g": b"1"}, durable=durable)
    assert synced == (made[2:] if durable else [])


def test_a_reader_without_permission_to_write_reads_through_a_journal(tmp_path):
    path = tmp_path / "d"
    for at in itertools.count():
        write(open_storage(path), OLD)
        assert killed(path, at, durable=True)
        if (path / ".tfpersist-journal").exists():
            break
    for above in (*tmp_path.parents[:3], tmp_path):
        above.chmod(0o755)
    path.chmod(0o555)
    code = """
        import os, sys
        from tfpersist.storage import open_storage
        storage = open_storage(sys.argv[1])
        if os.geteuid() == 0:
            os.setuid(65534)
        print([(name, bytes(storage.read(name))[:3]) for name in sorted(storage.names())])
    """
    expected = [(name, b"new") for name in sorted(NEW)]
    assert run(code, path).stdout.strip() == str(expected)
    assert (path / ".tfpersist-journal").exists()
    path.chmod(0o755)
    open_storage(path).recover()
    assert set(os.listdir(path)) == set(NEW)


@pytest.mark.parametrize("journal", [b"", b"{", b"[]", b'{"version": 1}', b"\xff", b"[" * 100_000])
def test_an_invalid_journal_is_ignored(tmp_path, journal):
    storage = open_storage(tmp_path)
    write(storage, OLD)
    pathlib.Path(tmp_path, ".tfpersist-journal").write_bytes(journal)
    assert contents(storage) == OLD
    storage.recover()
    assert set(os.listdir(tmp_path)) == set(OLD)


def test_a_journal_that_comes_back_after_all_is_done(tmp_path):
    """The removal of the journal is the one step that no sync follows."""
    storage = open_storage(tmp_path)
    write(storage, OLD)
    for at in itertools.count():
        assert killed(tmp_path, at, durable=True)
        journal = tmp_path / ".tfpersist-journal"
        if journal.exists():
            break
    kept = journal.read_bytes()
    storage.recover()
    put(storage, **{"p.stale": b"not stale any more"})
    journal.write_bytes(kept)
    expected = {**NEW, "p.stale": b"not stale any more"}
    assert contents(storage) == expected
    storage.recover()
    assert contents(storage) == expected
    assert set(os.listdir(tmp_path)) == set(expected)


def test_a_journal_cannot_point_outside(tmp_path):
    storage = open_storage(tmp_path)
    write(storage, OLD)
    for move in (["p.index", "../../etc/passwd"], ["../p", ".tfpersist-0123456789abcdef.0.tmp"]):
        hostile = f'{{"version": 1, "moves": [["{move[0]}", "{move[1]}"]], "discards": []}}'
        pathlib.Path(tmp_path, ".tfpersist-journal").write_text(hostile)
        assert contents(storage) == OLD


def test_processes_replace_one_set_at_once(tmp_path):
    code = """
        import sys
        from tfpersist.storage import open_storage
        storage = open_storage(sys.argv[1])
        for _ in range(40):
            with storage.publish(durable=False) as publication:
                for name in "abc":
                    publication.create(name).write(sys.argv[2].encode() * 9999)
    """
    write(open_storage(tmp_path), dict.fromkeys("abc", b"0" * 9999))
    children = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(tmp_path), letter])
        for letter in "12"
    ]
    storage = open_storage(tmp_path)
    while any(child.poll() is None for child in children):
        for name in "abc":
            seen = bytes(storage.read(name))
            assert len(seen) == 9999
            assert len(set(seen)) == 1
    assert [child.returncode for child in children] == [0, 0]
    assert len({bytes(storage.read(name)) for name in "abc"}) == 1
    assert set(os.listdir(tmp_path)) == set("abc")


def test_mapped_bytes_that_are_forgotten_are_read_again(tmp_path):
    content = np.random.default_rng(0).bytes(5 << 20)
    (tmp_path / "a").write_bytes(content)
    storage = open_storage(tmp_path)
    whole = storage.read("a")

    def held():
        """Kilobytes of files in this process."""
        status = pathlib.Path("/proc/self/status").read_text()
        return int(status.split("RssFile:")[1].split()[0])

    part = whole[4097:-4097]
    before = held()
    assert bytes(part) == content[4097:-4097]
    used = held() - before
    storage.forget(part)
    storage.forget(part[:1])
    storage.forget(whole[:4095])
    assert used > 4 << 10
    assert held() - before < used / 2
    assert whole == content


def test_the_mark_of_a_published_file_differs_after_each_write(tmp_path):
    storage = open_storage(tmp_path)
    marks = []
    for _ in range(2):
        with storage.publish(durable=False) as publication:
            publication.create("a").write(b"first")
        marks += [storage.mark("a")]
        assert storage.mark("a") == marks[-1]
        # A write in place, of as many bytes, may come within the same tick of the clock.
        (tmp_path / "a").write_bytes(b"other")
        marks += [storage.mark("a")]
    assert None not in marks[::2]
    assert len({marks[0], marks[2]}) == 2
    # After a write whose time nobody has set, there is none.
    assert marks[1::2] == [None, None]
    assert storage.mark("b") is None


class TestUnmappedStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path):
        return open_storage(tmp_path / "unmapped", False)

    def reopen(self, storage):
        return open_storage(storage.location, False)

    def test_parts_of_files(self, storage):
        data = np.random.default_rng(0).bytes(500_000)
        put(storage, a=data, b=b"1")
        assert not storage.maps
        parts = storage.read_parts([("a", 5, 10), ("a", 499_990, 99), ("a", 10**15, 10**15)])
        assert parts == [data[5:15], data[499_990:], b""]
        assert storage.read_parts([("b", 0, 1)]) == [b"1"]


TRUNCATED = """
import os, sys
import tfpersist as tfp

path, mapped = sys.argv[1], eval(sys.argv[2])
checkpoint = tfp.Checkpoint(path, mapped=mapped)
checkpoint.specs
os.truncate(path + ".data-00000-of-00001", 10)
try:
    checkpoint["v"]
except tfp.CorruptionError:
    print("refused")
"""


@pytest.mark.parametrize(("mapped", "status"), [(False, 0), (True, -signal.SIGBUS)])
def test_a_file_that_is_truncated_while_it_is_in_use(tmp_path, mapped, status):
    tfp.ModelStore(tmp_path).save({"v": np.ones(100_000)}, 1)
    command = [sys.executable, "-c", TRUNCATED, f"{tmp_path}/model.ckpt-1", str(mapped)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "refused\n" if not mapped else "")


def test_on_a_network_file_system_nothing_is_mapped(tmp_path, monkeypatch):
    tfp.ModelStore(tmp_path).save({"v": np.ones(100_000)}, 1)
    assert open_storage(tmp_path).maps
    monkeypatch.setattr(local, "is_network", lambda device: True)
    assert not open_storage(tmp_path).maps
    assert open_storage(tmp_path, True).maps
    store = tfp.ModelStore(tmp_path)
    assert not isinstance(store._directory.read("model.ckpt-1.data-00000-of-00001").obj, mmap.mmap)
    target = {"v": np.zeros(100_000)}
    store.restore(target)
    assert target["v"].all()
    assert store.verify().ok
    mapped = tfp.ModelStore(tmp_path, mapped=True)._directory
    assert isinstance(mapped.read("model.ckpt-1.data-00000-of-00001").obj, mmap.mmap)
