"""Background saves: values of the call, order, back-pressure, errors, forks, the process's end.

A gate in front of a real storage holds the thread that writes for as long as a test wants.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import threading
import time
import weakref

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.errors import SaveError, StorageError, TargetError
from tfpersist.formats.bundle_writer import Items
from tfpersist.store.background import PendingCheckpoint, Worker

GATED = '''
import contextlib, threading, time
import numpy as np
import tfpersist as tfp


class Gated:
    """A storage that writes nothing before its gate is open."""

    def __init__(self, storage, gate):
        self.storage, self.gate = storage, gate

    def __getattr__(self, name):
        return getattr(self.storage, name)

    @contextlib.contextmanager
    def publish(self, **options):
        self.gate.wait()
        with self.storage.publish(**options) as publication:
            yield publication


def gated(store):
    """Put a gate in front of a store's storage."""
    gate = threading.Event()
    vars(store)["_opened"] = Gated(store._opened, gate)
    return gate
'''
exec(GATED)
gated = globals()["gated"]


@pytest.fixture(params=["disk", "memory"])
def store(request, tmp_path):
    disk = request.param == "disk"
    location = tmp_path / "run" if disk else f"memory://background/{tmp_path.name}"
    return tfp.ModelStore(location).background()


@pytest.fixture
def gate(store):
    opened = gated(store)
    yield opened
    opened.set()
    with contextlib.suppress(tfp.TFPersistError):
        store.close()


def test_a_save_returns_at_once_and_holds_the_values_of_the_call(store, gate):
    value = np.arange(1000.0)
    checkpoint = store.save({"v": value}, step=1, metrics={"loss": 0.5})
    assert isinstance(checkpoint, tfp.Checkpoint)
    assert not checkpoint.done
    assert not checkpoint.wait(0.01)
    assert (checkpoint.step, checkpoint.name) == (1, "model.ckpt-1")
    assert repr(checkpoint).endswith("being written>")
    value[:] = -1
    gate.set()
    assert (checkpoint["v"] == np.arange(1000.0)).all()
    assert checkpoint.done
    assert checkpoint.metrics == {"loss": 0.5}
    assert checkpoint.prefix == store.latest().prefix
    assert repr(checkpoint).startswith("<Checkpoint ")
    assert checkpoint.verify().ok


def test_copies_of_a_store_share_its_queue(store, gate):
    first = store.save({"v": np.zeros(2), "w": np.zeros(2)}, step=1)
    only = store.only(["v"])
    saver = threading.Thread(target=lambda: only.save({"v": np.ones(2), "w": np.ones(2)}, step=2))
    saver.start()
    saver.join(0.1)
    assert saver.is_alive()
    assert not first.done
    gate.set()
    saver.join()
    only.close()
    assert list(store.at(2).latest()) == ["v"]
    assert [each.step for each in store.checkpoints()] == [1, 2]


def test_a_store_that_is_made_for_each_save_keeps_the_order_too(tmp_path):
    base = tfp.ModelStore(tmp_path)
    for step in range(20):
        base.background(in_flight=3).save({"v": np.full(1000, step)}, step=step)
    store = base.background()
    assert [each.step for each in store.checkpoints()] == list(range(20))
    dates = [each.created for each in store.checkpoints()]
    assert dates == sorted(dates)
    assert all((each["v"] == each.step).all() for each in store.checkpoints())


def test_at_most_so_many_saves_hold_values(tmp_path):
    store = tfp.ModelStore(tmp_path).background(in_flight=2)
    gate = gated(store)
    begun = []

    def save():
        for step in range(4):
            store.save({"v": np.full(10, step)}, step=step)
            begun.append(step)

    saver = threading.Thread(target=save)
    saver.start()
    saver.join(0.3)
    assert begun == [0, 1]
    gate.set()
    saver.join()
    store.close()
    assert [each.step for each in store.checkpoints()] == [0, 1, 2, 3]


def test_many_threads_save_into_one_store(store):
    def save(number):
        for step in range(number, 40, 4):
            store.save({"v": np.full(100, step)}, step=step)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    found = {each.step: each["v"] for each in store.checkpoints()}
    assert sorted(found) == list(range(40))
    assert all((value == step).all() for step, value in found.items())


def test_restoring_and_listing_wait(store, gate):
    store.save({"v": np.ones(3)}, step=1)
    threading.Timer(0.05, gate.set).start()
    target = {"v": np.zeros(3)}
    store.restore(target)
    assert (target["v"] == 1).all()
    assert store.latest().step == 1


def named_badly(folder):
    """A store whose background saves fail with a SaveError, and what that says."""
    return tfp.ModelStore(folder, name="bad/name").background(), "cannot have this name"


def in_the_way(folder):
    """A store whose background saves fail with a StorageError, and what that says."""
    store = tfp.ModelStore(folder).background()
    store.save({"v": np.ones(2)}, step=0).wait()
    (folder / "model.ckpt-1.index").mkdir()
    return store, "there is a directory of this name"


@pytest.mark.parametrize(
    ("make", "error"), [(named_badly, SaveError), (in_the_way, tfp.StorageError)]
)
@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.save({"v": np.zeros(2)}, step=2),
        lambda store: store.restore({"v": np.zeros(2)}),
        lambda store: store.at(0).restore({"v": np.zeros(2)}),
        lambda store: store.checkpoints(),
        lambda store: store.latest(),
        lambda store: store.open_graph(),
        lambda store: store.wait(),
        lambda store: store.close(),
    ],
)
def test_an_error_is_raised_at_the_next_call_and_once(tmp_path, call, make, error):
    store, problem = make(tmp_path)
    checkpoint = store.save({"v": np.zeros(2)}, step=1)
    while not checkpoint.done:
        pass
    with pytest.raises(error, match=problem):
        call(store)
    store.close()
    with pytest.raises(error, match=problem):
        checkpoint.wait()
    assert problem in repr(checkpoint)


def test_an_error_raised_by_the_checkpoint_is_not_raised_again(tmp_path):
    store = tfp.ModelStore(tmp_path, name="bad/name").background()
    checkpoint = store.save({"v": np.zeros(2)})
    with pytest.raises(SaveError):
        list(checkpoint)
    store.close()
    assert tfp.ModelStore(tmp_path).latest() is None


def test_a_with_block_waits_and_raises(tmp_path):
    with tfp.ModelStore(tmp_path).background() as store:
        checkpoint = store.save({"v": np.zeros(2)})
    assert checkpoint.done
    bad = tfp.ModelStore(tmp_path, name="bad/name").background()
    with pytest.raises(SaveError), bad:
        bad.save({"v": np.zeros(2)})


def test_a_with_block_does_not_hide_the_error_in_it(tmp_path):
    bad = tfp.ModelStore(tmp_path, name="bad/name").background()

    def save_and_fail():
        with bad:
            bad.save({"v": np.zeros(2)})
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        save_and_fail()
    with pytest.raises(SaveError):
        bad.close()


def test_a_failed_capture_raises_at_once_and_takes_no_slot(store):
    for _ in range(3):
        with pytest.raises(TargetError):
            store.save(object())
        with pytest.raises(SaveError, match="not a number"):
            store.save({"v": np.zeros(2)}, metrics={"loss": "low"})
        with pytest.raises(tfp.SelectionError):
            store.only(["x"]).save({"v": np.zeros(2)})
    assert store.save({"v": np.zeros(2)}, step=1).wait()


class Observed:
    """A storage that calls a function before each write into a data file."""

    def __init__(self, storage, look):
        self.storage, self.look = storage, look

    def __getattr__(self, name):
        return getattr(self.storage, name)

    @contextlib.contextmanager
    def publish(self, **options):
        with self.storage.publish(**options) as publication:
            yield Observed(publication, self.look)

    def create(self, name):
        sink = self.storage.create(name)
        return Observed(sink, self.look) if ".data-" in name else sink

    def write(self, data):
        self.look()
        self.storage.write(data)


def test_a_value_is_let_go_of_when_it_is_written_so_that_training_need_not_copy_it(tmp_path):
    """TensorFlow copies a variable that changes while somebody else holds its value."""
    store = tfp.ModelStore(tmp_path).background()
    held, alive = [], []
    observed = Observed(store._opened, lambda: alive.append(sum(ref() is not None for ref in held)))
    vars(store)["_opened"] = observed
    gate = gated(store)
    values = {name: np.full(100_000, 1, np.uint8) for name in "abc"}
    checkpoint = store.save(values)
    cells = [cell.cell_contents for cell in store._worker._jobs[0].work.__closure__]
    (items,) = (each for each in cells if isinstance(each, Items))
    held += [weakref.ref(item.payload.load()) for item in items]
    del cells, items
    gate.set()
    assert checkpoint.wait()
    assert sorted(set(alive), reverse=True) == [3, 2, 1, 0]
    assert sorted(alive, reverse=True) == alive
    assert all((checkpoint[name] == values[name]).all() for name in values)


@pytest.mark.parametrize("name", ["model.ckpt", "long" * 80])
def test_values_are_let_go_when_they_are_written_or_have_failed(tmp_path, name):
    store = tfp.ModelStore(tmp_path, name=name).background()
    gate = gated(store)
    checkpoint = store.save({"v": np.zeros(10)})
    cells = [cell.cell_contents for cell in store._worker._jobs[0].work.__closure__]
    (items,) = (each for each in cells if isinstance(each, Items))
    holder = weakref.ref(items[0].payload.load())
    del cells, items
    assert holder() is not None
    gate.set()
    with contextlib.suppress(tfp.StorageError):
        assert checkpoint.wait()
        assert name == "model.ckpt"
    gc.collect()
    assert holder() is None


@pytest.mark.parametrize("room", [0, -1, "2", 1.5, True, None])
def test_a_store_needs_room_for_a_save(tmp_path, room):
    with pytest.raises(SaveError, match="a whole number from 1 on"):
        tfp.ModelStore(tmp_path).background(in_flight=room)


def test_a_store_without_a_background_does_not_wait(tmp_path):
    with tfp.ModelStore(tmp_path) as store:
        checkpoint = store.save({"v": np.zeros(2)})
        assert not isinstance(checkpoint, PendingCheckpoint)
        store.wait()


def test_a_process_that_ends_waits_for_its_saves(fresh, tmp_path):
    fresh(
        """
        import numpy as np
        import tfpersist as tfp
        store = tfp.ModelStore("run").background(in_flight=4)
        for step in range(4):
            store.save({"v": np.full((2 << 20), step)}, step=step)
        """
    )
    found = tfp.ModelStore(tmp_path / "run").checkpoints()
    assert [each.step for each in found] == [0, 1, 2, 3]
    assert all(each.verify().ok for each in found)


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("before", [False, True], ids=["", "saved-before"])
def test_a_process_of_multiprocessing_waits_for_its_saves(fresh, tmp_path, how, before):
    (tmp_path / "work.py").write_text(
        GATED
        + """
import multiprocessing

def work(store):
    store = store or tfp.ModelStore("run").background()
    gate = gated(store)
    store.save({"v": np.ones(5)}, step=1)
    threading.Timer(0.2, gate.set).start()

def begin(how, before):
    store = None
    if before:
        tfp.ModelStore("other").background().save({"v": np.ones(5)}).wait()
    if before and how == "fork":
        store = tfp.ModelStore("run").background()
        store.save({"v": np.zeros(5)}, step=0).wait()
    process = multiprocessing.get_context(how).Process(target=work, args=(store,))
    process.start()
    process.join()
    print(process.exitcode, tfp.ModelStore("run").latest().step)
"""
    )
    script = f"import work; __name__ == '__main__' and work.begin({how!r}, {before})"
    assert fresh(script, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path])) == "0 1\n"


def test_multiprocessing_is_not_imported_for_it(fresh):
    out = fresh(
        """
        import sys
        import numpy as np
        import tfpersist as tfp
        tfp.ModelStore("run").background().save({"v": np.zeros(5)}).wait()
        print("multiprocessing.util" in sys.modules)
        """
    )
    assert out == "False\n"


def test_a_process_that_ends_does_not_wait_for_ever(fresh, tmp_path):
    fresh(
        GATED
        + """
import os, sys
os.dup2(1, 2)
from tfpersist.store import background
background.EXIT_PATIENCE = 0.2
tfp.ModelStore("run").save({"v": np.zeros(5)}, step=1)
store = tfp.ModelStore("run").background()
gate = gated(store)
store.save({"v": np.zeros(5)}, step=2)
bad = tfp.ModelStore("bad", name="bad/name").background()
bad.save({"v": np.zeros(5)})
"""
    )
    store = tfp.ModelStore(tmp_path / "run")
    assert [each.step for each in store.checkpoints()] == [1]
    assert store.latest().verify().ok


def test_an_error_that_was_not_raised_is_printed_at_exit(fresh):
    out = fresh(
        """
        import os
        import numpy as np
        import tfpersist as tfp
        os.dup2(1, 2)
        tfp.ModelStore("bad", name="bad/name").background().save({"v": np.zeros(5)})
        """
    )
    assert "the save of 'bad/name' failed: a checkpoint cannot have this name" in out


def test_a_forked_process_starts_without_pending_saves(fresh, tmp_path):
    out = fresh(
        GATED
        + """
import os
store = tfp.ModelStore("run").background()
gate = gated(store)
checkpoint = store.save({"v": np.zeros(5)}, step=1)
child = os.fork()
if not child:
    try:
        checkpoint.wait()
    except tfp.SaveError as error:
        assert "belongs to the process that was forked" in str(error)
        gate.set()
        store.save({"v": np.ones(5)}, step=2).wait()
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert not checkpoint.done
gate.set()
store.close()
print(sorted(each.step for each in store.checkpoints()))
"""
    )
    assert out == "[1, 2]\n"


def test_a_save_that_is_being_captured_counts_as_under_way(tmp_path):
    """Two threads may not both take values where there is room for one save."""
    worker, go, order = Worker(), threading.Event(), []

    def capture(name):
        def run():
            order.append(f"{name} captures")
            if name == "first":
                go.wait()
            return lambda: order.append(f"{name} writes")

        return run

    threads = [
        threading.Thread(target=worker.begin, args=(name, capture(name), 1))
        for name in ("first", "second")
    ]
    threads[0].start()
    while not order:
        time.sleep(0.001)
    threads[1].start()
    threads[1].join(0.2)
    assert order == ["first captures"]
    go.set()
    for thread in threads:
        thread.join()
    worker.wait()
    assert order == ["first captures", "first writes", "second captures", "second writes"]


def test_the_values_of_a_save_that_failed_are_let_go_while_its_error_is_kept(tmp_path):
    worker = Worker()
    values = [np.zeros(10)]
    alive = weakref.ref(values[0])

    def write(own):
        raise StorageError(f"no room for {own.size} values")

    def capture():
        return functools.partial(write, values.pop())

    job = worker.begin("m-1", capture, 1)
    worker.wait()
    gc.collect()
    assert isinstance(job.error, StorageError)
    assert job.error.__traceback__ is not None
    assert alive() is None
